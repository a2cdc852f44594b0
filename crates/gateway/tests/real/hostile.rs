//! Bytes that nobody should send, from either side: a clear error, and at most its own connection is closed.

use crate::support::{Front, LIMIT, Server, endpoint, hear, say, send, until};
use backstay_gateway::{Endpoint, EndpointLimits};
use backstay_model::Time;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

fn answer_to(front: &Front, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_client_that_speaks_nonsense_is_told_and_let_go() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut good = front.client();
    assert_eq!(say(&mut good, "SET a 1"), "OK");
    let long = "a".repeat(70_000);
    for (bytes, error) in [
        (&b"*1\r\n$1000000000\r\n"[..], "invalid bulk length"),
        (b"*99999999\r\n", "invalid multibulk length"),
        (b"*-5\r\n", "invalid multibulk length"),
        (b"*1\r\n*1\r\n", "expected '$'"),
        (b"*1\r\n$4\r\nPINGxx", "a value does not end with a line end"),
        (b"GET \"a\r\n", "unbalanced quotes in request"),
        (long.as_bytes(), "too big inline request"),
    ] {
        let answer = answer_to(&front, bytes);
        assert_eq!(
            answer,
            format!("-ERR Protocol error: {error}\r\n"),
            "{:?}",
            &bytes[..bytes.len().min(20)]
        );
    }
    let after_a_good_one = answer_to(&front, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*x\r\n");
    assert_eq!(after_a_good_one, "$1\r\n1\r\n-ERR Protocol error: invalid multibulk length\r\n");
    assert_eq!(say(&mut good, "GET a"), "1");
    assert_eq!(server.clients().len(), 1);
}

/// A server that greets as Redis does and then answers every read with the next of these. An empty one is the end of the
/// connection, at once behind the one before it.
fn fake(answers: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut chunk = vec![0; 64 * 1024];
            let mut greeting = Vec::new();
            while !greeting.ends_with(b"$2\r\nID\r\n") {
                let read = stream.read(&mut chunk).unwrap();
                if read == 0 {
                    return;
                }
                greeting.extend_from_slice(&chunk[..read]);
            }
            stream.write_all(b"*0\r\n+OK\r\n:1\r\n").unwrap();
            while let Ok(1..) = stream.read(&mut chunk) {
                let Some(answer) = answers.next() else {
                    return;
                };
                if answer.is_empty() || stream.write_all(&answer).is_err() {
                    break;
                }
                if answers.next_if(Vec::is_empty).is_some() {
                    break;
                }
            }
        }
    });
    address
}

fn in_front_of(answers: &[&[u8]]) -> Front {
    let front = Front::start(endpoint());
    let server = fake(answers.iter().map(|answer| answer.to_vec()).collect());
    front.serve_until(1, server, Time::MAX);
    front
}

#[test]
fn a_server_that_answers_garbage_loses_its_connection_and_the_read_is_repeated() {
    for garbage in [
        &b"what?\r\n"[..],
        b"$-7\r\n",
        b"$999999999999\r\n",
        b"*999999999999\r\n",
        b"+no end\n",
        b"$3\r\nabcde",
        b"$?\r\n",
    ] {
        let front = in_front_of(&[garbage, b"+fine\r\n"]);
        let mut client = front.client();
        assert_eq!(say(&mut client, "GET a"), "fine", "{garbage:?}");
        let front = in_front_of(&[garbage]);
        let mut client = front.client();
        assert!(say(&mut client, "SET a 1").starts_with("UNKNOWNOUTCOME "), "{garbage:?}");
    }
}

#[test]
fn a_server_that_answers_too_much_loses_its_connection() {
    let front = in_front_of(&[b"+one\r\n+two\r\n", b"+three\r\n"]);
    let mut client = front.client();
    assert_eq!(say(&mut client, "GET a"), "one");
    assert_eq!(say(&mut client, "GET a"), "three");
}

#[test]
fn a_server_that_closes_within_a_reply_never_makes_a_client_hear_half_of_one() {
    // Little of it: it was not given on, and the read is repeated.
    let front = in_front_of(&[b"$10\r\nabc", b"", b"+fine\r\n"]);
    let mut client = front.client();
    send(&mut client, "GET a");
    assert_eq!(hear(&mut client), "fine");
    // Much of it: the client has a part, and can only be let go.
    let half = [b"$100000\r\n".to_vec(), vec![b'x'; 50_000]].concat();
    let front = in_front_of(&[&half, b"", b"+fine\r\n"]);
    let mut client = TcpStream::connect(front.address).unwrap();
    client.write_all(b"GET a\r\n").unwrap();
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard);
    assert!(half.starts_with(&heard));
    until("no client", || front.gateway.load().clients == 0);
}

#[test]
fn what_a_server_says_unasked_between_replies_is_no_reply() {
    let front = in_front_of(&[b"+a\r\n>2\r\n+x\r\n+y\r\n+b\r\n", b"+c\r\n"]);
    let mut client = front.resp3();
    client.send(&[&["GET", "a"], &["GET", "b"]]).unwrap();
    assert_eq!((hear(&mut client), hear(&mut client)), ("a".to_owned(), "b".to_owned()));
    assert_eq!(say(&mut client, "GET c"), "c");
}

#[test]
fn a_reply_that_is_too_long_is_told_and_not_asked_for_again() {
    let server = Server::start();
    let limits = EndpointLimits { output_bytes_max: 1 << 20, ..EndpointLimits::default() };
    let front = Front::start(Endpoint { limits, ..endpoint() });
    front.serve(1, &server);
    // A line, on the connection that others share.
    let mut client = front.client();
    let script = "return redis.status_reply(string.rep('x', 2000000))";
    client.send(&[&["EVAL_RO", script, "0"]]).unwrap();
    let answer = hear(&mut client);
    assert!(
        answer.contains("cannot be passed on by a gateway: it sent what is no reply: a line of more"),
        "{answer}"
    );
    assert_eq!(say(&mut client, "PING"), "PONG");
    // What took something away took it once.
    for _ in 0..4 {
        server.ask(&["RPUSH", "list", &"x".repeat(800_000)]);
    }
    client.send(&[&["BLMPOP", "0", "1", "list", "LEFT", "COUNT", "2"]]).unwrap();
    let answer = hear(&mut client);
    assert!(answer.starts_with("UNKNOWNOUTCOME it was done"), "{answer}");
    assert_eq!(say(&mut client, "LLEN list"), "2");
}

#[test]
fn a_read_that_ends_its_connection_each_time_is_given_up() {
    let endless: Vec<&[u8]> = vec![b"what?\r\n"; 10];
    let front = in_front_of(&endless);
    let mut client = front.client();
    let answer = say(&mut client, "GET a");
    assert!(answer.contains("the connection to the server was lost each time"), "{answer}");
}
