//! What a gateway and a prober can know about a server and tell it.

use crate::support::{LIMIT, ask, until};
use backstay_lab::load::sql::{Sql, SqlError, Way};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{MariaDbGroup, application};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::spawn;

/// PROXY protocol, version 2, section 2.2: TCP over IPv4, from 192.0.2.7:4242 to 198.51.100.1:3306.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x92\x0c\xea";

/// A forwarder that says this before everything else, as a gateway does.
fn gateway(server: &MariaDbServer, header: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, target) = (listener.local_addr().unwrap(), server.address());
    spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Ok(mut backend) = TcpStream::connect(target) else {
                return;
            };
            backend.write_all(header).unwrap();
            let (mut replies, mut to_client) = (backend.try_clone().unwrap(), client.try_clone().unwrap());
            spawn(move || io::copy(&mut replies, &mut to_client));
            spawn(move || io::copy(&mut client, &mut backend));
        }
    });
    address
}

fn trusting(networks: &str) -> (MariaDbGroup, MariaDbServer) {
    let settings = Settings::recipe().with("proxy_protocol_networks", networks);
    let group = MariaDbGroup::start(1, &settings).unwrap();
    let server = group.instance("m1").unwrap().clone();
    (group, server)
}

#[test]
fn a_trusted_gateway_passes_the_clients_address_on_and_direct_clients_come_in_as_before() {
    let (_group, server) = trusting("127.0.0.1");
    let address = gateway(&server, HEADER);
    let mut link = Sql::open(&Way::Tcp(address), &application(), LIMIT).unwrap();
    assert_eq!(link.value("SELECT USER()").unwrap(), "shop@192.0.2.7");
    let host = format!("SELECT host FROM information_schema.processlist WHERE id={}", link.id());
    assert_eq!(server.value(&host).unwrap(), "192.0.2.7:4242");
    let mut direct = server.connect_as(&application()).unwrap();
    assert_eq!(direct.value("SELECT USER()").unwrap(), "shop@127.0.0.1");
}

#[test]
fn an_account_that_is_bound_to_an_address_is_bound_to_the_clients() {
    let (_group, server) = trusting("127.0.0.1");
    ask(&server, "RENAME USER shop@'%' TO shop@'192.0.2.%'");
    let address = gateway(&server, HEADER);
    assert!(Sql::open(&Way::Tcp(address), &application(), LIMIT).is_ok());
    assert!(server.connect_as(&application()).is_err());
}

#[test]
fn a_gateway_that_is_not_trusted_gets_no_connection() {
    let (_group, server) = trusting("203.0.113.0/24");
    let address = gateway(&server, HEADER);
    let error = Sql::open(&Way::Tcp(address), &application(), LIMIT).unwrap_err();
    assert!(matches!(error, SqlError::Gone(_)), "{error}");
}

#[test]
fn a_server_greets_before_it_knows_whose_connection_it_is() {
    let (_group, server) = trusting("127.0.0.1");
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting[4], 10, "the protocol's version");
}

#[test]
fn the_moment_of_a_servers_start_is_the_same_in_every_answer_of_one_process() {
    let (mut group, server) = trusting("");
    let started = "SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE, VARIABLE_VALUE \
                   FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='UPTIME'";
    let first = server.value(started).unwrap();
    until("it has been up for two seconds", || {
        let answer = ask(&server, started);
        assert_eq!(answer.value(), Some(first.as_str()));
        answer.rows[0].at(1).unwrap().parse::<u32>().unwrap() >= 2
    });
    ask(&server, "FLUSH STATUS");
    assert_eq!(server.value(started).unwrap(), first);
    group.kill("m1").unwrap();
    group.start_again("m1").unwrap();
    assert_ne!(server.value(started).unwrap(), first);
}
