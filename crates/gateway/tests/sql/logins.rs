//! A server that goes while somebody signs in: the next one goes on with that, and real clients do not notice.

use crate::server::{Server, free_address};
use crate::support::{Front, endpoint, until};
use crate::wire::{Client, Failure, rest};
use backstay_gateway::{Endpoint, EndpointLimits};
use backstay_model::Time;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// After which packet of a login a server dies: the greeting, who the client is, the question for another proof, the answer.
const GREETED: usize = 1;
const INTRODUCED: usize = 2;
const ASKED: usize = 3;
const ANSWERED: usize = 4;

/// A server that dies in the middle of its first login; until then it is another one, word by word.
struct Dying {
    address: SocketAddr,
    life: JoinHandle<()>,
}

impl Dying {
    fn after(packets: usize, model: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, model) = (listener.local_addr().unwrap(), model.address);
        let life = std::thread::spawn(move || {
            let mut gateway = listener.accept().unwrap().0;
            let mut server = TcpStream::connect(model).unwrap();
            for number in 0..packets {
                let sides =
                    if number % 2 == 0 { (&mut server, &mut gateway) } else { (&mut gateway, &mut server) };
                let packet = packet(sides.0);
                // Nobody hears what it was told last.
                if number % 2 == 0 || number + 1 < packets {
                    sides.1.write_all(&packet).unwrap();
                }
            }
            // A reset would take back what it has said last.
            if packets.is_multiple_of(2) {
                SockRef::from(&gateway).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        Self { address, life }
    }
}

fn packet(from: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    from.read_exact(&mut header).unwrap();
    let mut packet = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
    from.read_exact(&mut packet).unwrap();
    [&header[..], &packet].concat()
}

/// Two servers at which `ed` logs in by `ed25519`.
fn servers() -> (Server, Server) {
    let server = || {
        let server = Server::with(&["--plugin-load-add=auth_ed25519"]);
        let create = "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')";
        server.direct().query(create).unwrap();
        server
    };
    (server(), server())
}

fn mariadb(front: &Front, user: &str) -> Child {
    let login = [format!("-P{}", front.address.port()), format!("-u{user}"), "-psecret".to_owned()];
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "-h127.0.0.1", "--skip-ssl", "-N", "-e", "SELECT @@port"]).args(login);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn page(front: &Front) -> Child {
    let script = format!(
        "$db = mysqli_init(); mysqli_report(MYSQLI_REPORT_OFF); \
         @$db->real_connect('127.0.0.1', 'app', 'secret', 'shop', {}) or die($db->connect_error); \
         echo $db->query('SELECT @@port')->fetch_row()[0];",
        front.address.port()
    );
    let mut command = Command::new("php");
    command.args(["-r", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a client says to whom the first server died after so many packets, and the next one came later.
fn moved(packets: usize, (old, new): &(Server, Server), client: impl Fn(&Front) -> Child) -> Output {
    let front = Front::start(endpoint());
    let dying = Dying::after(packets, old);
    front.serve_until(1, dying.address, Time::MAX);
    let client = client(&front);
    dying.life.join().unwrap();
    front.await_waiting(1);
    front.hold(2);
    front.serve(2, new);
    client.wait_with_output().unwrap()
}

fn expect_moved(packets: usize, servers: &(Server, Server), client: impl Fn(&Front) -> Child) {
    let output = moved(packets, servers, client);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), servers.1.address.port().to_string(), "after {packets}: {output:?}");
}

#[test]
fn a_page_whose_server_dies_while_it_signs_in_is_let_in_by_the_next_one() {
    let has_php = Command::new("php").args(["-r", "exit(extension_loaded('mysqli') ? 0 : 1);"]).status();
    if !has_php.is_ok_and(|status| status.success()) {
        eprintln!("not tried: PHP with mysqli is missing (apt-get install php-cli php-mysql)");
        return;
    }
    let servers = servers();
    for packets in [GREETED, INTRODUCED] {
        expect_moved(packets, &servers, page);
    }
}

#[test]
fn the_command_line_client_does_not_notice_that_its_server_dies_while_it_signs_in() {
    let servers = servers();
    for packets in [GREETED, INTRODUCED] {
        expect_moved(packets, &servers, |front| mariadb(front, "app"));
    }
    for packets in [GREETED, INTRODUCED, ASKED, ANSWERED] {
        expect_moved(packets, &servers, |front| mariadb(front, "ed"));
    }
}

#[test]
fn who_signs_in_and_waits_for_too_long_is_told_why() {
    let limits = EndpointLimits { hold_max: Duration::from_millis(300), ..EndpointLimits::default() };
    let front = Front::start(Endpoint { limits, ..endpoint() });
    let (old, _) = servers();
    for (packets, user) in [(INTRODUCED, "app"), (ASKED, "ed")] {
        let dying = Dying::after(packets, &old);
        front.serve_until(packets as u64, dying.address, Time::MAX);
        let client = mariadb(&front, user);
        dying.life.join().unwrap();
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("ERROR 1053") && said.contains("Waited 300 ms for a server"), "{user}: {said}");
    }
}

/// One that was greeted and has said nothing.
fn greeted(front: &Front) -> Client {
    let client = Client::connect(front.address).unwrap();
    until("a greeting", || client.stream.peek(&mut [0]).is_ok_and(|count| count > 0));
    client
}

#[test]
fn at_a_switchover_who_signs_in_goes_on_with_the_next_primary_and_holds_nobody_up() {
    let (old, new) = (Server::start(), Server::start());
    let limits = EndpointLimits { drain_grace: Duration::from_secs(3600), ..EndpointLimits::default() };
    let front = Front::start(Endpoint { limits, ..endpoint() });
    front.serve(1, &old);
    let mut client = greeted(&front);
    front.drain(2);
    front.await_held(2);
    front.serve(3, &new);
    client.sign_in("root", "shop").unwrap();
    assert_eq!(client.value("SELECT @@port"), new.address.port().to_string());
    assert_eq!(client.value("SELECT DATABASE()"), "shop");
    // It was let in: from now on it ends with its server.
    front.hold(4);
    assert_eq!(rest(&mut client.stream), (0, false));
}

#[test]
fn a_command_that_was_sent_before_the_login_was_answered_is_never_sent_again() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::start(endpoint());
    let dying = Dying::after(INTRODUCED, &old);
    front.serve_until(1, dying.address, Time::MAX);
    let mut client = greeted(&front);
    client.receive().unwrap();
    let hello = [&0x0008_a200_u32.to_le_bytes()[..], &[0; 28], b"root\0\0mysql_native_password\0"].concat();
    let header = |number: u8, length: usize| [length as u8, 0, 0, number];
    let order = b"\x03CREATE DATABASE twice";
    let both = [&header(1, hello.len())[..], &hello, &header(0, order.len()), order].concat();
    client.stream.write_all(&both).unwrap();
    dying.life.join().unwrap();
    assert_eq!(rest(&mut client.stream).0, 0);
    front.hold(2);
    front.serve(2, &new);
    until("nobody", || front.traffic().clients == 0);
    assert_eq!(new.ask("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'twice'"), "0");
}

#[test]
fn a_client_that_wants_tls_ends_with_its_server() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = greeted(&front);
    client.receive().unwrap();
    front.hold(2);
    front.serve(2, &new);
    // Nobody could put another proof into what it will say.
    client.send(1, &[&0x0008_8a00_u32.to_le_bytes()[..], &[0; 28]].concat()).unwrap();
    assert_eq!(rest(&mut client.stream).0, 0);
}

#[test]
fn a_wrong_password_is_refused_by_the_next_server_too() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = greeted(&front);
    front.hold(2);
    front.serve(2, &new);
    // It says nothing when it is asked for a proof.
    let Err(Failure::Said(number, text)) = client.sign_in("app", "shop") else {
        panic!("it was let in");
    };
    assert_eq!(number, 1045, "{text}");
    assert_eq!(front.sql().login_denied, 1);
}

#[test]
fn a_server_that_ends_every_login_is_not_asked_without_end() {
    let limits = EndpointLimits { hold_max: Duration::from_millis(500), ..EndpointLimits::default() };
    let front = Front::start(Endpoint { limits, ..endpoint() });
    let server = Server::start();
    let greeting = packet(&mut TcpStream::connect(server.address).unwrap());
    let address = free_address();
    let listener = TcpListener::bind(address).unwrap();
    front.serve_until(1, address, Time::MAX);
    let mut client = Client::connect(front.address).unwrap();
    std::thread::scope(|scope| {
        let logins = scope.spawn(|| {
            let mut logins = 0;
            while let Ok((mut stream, _)) = listener.accept() {
                logins += 1;
                // The last one is the test itself.
                if stream.write_all(&greeting).is_err() || stream.read(&mut [0; 500]).is_ok_and(|it| it == 4)
                {
                    break;
                }
            }
            logins
        });
        let Err(Failure::Said(number, _)) = client.sign_in("root", "shop") else {
            panic!("it was let in");
        };
        assert_eq!(number, 1053);
        TcpStream::connect(address).unwrap().write_all(b"stop").unwrap();
        assert!(logins.join().unwrap() < 110);
    });
}
