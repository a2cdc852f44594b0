//! Plain commands: transparent, and over few connections.

use crate::support::{Front, Server, hear, say, send, until};
use backstay_gateway::Listen;
use backstay_lab::load::connection::Connection;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

#[test]
fn plain_commands_of_many_clients_share_one_connection() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut clients: Vec<Connection> = (0..50).map(|_| front.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(say(client, &format!("SET key:{number} {number}")), "OK");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(say(client, &format!("GET key:{number}")), number.to_string());
    }
    assert_eq!(server.clients().len(), 1);
    assert_eq!(front.gateway.load().clients, 50);
    assert_eq!(front.gateway.load().backends, 1);
    drop(clients);
    until("no client", || front.gateway.load().clients == 0);
}

#[test]
fn a_pipeline_is_answered_in_order_whatever_it_holds() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    let mut expected = Vec::new();
    for round in 0..200 {
        for (line, answer) in [
            ("PING".to_owned(), "PONG".to_owned()),
            (format!("SET a {round}"), "OK".to_owned()),
            ("CLIENT SETNAME me".to_owned(), "OK".to_owned()),
            ("GET a".to_owned(), round.to_string()),
            ("MULTI".to_owned(), "OK".to_owned()),
            ("INCR a".to_owned(), "QUEUED".to_owned()),
            ("EXEC".to_owned(), format!("[{}]", round + 1)),
            ("CLIENT GETNAME".to_owned(), "me".to_owned()),
            ("SELECT 1".to_owned(), "OK".to_owned()),
            ("GET a".to_owned(), "nil".to_owned()),
            ("SELECT 0".to_owned(), "OK".to_owned()),
            ("NONSENSE".to_owned(), "ERR unknown command 'NONSENSE', with args beginning with: ".to_owned()),
            ("GET a".to_owned(), (round + 1).to_string()),
        ] {
            send(&mut client, &line);
            expected.push((line, answer));
        }
    }
    for (line, answer) in expected {
        assert_eq!(hear(&mut client), answer, "{line}");
    }
}

#[test]
fn large_values_pass_both_ways() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    for length in [1, 16_000, 65_535, 65_536, 70_000, 1 << 20, 40 << 20] {
        let value: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        let set =
            [format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${length}\r\n").as_bytes(), &value, b"\r\n"].concat();
        let asks = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n*1\r\n$4\r\nPING\r\n";
        stream.write_all(&[&set[..], asks].concat()).unwrap();
        let expected = [format!("+OK\r\n${length}\r\n").as_bytes(), &value, b"\r\n+PONG\r\n"].concat();
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer == expected, "{length}");
    }
}

#[test]
fn inline_commands_and_empty_requests_are_taken_as_redis_takes_them() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(b"PING\r\n\r\n*0\r\nset a \"x y\"\r\nGET a\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n+OK\r\n$3\r\nx y\r\n+OK\r\n");
}

#[test]
fn a_client_that_has_said_everything_still_hears_its_answers() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(b"SET a 1\r\nSELECT 1\r\nSET a 2\r\nMULTI\r\nGET a\r\nEXEC\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n");
}

#[test]
fn a_client_that_keeps_a_state_and_has_said_everything_still_hears_its_answers() {
    let server = Server::start();
    let front = Front::of(&server);
    for (asks, answers) in [
        ("WATCH a\r\nSET a 1\r\nGET a\r\n", "+OK\r\n+OK\r\n$1\r\n1\r\n"),
        // Nobody knows how long the last one takes.
        ("WATCH a\r\nGET a\r\nSET b 1\r\nBLPOP list 0\r\n", "+OK\r\n$1\r\n1\r\n+OK\r\n"),
    ] {
        let mut stream = TcpStream::connect(front.address).unwrap();
        stream.write_all(asks.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, answers);
    }
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(b"HELLO 3\r\nCLIENT TRACKING ON\r\nSET c 1\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("+OK\r\n+OK\r\n"), "{answer}");
    until("no client", || front.gateway.load().clients == 0);
    let kept = ["b", "c"].map(|key| crate::support::show(&server.ask(&["GET", key])));
    assert_eq!(kept, ["1", "1"]);
}

#[test]
fn a_client_that_has_said_everything_hears_its_answers_when_there_is_a_primary() {
    let server = Server::start();
    let front = Front::start(crate::support::endpoint());
    let mut streams: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(front.address).unwrap()).collect();
    for stream in &mut streams {
        stream.write_all(b"INCR a\r\nSELECT 1\r\nINCR b\r\nMULTI\r\nINCR c\r\nEXEC\r\nGET").unwrap();
    }
    front.await_held_commands(3);
    for stream in &streams {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    front.await_taken();
    front.serve(1, &server);
    for stream in &mut streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let lines: Vec<&str> = answer.lines().collect();
        assert_eq!(lines.len(), 7, "{answer}");
        assert_eq!((lines[1], lines[3], lines[4], lines[5]), ("+OK", "+OK", "+QUEUED", "*1"), "{answer}");
    }
    assert_eq!(say(&mut front.client(), "GET a"), "3");
    until("one client at most", || front.gateway.load().clients <= 1);
}

#[test]
fn nobody_stays_who_cannot_say_what_would_let_it_go() {
    let server = Server::start();
    let front = Front::of(&server);
    for states in ["SUBSCRIBE x", "BLPOP list 0", "WATCH a", "MULTI", "MONITOR", "GET a\r\nBLPOP list 0"] {
        let mut stream = TcpStream::connect(front.address).unwrap();
        stream.write_all(format!("{states}\r\n").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
    }
    // What stands behind a command that blocks was not even read, and nobody is there to answer.
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(b"BLPOP list 0\r\nGET a\r\n").unwrap();
    until("a blocked client", || server.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    until("no client", || front.gateway.load().clients == 0);
    until("nobody blocked", || server.redis.info("blocked_clients").unwrap().as_deref() == Some("0"));
}

#[test]
fn what_was_sent_before_hanging_up_is_done() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let mut settings = crate::support::endpoint();
    settings.listen.push(Listen::Unix(path.clone()));
    let front = Front::start(settings);
    front.serve(1, &server);
    assert_eq!(say(&mut front.client(), "PING"), "PONG");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&b"INCR a\r\n".repeat(500)).unwrap();
    drop(stream);
    until("all of it", || say(&mut front.client(), "GET a") == "500");
}

#[test]
fn requests_that_arrive_byte_by_byte_are_understood() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n$5\r\nhello\r\n");
}

#[test]
fn what_a_gateway_cannot_allow_is_refused_by_name() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for line in [
        "REPLICAOF NO ONE",
        "SHUTDOWN NOW",
        "CONFIG SET maxmemory 1",
        "DEBUG SLEEP 1",
        "ACL SETUSER x",
        "ACL LIST",
        "ACL GETUSER default",
        "MODULE LOAD x",
        "CLUSTER RESET",
        "SYNC",
        "CLIENT PAUSE 1000",
        "CLIENT UNBLOCK 1",
    ] {
        let name: String = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let answer = say(&mut client, line);
        assert_eq!(
            answer,
            format!("ERR '{name}' is not allowed through a gateway; connect to the server itself for it")
        );
    }
    assert!(say(&mut client, "CONFIG GET maxmemory").starts_with("[maxmemory"));
    assert_eq!(say(&mut client, "PING"), "PONG");
}

#[test]
fn clients_see_each_other_and_not_the_gateways_connections() {
    let server = Server::start();
    let front = Front::of(&server);
    let (mut one, mut two) = (front.client(), front.client());
    assert_eq!(say(&mut one, "CLIENT SETNAME one"), "OK");
    assert_eq!(say(&mut one, "CLIENT SETINFO lib-name x"), "OK");
    assert_eq!(say(&mut one, "CLIENT NO-EVICT ON"), "OK");
    let list = say(&mut two, "CLIENT LIST");
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("name=one"), "{list}");
    let id = say(&mut one, "CLIENT ID");
    assert_eq!(say(&mut two, &format!("CLIENT KILL ID {id}")), "1");
    assert!(one.call(&["PING"]).is_err());
    assert_eq!(say(&mut two, &format!("CLIENT KILL ID {id}")), "0");
}

#[test]
fn a_unix_socket_is_an_address_too_and_goes_with_its_gateway() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let mut settings = crate::support::endpoint();
    settings.listen.push(Listen::Unix(path.clone()));
    let front = Front::start(settings.clone());
    front.serve(1, &server);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"SET a 1\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "+OK\r\n+OK\r\n");
    drop(front);
    assert!(!path.exists());
    // One that nobody answers at was left behind by a killed gateway.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _front = Front::start(settings);
    assert!(UnixStream::connect(&path).is_ok());
}
