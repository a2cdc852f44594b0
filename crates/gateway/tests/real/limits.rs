//! Who may come in, and how much of everything there may be.

use crate::support::{Front, Server, endpoint, hear, say, send, until};
use backstay_gateway::{Endpoint, EndpointLimits, Login, User};
use backstay_lab::load::connection::{Reply, text};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn limited(limits: EndpointLimits) -> Front {
    Front::start(Endpoint { limits, ..endpoint() })
}

#[test]
fn users_sign_in_with_their_own_passwords() {
    let server = Server::start();
    server.ask(&["ACL", "SETUSER", "shop", "on", ">inner", "~*", "+@all"]);
    server.ask(&["ACL", "SETUSER", "reports", "on", ">deep", "~*", "+@read", "+@connection"]);
    let mut settings = endpoint();
    settings.backend.login = Some(Login { user: "shop".to_owned(), password: "inner".into() });
    let reports = Login { user: "reports".to_owned(), password: "deep".into() };
    settings.users = vec![
        User { name: "default".to_owned(), password: "open".into(), login: None },
        User { name: "report".to_owned(), password: "read".into(), login: Some(reports) },
    ];
    let front = Front::start(settings);
    front.serve(1, &server);

    let mut client = front.client();
    assert_eq!(say(&mut client, "GET a"), "NOAUTH Authentication required.");
    assert!(say(&mut client, "HELLO 3").starts_with("NOAUTH "));
    assert!(say(&mut client, "AUTH wrong").starts_with("WRONGPASS "));
    assert!(say(&mut client, "AUTH report open").starts_with("WRONGPASS "));
    assert_eq!(say(&mut client, "AUTH open"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    assert_eq!(say(&mut client, "ACL WHOAMI"), "shop");

    assert_eq!(say(&mut client, "AUTH report read"), "OK");
    assert_eq!(say(&mut client, "ACL WHOAMI").split(' ').next(), Some("NOPERM"));
    assert_eq!(say(&mut client, "GET a"), "1");
    assert!(say(&mut client, "SET a 2").starts_with("NOPERM "));
    assert_eq!(say(&mut client, "RESET"), "RESET");
    assert!(say(&mut client, "GET a").starts_with("NOAUTH "));
    let hello = client.call(&["HELLO", "3", "AUTH", "default", "open", "SETNAME", "me"]).unwrap();
    assert!(matches!(hello, Reply::Map(_)), "{hello:?}");
    assert_eq!(say(&mut client, "CLIENT GETNAME"), "me");
}

#[test]
fn hello_answers_as_a_server_would() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(say(&mut client, "PING"), "PONG");
    let (ours, theirs) = (client.call(&["HELLO", "2"]).unwrap(), server.ask(&["HELLO", "2"]));
    let fields = |reply| {
        let text = crate::support::show(reply);
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.into_iter().enumerate().filter(|(at, _)| *at != 7).map(|it| it.1).collect::<Vec<_>>()
    };
    assert_eq!(fields(&ours), fields(&theirs));
    assert_eq!(say(&mut client, "HELLO 4"), "NOPROTO unsupported protocol version");
    assert!(say(&mut client, "HELLO 3 BOGUS").starts_with("ERR Syntax error"));
}

#[test]
fn a_wrong_password_of_the_gateway_itself_is_the_reason_without_what_the_server_says_about_it() {
    let server = Server::start();
    let mut settings = endpoint();
    settings.backend.login = Some(Login { user: "nobody".to_owned(), password: "wrong".into() });
    settings.limits.hold_max = Duration::from_millis(200);
    let front = Front::start(settings);
    front.serve(1, &server);
    let mut client = front.client();
    let answer = say(&mut client, "GET a");
    assert!(answer.starts_with("HOLDTIMEOUT waited 200 ms"), "{answer}");
    assert!(answer.ends_with(": the server does not let this gateway sign in"), "{answer}");
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::start();
    let front = limited(EndpointLimits { clients_max: 2, ..EndpointLimits::default() });
    front.serve(1, &server);
    let (mut one, mut two) = (front.client(), front.client());
    assert_eq!(say(&mut one, "PING"), "PONG");
    assert_eq!(say(&mut two, "PING"), "PONG");
    let mut three = front.client();
    assert_eq!(hear(&mut three), "ERR max number of clients reached");
    drop(one);
    until("room", || front.gateway.load().clients == 1);
    assert_eq!(say(&mut front.client(), "PING"), "PONG");
}

#[test]
fn a_hold_that_takes_too_long_or_holds_too_much_is_answered_with_the_reason() {
    let server = Server::start();
    let limits = EndpointLimits {
        hold_max: Duration::from_millis(150),
        held_commands_max: 1,
        ..EndpointLimits::default()
    };
    let front = limited(limits);
    let (mut one, mut two) = (front.client(), front.client());
    one.send(&[&["GET", "a"], &["INCR", "n"]]).unwrap();
    front.await_held_commands(1);
    assert_eq!(say(&mut two, "GET a"), "HOLDFULL 1 commands wait for a primary already");
    let late = "HOLDTIMEOUT waited 150 ms for a primary: there is no primary now";
    assert_eq!(hear(&mut one), late);
    assert_eq!(hear(&mut one), late);
    front.serve(1, &server);
    assert_eq!(say(&mut one, "INCR n"), "1");
    assert_eq!(front.gateway.load().refused, 3);
}

#[test]
fn held_bytes_are_bounded() {
    let front = limited(EndpointLimits { held_bytes_max: 10_000, ..EndpointLimits::default() });
    let mut client = front.client();
    let value = "x".repeat(20_000);
    let answer = crate::support::show(&client.call(&["SET", "a", &value]).unwrap());
    assert_eq!(answer, "HOLDFULL commands of 10000 bytes wait for a primary already");
}

#[test]
fn a_held_command_of_a_client_that_left_is_not_sent() {
    let server = Server::start();
    let front = Front::start(endpoint());
    let mut client = TcpStream::connect(front.address).unwrap();
    client.write_all(b"SET a 1\r\n").unwrap();
    front.await_held_commands(1);
    // Whoever closes without this says no more than that it has sent everything.
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    until("no client", || front.gateway.load().clients == 0);
    front.serve(1, &server);
    assert_eq!(say(&mut front.client(), "GET a"), "nil");
}

#[test]
fn a_client_that_never_reads_is_slowed_down_and_costs_a_bounded_amount() {
    let server = Server::start();
    server.ask(&["SET", "a", &"x".repeat(100_000)]);
    let front = Front::of(&server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let ask = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(100);
    let mut asked = 0;
    while let Ok(written) = stream.write(&ask) {
        asked += written;
        assert!(asked < 256 << 20, "it is never slowed down");
    }
    // Others are served meanwhile, and it gets everything in the end.
    assert_eq!(say(&mut front.client(), "PING"), "PONG");
    let mut replies = 0;
    let mut chunk = vec![0; 1 << 20];
    while replies < 100_000 * 50 {
        replies += stream.read(&mut chunk).unwrap();
    }
}

#[test]
fn a_client_whose_replies_pile_up_is_dropped() {
    let server = Server::start();
    server.ask(&["SET", "a", &"x".repeat(1 << 20)]);
    let front = limited(EndpointLimits { output_bytes_max: 1 << 20, ..EndpointLimits::default() });
    front.serve(1, &server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    stream.write_all(&b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(64)).unwrap();
    until("no client", || front.gateway.load().clients == 0);
    assert_eq!(say(&mut front.client(), "PING"), "PONG");
}

#[test]
fn silent_clients_and_unfinished_requests_end() {
    let server = Server::start();
    let limits = EndpointLimits {
        idle_timeout: Some(Duration::from_millis(100)),
        request_timeout: Duration::from_millis(100),
        ..EndpointLimits::default()
    };
    let front = limited(limits);
    front.serve(1, &server);
    let (mut idle, mut subscriber) = (front.client(), front.client());
    assert_eq!(say(&mut subscriber, "SUBSCRIBE a"), "[subscribe a 1]");
    assert_eq!(say(&mut idle, "PING"), "PONG");
    let mut slow = TcpStream::connect(front.address).unwrap();
    slow.write_all(b"*2\r\n$3\r\nGE").unwrap();
    until("one client", || front.gateway.load().clients == 1);
    server.ask(&["PUBLISH", "a", "x"]);
    assert_eq!(hear(&mut subscriber), "[message a x]");
}

#[test]
fn a_request_that_is_too_long_ends_its_client_alone() {
    let server = Server::start();
    let front = limited(EndpointLimits { request_bytes_max: 100_000, ..EndpointLimits::default() });
    front.serve(1, &server);
    let mut stream = TcpStream::connect(front.address).unwrap();
    let _ = stream
        .write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$300000\r\n{}", "x".repeat(200_000)).as_bytes());
    until("no client", || front.gateway.load().clients == 0);
    assert_eq!(say(&mut front.client(), "GET a"), "nil");
    // What stands before it is answered before it.
    let mut client = front.client();
    send(&mut client, "GET a");
    let _ = client.send(&[&["SET", "a", &"x".repeat(200_000)]]);
    assert_eq!(hear(&mut client), "nil");
    assert!(hear(&mut client).starts_with("ERR Protocol error: the request is longer"));
}

#[test]
fn stopping_answers_what_is_under_way_and_accepts_nobody() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for number in 0..1000 {
        send(&mut client, &format!("SET key:{number} x"));
    }
    assert_eq!(hear(&mut client), "OK");
    front.await_taken();
    let address = front.address;
    front.gateway.stop(Duration::from_secs(5));
    for _ in 1..1000 {
        assert_eq!(hear(&mut client), "OK");
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn when_every_own_connection_is_in_use_the_next_waits_for_one() {
    let server = Server::start();
    let limits = EndpointLimits {
        own_connections_max: 1,
        hold_max: Duration::from_millis(200),
        ..EndpointLimits::default()
    };
    let front = limited(limits);
    front.serve(1, &server);
    let (mut one, mut two) = (front.client(), front.client());
    assert_eq!(say(&mut one, "MULTI"), "OK");
    assert_eq!(
        say(&mut two, "MULTI"),
        "HOLDTIMEOUT waited 200 ms for a primary: every connection that this endpoint may open is in use"
    );
    let mut three = front.client();
    send(&mut three, "BLPOP list 0.01");
    assert_eq!(say(&mut one, "EXEC"), "[]");
    assert_eq!(hear(&mut three), "nil");
}

#[test]
fn an_own_connection_that_is_closed_makes_room_at_once() {
    let server = Server::start();
    let limits = EndpointLimits {
        own_connections_max: 1,
        hold_max: Duration::from_secs(20),
        ..EndpointLimits::default()
    };
    let front = limited(limits);
    front.serve(1, &server);
    for leaves in ["end", "RESET", "kill"] {
        let (mut one, mut two) = (front.client(), front.client());
        assert_eq!(say(&mut one, "MULTI"), "OK");
        send(&mut two, "MULTI");
        front.await_held_commands(1);
        match leaves {
            "end" => drop(one),
            "RESET" => assert_eq!(say(&mut one, "RESET"), "RESET"),
            _ => {
                server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
        assert_eq!(hear(&mut two), "OK", "{leaves}");
        until("no commands that wait", || front.gateway.load().held == 0);
    }
}

#[test]
fn passwords_of_the_server_are_not_shown_to_clients() {
    let server = Server::start();
    server.ask(&["CONFIG", "SET", "masterauth", "hunter2"]);
    let front = Front::of(&server);
    let mut client = front.client();
    for line in
        ["CONFIG GET masterauth", "config get MASTER*", "CONFIG GET *", "CONFIG GET maxmemory m?sterauth"]
    {
        assert!(say(&mut client, line).starts_with("ERR CONFIG GET of passwords is not allowed"), "{line}");
    }
    assert_eq!(say(&mut client, "CONFIG GET maxmemory maxclients-x"), "[maxmemory 0]");
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    assert_eq!(say(&mut client, "CONFIG GET *auth"), "ERR not allowed in a transaction through a gateway");
    assert!(say(&mut client, "EXEC").starts_with("EXECABORT "));
    assert_eq!(say(&mut client, "GET a"), "nil");
    assert_eq!(say(&mut client, "ACL WHOAMI"), "default");
}

#[test]
fn who_does_not_sign_in_does_not_keep_a_place() {
    let server = Server::start();
    let mut settings = endpoint();
    settings.users = vec![User { name: "default".to_owned(), password: "open".into(), login: None }];
    settings.limits.sign_in_timeout = Duration::from_millis(300);
    let front = Front::start(settings);
    front.serve(1, &server);
    let mut signed = front.client();
    assert_eq!(say(&mut signed, "AUTH open"), "OK");
    let (mut silent, mut guessing) = (front.client(), front.client());
    assert!(say(&mut guessing, "AUTH wrong").starts_with("WRONGPASS "));
    until("one client", || front.gateway.load().clients == 1);
    assert!(guessing.receive().is_err() && silent.receive().is_err());
    // It has been here for longer, and may sign in again.
    assert_eq!(say(&mut signed, "RESET"), "RESET");
    assert_eq!(say(&mut signed, "AUTH open"), "OK");
    assert_eq!(say(&mut signed, "PING"), "PONG");
}

#[test]
fn a_client_that_had_its_share_of_a_turn_goes_on_in_the_next_one() {
    let front = Front::start(endpoint());
    let mut client = TcpStream::connect(front.address).unwrap();
    let mut answers = client.try_clone().unwrap();
    let asks = std::thread::spawn(move || client.write_all(&b"CLIENT GETNAME\r\n".repeat(20_000)).unwrap());
    let mut heard = vec![0; 20_000 * b"$-1\r\n".len()];
    answers.read_exact(&mut heard).unwrap();
    assert!(heard == b"$-1\r\n".repeat(20_000));
    asks.join().unwrap();
}

#[test]
fn a_rate_holds_for_all_clients_together_and_refuses_nobody_who_waits_in_time() {
    let server = Server::start();
    let front = limited(EndpointLimits { commands_per_second: 500, ..EndpointLimits::default() });
    front.serve(1, &server);
    let start = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| front.client()).collect();
    for client in &mut clients {
        for _ in 0..100 {
            send(client, "INCR n");
        }
    }
    for client in &mut clients {
        for _ in 0..100 {
            let answer = hear(client);
            assert!(answer.parse::<u64>().is_ok(), "{answer}");
        }
    }
    // 50 at once, the others 2 ms apart.
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    assert_eq!(text(&server.ask(&["GET", "n"])), "400");
}

#[test]
fn a_command_that_waits_for_its_turn_for_too_long_is_refused_with_the_reason() {
    let server = Server::start();
    let limits = EndpointLimits {
        commands_per_second: 1,
        hold_max: Duration::from_millis(200),
        ..EndpointLimits::default()
    };
    let front = limited(limits);
    front.serve(1, &server);
    let mut client = front.client();
    assert_eq!(say(&mut client, "PING"), "PONG");
    let late = "RATELIMIT waited 200 ms: this endpoint takes 1 commands per second";
    assert_eq!(say(&mut client, "PING"), late);
    until("the next turn", || say(&mut front.client(), "PING") == "PONG");
}

#[test]
fn clients_that_fetch_nothing_are_bounded_in_sum() {
    let server = Server::start();
    server.ask(&["SET", "big", &"x".repeat(1 << 20)]);
    let max = 32 << 20;
    let front = limited(EndpointLimits { memory_max: max, ..EndpointLimits::default() });
    front.serve(1, &server);
    let mut good = front.client();
    assert_eq!(say(&mut good, "SET a 1"), "OK");
    // Each may be owed this much, and all of them together may not.
    let mut greedy: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(front.address).unwrap()).collect();
    for stream in &mut greedy {
        stream.write_all(&b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(10)).unwrap();
    }
    until("some to be let go", || front.gateway.load().clients < 40);
    // Everybody else is served, now and later.
    for _ in 0..100 {
        assert_eq!(say(&mut good, "GET a"), "1");
    }
    assert_eq!(say(&mut good, "GET big").len(), 1 << 20);
    let load = front.gateway.load();
    assert_eq!(load.clients + load.refused, 41);
}

#[test]
fn a_user_sees_and_ends_its_own_clients_alone() {
    let server = Server::start();
    let mut settings = endpoint();
    let user = |name: &str| User { name: name.to_owned(), password: "open".into(), login: None };
    settings.users = vec![user("app"), user("report")];
    let front = Front::start(settings);
    front.serve(1, &server);
    let (mut app, mut report) = (front.client(), front.client());
    assert_eq!(say(&mut app, "AUTH app open"), "OK");
    assert_eq!(say(&mut report, "AUTH report open"), "OK");
    let id = say(&mut app, "CLIENT ID");
    assert!(!say(&mut report, "CLIENT LIST").contains("user=app"));
    assert_eq!(say(&mut report, &format!("CLIENT KILL ID {id}")), "0");
    assert_eq!(say(&mut app, "PING"), "PONG");
}
