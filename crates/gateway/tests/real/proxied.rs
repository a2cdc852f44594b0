//! Behind a load balancer that says who each client is (PROXY protocol, version 2).

use crate::support::{Front, LIMIT, Server, endpoint, say, until};
use crate::tls::{certificate, speak};
use backstay_gateway::Endpoint;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// What a load balancer at 10.0.0.1:6379 says of a client at 192.0.2.7:54321, with an unknown field behind it.
fn from_afar() -> Vec<u8> {
    header(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x18, 0xeb, 0xea, 0, 2, b'h', b'i'])
}

fn front() -> Front {
    Front::start(Endpoint { proxy_protocol: true, ..endpoint() })
}

fn connect(front: &Front, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(first).unwrap();
    stream
}

/// Sends one command, and reads until the answer has this in it.
fn hear(stream: &mut (impl Read + Write), command: &str, wanted: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "it ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    text
}

/// The gateway has closed it, and has said nothing.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_load_balancer_says_who_a_client_is() {
    let server = Server::start();
    let front = front();
    front.serve(1, &server);
    let mut far = connect(&front, &[&from_afar()[..], b"SET a 1\r\n"].concat());
    hear(&mut far, "CLIENT INFO", "addr=192.0.2.7:54321 ");
    let of = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let rest = [&of("2001:db8::7")[..], &of("2001:db8::1"), &[0xd4, 0x31, 0x18, 0xeb]].concat();
    let mut other = connect(&front, &header(0x21, 0x21, &rest));
    hear(&mut other, "CLIENT INFO", "addr=[2001:db8::7]:54321 ");
    hear(&mut other, "CLIENT LIST", "addr=192.0.2.7:54321 ");
    hear(&mut other, "CLIENT KILL ADDR 192.0.2.7:54321", ":1\r\n");
    assert!(is_closed(far));
    hear(&mut other, "GET a", "$1\r\n1\r\n");
}

#[test]
fn a_load_balancer_that_speaks_for_itself_keeps_its_own_address() {
    let front = front();
    for first in [
        header(0x20, 0, &[]),
        header(0x20, 0x11, &[9; 12]),
        header(0x21, 0, &[]),
        header(0x21, 0x31, &[b'/'; 216]),
    ] {
        let mut stream = connect(&front, &first);
        let own = format!("addr={} ", stream.local_addr().unwrap());
        hear(&mut stream, "CLIENT INFO", &own);
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_is_understood_before_tls_begins() {
    let outside = certificate();
    let front =
        Front::start(Endpoint { proxy_protocol: true, tls: Some(outside.server.clone()), ..endpoint() });
    let mut stream = connect(&front, b"");
    for byte in from_afar() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut client = speak(stream, &outside);
    hear(&mut client, "CLIENT INFO", "addr=192.0.2.7:54321 ");
    // TLS without the header, and the header within TLS, are of no use.
    assert!(is_closed(connect(&front, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")));
    hear(&mut client, "CLIENT ID", ":");
}

#[test]
fn whoever_sends_no_header_of_version_2_is_disconnected_alone() {
    let front = front();
    let mut good = connect(&front, &from_afar());
    hear(&mut good, "CLIENT ID", ":");
    for wrong in [
        &b"PING\r\n"[..],
        b"PROXY TCP4 192.0.2.7 10.0.0.1 54321 6379\r\nPING\r\n",
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c",
        &header(0x11, 0x11, &[0; 12]),
        &header(0x22, 0x11, &[0; 12]),
        &header(0x21, 0x51, &[0; 12]),
        &header(0x21, 0x11, &[0; 11]),
        &header(0x21, 0x11, &[0; 5000]),
    ] {
        assert!(is_closed(connect(&front, wrong)), "{wrong:?}");
    }
    // One that ends in the middle, and one that ends without a word.
    for some in [&from_afar()[..20], b""] {
        let stream = connect(&front, some);
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(stream));
    }
    hear(&mut good, "CLIENT ID", ":");
    until("no other client", || front.gateway.load().clients == 1);
}

#[test]
fn a_header_that_never_ends_is_not_waited_for() {
    let front = front();
    let mut good = connect(&front, &from_afar());
    let (silent, stalled) = (connect(&front, b""), connect(&front, &from_afar()[..30]));
    assert!(is_closed(stalled));
    assert!(is_closed(silent));
    hear(&mut good, "CLIENT ID", ":");
}

#[test]
fn a_listener_that_was_not_asked_to_believes_no_header() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut liar = connect(&front, &from_afar());
    let mut answer = String::new();
    // To Redis the header is an unknown command, and then QUIT.
    liar.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("+OK\r\n"), "{answer}");
    assert!(!say(&mut front.client(), "CLIENT LIST").contains("192.0.2.7"));
}
