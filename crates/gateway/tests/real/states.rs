//! States that need a connection of their own, and no longer than they live.

use crate::support::{Front, Server, hear, say, send, until};
use backstay_lab::load::connection::Connection;

#[test]
fn transactions_borrow_one_connection_and_give_it_back() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for round in 1..=50 {
        assert_eq!(say(&mut client, "MULTI"), "OK");
        assert_eq!(say(&mut client, "INCR a"), "QUEUED");
        assert_eq!(say(&mut client, "GET a"), "QUEUED");
        assert_eq!(say(&mut client, "EXEC"), format!("[{round} {round}]"));
        assert_eq!(say(&mut client, "GET a"), round.to_string());
    }
    // One shared, one lent fifty times.
    assert_eq!(server.clients().len(), 2);
    assert_eq!(say(&mut client, "EXEC"), "ERR EXEC without MULTI");
}

#[test]
fn a_transaction_is_discarded_or_aborted_as_on_the_server() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for (line, answer) in [
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("DISCARD", "OK"),
        ("GET a", "nil"),
        ("MULTI", "OK"),
        ("SET a", "ERR wrong number of arguments for 'set' command"),
        ("SET a 1", "QUEUED"),
        ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "OK"),
        ("SUBSCRIBE x", "ERR not allowed in a transaction through a gateway"),
        ("SET a 1", "QUEUED"),
        ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
        ("GET a", "nil"),
        ("SELECT 3", "OK"),
        ("MULTI", "OK"),
        ("SET a 3", "QUEUED"),
        ("EXEC", "[OK]"),
        ("SELECT 0", "OK"),
        ("GET a", "nil"),
    ] {
        assert_eq!(say(&mut client, line), answer, "{line}");
    }
}

#[test]
fn a_watched_key_that_changes_fails_the_transaction() {
    let server = Server::start();
    let front = Front::of(&server);
    let (mut one, mut two) = (front.client(), front.client());
    assert_eq!(say(&mut one, "WATCH a"), "OK");
    assert_eq!(say(&mut one, "GET a"), "nil");
    assert_eq!(say(&mut two, "SET a 2"), "OK");
    assert_eq!(say(&mut one, "MULTI"), "OK");
    assert_eq!(say(&mut one, "SET a 1"), "QUEUED");
    assert_eq!(say(&mut one, "EXEC"), "nil");
    assert_eq!(say(&mut one, "WATCH a"), "OK");
    assert_eq!(say(&mut one, "UNWATCH"), "OK");
    assert_eq!(say(&mut two, "SET a 3"), "OK");
    assert_eq!(say(&mut one, "MULTI"), "OK");
    assert_eq!(say(&mut one, "GET a"), "QUEUED");
    assert_eq!(say(&mut one, "EXEC"), "[3]");
}

#[test]
fn a_client_that_leaves_within_a_state_leaves_nothing_to_the_next() {
    let server = Server::start();
    let front = Front::of(&server);
    for begin in ["MULTI", "WATCH a", "SUBSCRIBE c", "MONITOR"] {
        let mut client = front.client();
        say(&mut client, begin);
        drop(client);
        until("no client", || front.gateway.load().clients == 0);
        let mut next = front.client();
        assert_eq!(say(&mut next, "MULTI"), "OK", "after {begin}");
        assert_eq!(say(&mut next, "GET a"), "QUEUED", "after {begin}");
        assert_eq!(say(&mut next, "EXEC"), "[nil]", "after {begin}");
        drop(next);
        until("no client", || front.gateway.load().clients == 0);
    }
}

#[test]
fn blocking_commands_block_their_own_client_alone() {
    let server = Server::start();
    let front = Front::of(&server);
    let (mut one, mut two) = (front.client(), front.client());
    send(&mut one, "BLPOP list 0");
    send(&mut one, "PING");
    until("a blocked client", || server.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    assert_eq!(say(&mut two, "PING"), "PONG");
    assert_eq!(say(&mut two, "RPUSH list x"), "1");
    assert_eq!(hear(&mut one), "[list x]");
    assert_eq!(hear(&mut one), "PONG");
    assert_eq!(say(&mut one, "BLPOP list 0.01"), "nil");
    assert_eq!(say(&mut one, "XREAD BLOCK 10 STREAMS s $"), "nil");
    assert_eq!(say(&mut one, "XREAD STREAMS s 0"), "nil");
    assert_eq!(say(&mut one, "BLPOP list nonsense"), "ERR timeout is not a float or out of range");
    assert_eq!(say(&mut one, "GET a"), "nil");
}

#[test]
fn a_blocked_client_that_leaves_takes_nothing() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    send(&mut client, "BLPOP list 0");
    let blocked = |count: &str| server.redis.info("blocked_clients").unwrap().as_deref() == Some(count);
    until("a blocked client", || blocked("1"));
    drop(client);
    until("no blocked client", || blocked("0"));
    let mut other = front.client();
    assert_eq!(say(&mut other, "RPUSH list x"), "1");
    assert_eq!(say(&mut other, "LLEN list"), "1");
}

fn publish(server: &Server, channel: &str, text: &str) {
    server.ask(&["PUBLISH", channel, text]);
}

#[test]
fn subscribers_hear_messages_and_return_to_plain_commands() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    send(&mut client, "SUBSCRIBE a b");
    assert_eq!(hear(&mut client), "[subscribe a 1]");
    assert_eq!(hear(&mut client), "[subscribe b 2]");
    assert_eq!(say(&mut client, "PSUBSCRIBE p*"), "[psubscribe p* 3]");
    publish(&server, "a", "one");
    publish(&server, "px", "two");
    assert_eq!(hear(&mut client), "[message a one]");
    assert_eq!(hear(&mut client), "[pmessage p* px two]");
    assert_eq!(say(&mut client, "PING"), "[pong ]");
    assert!(say(&mut client, "GET a").starts_with("ERR Can't execute 'get'"));
    send(&mut client, "UNSUBSCRIBE");
    assert_eq!(hear(&mut client), "[unsubscribe a 2]");
    assert_eq!(hear(&mut client), "[unsubscribe b 1]");
    assert_eq!(say(&mut client, "PUNSUBSCRIBE p*"), "[punsubscribe p* 0]");
    assert_eq!(say(&mut client, "GET a"), "nil");
    assert_eq!(say(&mut client, "UNSUBSCRIBE"), "[unsubscribe nil 0]");
    assert_eq!(say(&mut client, "GET a"), "nil");
}

#[test]
fn resp3_subscribers_may_go_on_with_other_commands() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.resp3();
    assert_eq!(say(&mut client, "SUBSCRIBE a"), ">[subscribe a 1]");
    assert_eq!(say(&mut client, "SET k v"), "OK");
    publish(&server, "a", "one");
    assert_eq!(hear(&mut client), ">[message a one]");
    assert_eq!(say(&mut client, "GET k"), "v");
    assert_eq!(say(&mut client, "UNSUBSCRIBE a"), ">[unsubscribe a 0]");
    assert_eq!(say(&mut client, "GET k"), "v");
}

#[test]
fn a_monitor_sees_commands_until_it_leaves() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut monitor = front.client();
    assert_eq!(say(&mut monitor, "MONITOR"), "OK");
    let mut client = front.client();
    say(&mut client, "SET seen 1");
    loop {
        if hear(&mut monitor).contains("\"SET\" \"seen\"") {
            break;
        }
    }
    send(&mut monitor, "RESET");
    while hear(&mut monitor) != "RESET" {}
    assert_eq!(say(&mut monitor, "GET seen"), "1");
}

#[test]
fn replies_that_nobody_wants_are_dropped() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for line in ["CLIENT REPLY OFF", "SET a 1", "INCR a", "NONSENSE", "CLIENT SETNAME x", "CLIENT REPLY ON"] {
        send(&mut client, line);
    }
    assert_eq!(hear(&mut client), "OK");
    assert_eq!(say(&mut client, "GET a"), "2");
    for line in ["CLIENT REPLY SKIP", "INCR a", "GET a"] {
        send(&mut client, line);
    }
    assert_eq!(hear(&mut client), "3");
}

#[test]
fn wait_covers_what_the_client_wrote_before() {
    let server = Server::start();
    let replica = Server::replica_of(&server);
    let front = Front::of(&server);
    let mut client = front.client();
    for round in 0..20 {
        assert_eq!(say(&mut client, &format!("SET a {round}")), "OK");
        assert_eq!(say(&mut client, "WAIT 1 5000"), "1");
        assert_eq!(crate::support::show(&replica.ask(&["GET", "a"])), round.to_string());
    }
}

#[test]
fn tracking_tells_of_changes_by_others() {
    let server = Server::start();
    let front = Front::of(&server);
    let (mut one, mut two) = (front.resp3(), front.client());
    assert_eq!(say(&mut one, "CLIENT TRACKING ON"), "OK");
    assert_eq!(say(&mut one, "GET a"), "nil");
    assert_eq!(say(&mut two, "SET a 1"), "OK");
    assert_eq!(hear(&mut one), ">[invalidate [a]]");
    assert_eq!(say(&mut one, "GET a"), "1");
    assert_eq!(say(&mut one, "CLIENT TRACKING OFF"), "OK");
    assert_eq!(say(&mut one, "GET a"), "1");
    assert_eq!(
        say(&mut two, "CLIENT TRACKING ON"),
        "ERR Client tracking needs RESP3 (HELLO 3) through a gateway"
    );
}

#[test]
fn own_connections_serve_either_protocol_and_any_database_in_turn() {
    let server = Server::start();
    let front = Front::of(&server);
    let run = |client: &mut Connection, expected: &str| {
        assert_eq!(say(client, "MULTI"), "OK");
        assert_eq!(say(client, "HGETALL h"), "QUEUED");
        send(client, "EXEC");
        let reply = client.receive().unwrap();
        assert!(format!("{reply:?}").contains(expected), "{reply:?}");
    };
    let (mut two, mut three) = (front.client(), front.resp3());
    assert_eq!(say(&mut three, "SELECT 2"), "OK");
    assert_eq!(say(&mut three, "HSET h f v"), "1");
    run(&mut two, "Array([Array([])])");
    run(&mut three, "Map(");
    run(&mut two, "Array([Array([])])");
    assert_eq!(server.clients().iter().filter(|line| line.contains("cmd=exec")).count(), 1);
}
