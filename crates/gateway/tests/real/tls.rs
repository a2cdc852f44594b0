//! TLS on both sides, with real certificates and a real server that speaks it.

use crate::support::{Front, LIMIT, endpoint, until};
use backstay_gateway::{Backend, Endpoint, Listen};
use backstay_lab::servers::ports::Ports;
use backstay_model::Time;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub(crate) struct Certificate {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    pem: (String, String),
}

pub(crate) fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["redis.shop".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    Certificate { server: Arc::new(server), client: Arc::new(client), pem }
}

/// A server that speaks TLS alone.
struct TlsServer {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _ports: Ports,
}

impl TlsServer {
    fn start(certificate: &Certificate) -> Self {
        let mut ports = Ports::open().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = ports.claim().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("cert.pem"), &certificate.pem.0).unwrap();
        std::fs::write(path("key.pem"), &certificate.pem.1).unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--tls-auth-clients", "no", "--tls-port", &port.to_string()])
            .arg("--tls-cert-file")
            .arg(path("cert.pem"))
            .arg("--tls-key-file")
            .arg(path("key.pem"))
            .arg("--tls-ca-cert-file")
            .arg(path("cert.pem"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("a server", || TcpStream::connect(address).is_ok());
        Self { process, address, _folder: folder, _ports: ports }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(front: &Front, certificate: &Certificate) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(front.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    speak(stream, certificate)
}

pub(crate) fn speak(
    stream: TcpStream,
    certificate: &Certificate,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("redis.shop").unwrap();
    StreamOwned::new(ClientConnection::new(certificate.client.clone(), name).unwrap(), stream)
}

#[test]
fn tls_covers_both_sides() {
    let (outside, inside) = (certificate(), certificate());
    let server = TlsServer::start(&inside);
    let front = Front::start(Endpoint {
        tls: Some(outside.server.clone()),
        backend: Backend { login: None, tls: Some((inside.client.clone(), Some("redis.shop".to_owned()))) },
        ..endpoint()
    });
    front.serve_until(1, server.address, Time::MAX);
    let mut client = connect(&front, &outside);
    for length in [1, 20_000, 3 << 20] {
        let value = vec![b'x'; length];
        let request =
            [format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${length}\r\n").as_bytes(), &value, b"\r\nGET a\r\n"]
                .concat();
        client.write_all(&request).unwrap();
        let expected = [format!("+OK\r\n${length}\r\n").as_bytes(), &value, b"\r\n"].concat();
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert!(answer == expected, "{length}");
    }
    client.write_all(b"QUIT\r\n").unwrap();
    let mut rest = String::new();
    // An end without TLS's own goodbye would be an error here.
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "+OK\r\n");
}

#[test]
fn a_client_that_is_let_go_hears_the_last_byte_of_its_answer() {
    let outside = certificate();
    let server = crate::support::Server::start();
    let front = Front::start(Endpoint { tls: Some(outside.server.clone()), ..endpoint() });
    front.serve(1, &server);
    let length = 4 << 20;
    server.ask(&["SET", "a", &"x".repeat(length)]);
    for (ends, last) in [("GET a\r\nQUIT\r\n", "+OK\r\n"), ("WATCH b\r\nGET a\r\n", "x\r\n")] {
        let stream = TcpStream::connect(front.address).unwrap();
        socket2::SockRef::from(&stream).set_recv_buffer_size(64 * 1024).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = speak(stream, &outside);
        client.write_all(ends.as_bytes()).unwrap();
        client.flush().unwrap();
        if last != "+OK\r\n" {
            client.sock.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(heard.len() > length && heard.ends_with(last.as_bytes()), "{}", heard.len());
    }
}

#[test]
fn a_server_that_is_somebody_else_is_not_spoken_to() {
    let (real, other) = (certificate(), certificate());
    let server = TlsServer::start(&other);
    let mut settings = endpoint();
    settings.backend.tls = Some((real.client.clone(), Some("redis.shop".to_owned())));
    settings.limits.hold_max = std::time::Duration::from_millis(300);
    let front = Front::start(settings);
    front.serve_until(1, server.address, Time::MAX);
    let answer = crate::support::say(&mut front.client(), "SET secret 1");
    assert!(answer.starts_with("HOLDTIMEOUT "), "{answer}");
    assert!(answer.contains("invalid peer certificate"), "{answer}");
}

#[test]
fn a_client_that_does_not_speak_tls_ends_alone() {
    let outside = certificate();
    let front = Front::start(Endpoint { tls: Some(outside.server.clone()), ..endpoint() });
    let mut plain = TcpStream::connect(front.address).unwrap();
    plain.write_all(b"PING\r\n").unwrap();
    until("no client", || front.gateway.load().clients == 0);
    let mut client = connect(&front, &outside);
    client.write_all(b"CLIENT ID\r\n").unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..1], b":");
}

#[test]
fn a_client_that_called_a_name_is_told_to_call_it_again() {
    let outside = certificate();
    let settings = Endpoint { tls: Some(outside.server.clone()), ..endpoint() };
    let front = Front::start(settings.clone());
    let mut client = connect(&front, &outside);
    client
        .write_all(b"HELLO 3\r\nCLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-fqdn\r\n")
        .unwrap();
    let mut text = String::new();
    let mut hear = |ending: &str| {
        while !text.ends_with(ending) {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        std::mem::take(&mut text)
    };
    hear("+OK\r\n");
    let _heir = Front::start(Endpoint { listen: vec![Listen::Tcp(front.address)], ..settings });
    front.gateway.leave(LIMIT);
    let name = format!("redis.shop:{}", front.address.port());
    let notice = hear(&format!("${}\r\n{name}\r\n", name.len()));
    assert!(notice.starts_with(">4\r\n$6\r\nMOVING\r\n:") && notice.contains("\r\n:10\r\n"), "{notice}");
}

#[test]
fn a_handshake_that_is_never_finished_does_not_keep_a_place() {
    let outside = certificate();
    let mut settings = Endpoint { tls: Some(outside.server.clone()), ..endpoint() };
    settings.limits.sign_in_timeout = std::time::Duration::from_secs(1);
    let front = Front::start(settings);
    let mut good = connect(&front, &outside);
    while good.conn.is_handshaking() {
        good.conn.complete_io(&mut good.sock).unwrap();
    }
    let silent = TcpStream::connect(front.address).unwrap();
    let mut begun = TcpStream::connect(front.address).unwrap();
    begun.write_all(&[22, 3, 1, 2, 0]).unwrap();
    until("three clients", || front.gateway.load().clients == 3);
    until("one client", || front.gateway.load().clients == 1);
    drop((silent, begun));
    good.write_all(b"CLIENT ID\r\n").unwrap();
    let mut answer = [0; 1];
    good.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b":");
}
