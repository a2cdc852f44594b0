//! How clients come in, what servers are told of them, and how connections end.

use crate::server::Server;
use crate::support::{Front, LIMIT, endpoint, until};
use crate::wire::{Client, rest};
use backstay_gateway::{Endpoint, EndpointLimits, Listen};
use backstay_model::Time;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

const WHERE: &str = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()";

fn trusting() -> Server {
    Server::with(&["--proxy-protocol-networks=127.0.0.1"])
}

#[test]
fn the_server_is_told_where_a_client_is() {
    let server = trusting();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sock");
    let mut announcing = Endpoint { send_proxy: true, ..endpoint() };
    announcing.listen.push(Listen::Unix(path.clone()));
    let front = Front::start(announcing);
    front.serve(1, &server);
    let mut client = front.client();
    let own = client.stream.local_addr().unwrap().to_string();
    assert_eq!(client.value(WHERE), own);
    // Of a client over a Unix socket there is nothing to tell.
    let mut local = Client::over(UnixStream::connect(path).unwrap());
    local.sign_in("root", "shop").unwrap();
    assert!(local.value(WHERE).starts_with("127.0.0.1:"));
}

#[test]
fn what_a_load_balancer_says_of_a_client_is_passed_on() {
    let server = trusting();
    let front = Front::start(Endpoint { send_proxy: true, proxy_protocol: true, ..endpoint() });
    front.serve(1, &server);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x18, 0xeb]);
    let mut client = Client::connect(front.address).unwrap();
    // In pieces, as it may come.
    for byte in &header {
        client.stream.write_all(&[*byte]).unwrap();
    }
    client.sign_in("root", "shop").unwrap();
    assert_eq!(client.value(WHERE), "192.0.2.7:54321");
    // Without a header nobody comes in.
    let mut liar = Client::connect(front.address).unwrap();
    liar.stream.write_all(b"\x20\0\0\x01\x85\xa6\x0f\0\0\0\0\x01\x2d\0\0\0\0\0").unwrap();
    assert_eq!(rest(&mut liar.stream).0, 0);
}

#[test]
fn tls_between_client_and_server_is_passed_through() {
    let made = rcgen::generate_simple_self_signed(vec!["shop".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) =
        (file("certificate.pem", made.cert.pem()), file("key.pem", made.signing_key.serialize_pem()));
    let server = Server::with(&[
        &format!("--ssl-cert={}", certificate.display()),
        &format!("--ssl-key={}", key.display()),
        "--require-secure-transport=OFF",
    ]);
    let front = Front::of(&server);
    let port = format!("-P{}", front.address.port());
    let shown = Command::new("mariadb")
        .args([
            "--no-defaults",
            "-h127.0.0.1",
            &port,
            "-uroot",
            "--ssl",
            "--skip-ssl-verify-server-cert",
            "-N",
        ])
        .args(["-e", "SHOW STATUS LIKE 'Ssl_version'; SELECT REPEAT('x', 1000)"])
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("TLSv1") && text.contains(&"x".repeat(1000)), "{text} {:?}", shown.stderr);
    // Nothing in it was looked at.
    assert_eq!(front.sql().commands, 0);
}

/// A server that is this test: what it is sent, and what it says.
struct Puppet(TcpListener);

impl Puppet {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The gateway's next connection, greeted.
    fn greet(&self) -> TcpStream {
        let mut stream = self.0.accept().unwrap().0;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"\x03\0\0\0\x0aHi").unwrap();
        stream
    }
}

fn linked() -> (Front, Client, TcpStream) {
    let (puppet, front) = (Puppet::new(), Front::start(endpoint()));
    front.serve_until(1, puppet.address(), Time::MAX);
    let mut client = Client::connect(front.address).unwrap();
    let server = puppet.greet();
    assert_eq!(client.receive().unwrap(), b"\x0aHi");
    (front, client, server)
}

/// Ends a connection as a process does that dies with something unread.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn a_side_that_ends_its_sending_still_hears_the_other() {
    let (front, mut client, mut server) = linked();
    client.stream.write_all(b"last words").unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "last words");
    server.write_all(b"and the answer").unwrap();
    drop(server);
    client.stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "last wordsand the answer");
    until("nobody", || front.traffic().clients == 0);
}

#[test]
fn a_reset_is_passed_on_in_both_directions() {
    let (front, client, mut server) = linked();
    reset(client.stream);
    assert_eq!(rest(&mut server), (0, true));
    until("nobody", || front.traffic().clients == 0);
    let (_front, mut client, server) = linked();
    reset(server);
    assert_eq!(rest(&mut client.stream), (0, true));
}

#[test]
fn what_a_server_says_last_is_heard_and_then_the_end() {
    let (_front, mut client, mut server) = linked();
    let last = vec![b'x'; 300_000];
    server.write_all(&last).unwrap();
    drop(server);
    assert_eq!(rest(&mut client.stream), (last.len(), false));
}

#[test]
fn at_a_hold_the_old_primary_sees_a_reset_and_the_client_an_end() {
    let (front, mut client, mut server) = linked();
    client.stream.write_all(b"\x05\0\0\0\x03DO 1").unwrap();
    server.read_exact(&mut [0; 9]).unwrap();
    front.hold(2);
    assert_eq!((rest(&mut server), rest(&mut client.stream)), ((0, true), (0, false)));
}

#[test]
fn who_hangs_up_while_waiting_is_gone() {
    let front = Front::start(endpoint());
    let client = Client::connect(front.address).unwrap();
    front.await_waiting(1);
    drop(client);
    until("nobody", || front.traffic().clients == 0);
    front.await_waiting(0);
}

#[test]
fn who_says_nothing_for_too_long_is_let_go() {
    let server = Server::start();
    let limits =
        EndpointLimits { idle_timeout: Some(Duration::from_millis(300)), ..EndpointLimits::default() };
    let front = Front::start(Endpoint { limits, ..endpoint() });
    front.serve(1, &server);
    let (mut idle, mut open) = (front.client(), front.client());
    open.query("START TRANSACTION").unwrap();
    open.query("SELECT COUNT(*) FROM mysql.global_priv").unwrap();
    assert_eq!(rest(&mut idle.stream), (0, false));
    // An open transaction is something that is under way.
    assert_eq!(open.value("SELECT 1"), "1");
    open.query("COMMIT").unwrap();
    assert_eq!(rest(&mut open.stream), (0, false));
    until("no client", || server.clients() == 0);
}
