//! States across a change of primary.

use crate::support::{Front, Server, hear, say, send, show, until};
use backstay_lab::load::connection::Connection;
use nix::sys::signal::Signal;

fn is_blocked(server: &Server) -> bool {
    server.redis.info("blocked_clients").unwrap().as_deref() == Some("1")
}

#[test]
fn an_open_transaction_is_aborted_and_the_next_one_works() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    front.hold(2);
    front.serve(2, &new);
    assert!(say(&mut client, "SET b 1").starts_with("ERR the primary changed; this transaction"));
    assert!(say(&mut client, "EXEC").starts_with("EXECABORT "));
    assert_eq!(say(&mut client, "GET a"), "nil");
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 2"), "QUEUED");
    assert_eq!(say(&mut client, "EXEC"), "[OK]");
    assert_eq!(show(&new.ask(&["GET", "a"])), "2");
}

#[test]
fn an_open_transaction_may_end_during_a_drain_and_is_aborted_if_it_does_not() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    front.drain(2);
    front.await_held(2);
    front.serve(2, &new);
    assert!(say(&mut client, "EXEC").starts_with("EXECABORT "));
    assert_eq!(show(&old.ask(&["GET", "a"])), "nil");
}

#[test]
fn an_exec_whose_reply_is_lost_is_unknown() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    old.process.signal(Signal::SIGSTOP).unwrap();
    send(&mut client, "EXEC");
    front.await_taken();
    front.hold(2);
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME "));
    front.serve(2, &new);
    assert_eq!(say(&mut client, "GET a"), "nil");
}

#[test]
fn a_watch_across_a_change_fails_the_transaction() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "WATCH a"), "OK");
    front.hold(2);
    front.serve(2, &new);
    assert_eq!(say(&mut client, "GET a"), "nil");
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    assert_eq!(say(&mut client, "EXEC"), "nil");
    assert_eq!(say(&mut client, "GET a"), "nil");
    assert_eq!(say(&mut client, "MULTI"), "OK");
    assert_eq!(say(&mut client, "SET a 1"), "QUEUED");
    assert_eq!(say(&mut client, "EXEC"), "[OK]");
}

#[test]
fn a_blocked_command_goes_on_at_the_new_primary_after_a_hold() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    send(&mut client, "BLPOP list 0");
    until("a blocked client", || is_blocked(&old));
    front.hold(2);
    front.serve(2, &new);
    until("a blocked client", || is_blocked(&new));
    new.ask(&["RPUSH", "list", "x"]);
    assert_eq!(hear(&mut client), "[list x]");
    assert_eq!(say(&mut client, "GET a"), "nil");
}

#[test]
fn a_blocked_command_is_let_go_by_a_drain_and_keeps_its_remaining_time() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let (mut popping, mut reading) = (front.client(), front.client());
    send(&mut reading, "XREAD BLOCK 300 STREAMS s $");
    send(&mut popping, "BLPOP list 0");
    until("blocked clients", || old.redis.info("blocked_clients").unwrap().as_deref() == Some("2"));
    front.drain(2);
    front.await_held(2);
    until("no connection", || old.clients().is_empty());
    front.serve(2, &new);
    assert_eq!(hear(&mut reading), "nil");
    until("a blocked client", || is_blocked(&new));
    new.ask(&["RPUSH", "list", "x"]);
    assert_eq!(hear(&mut popping), "[list x]");
}

#[test]
fn subscriptions_are_restored() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    send(&mut client, "SUBSCRIBE a b");
    assert_eq!(hear(&mut client), "[subscribe a 1]");
    assert_eq!(hear(&mut client), "[subscribe b 2]");
    assert_eq!(say(&mut client, "PSUBSCRIBE p*"), "[psubscribe p* 3]");
    front.hold(2);
    front.serve(2, &new);
    until("three subscriptions", || {
        show(&new.ask(&["PUBSUB", "NUMSUB", "a", "b"])) == "[a 1 b 1]"
            && show(&new.ask(&["PUBSUB", "NUMPAT"])) == "1"
    });
    new.ask(&["PUBLISH", "b", "hello"]);
    assert_eq!(hear(&mut client), "[message b hello]");
    assert_eq!(say(&mut client, "UNSUBSCRIBE a"), "[unsubscribe a 2]");
}

#[test]
fn a_monitor_goes_on_at_the_new_primary() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut monitor = front.client();
    assert_eq!(say(&mut monitor, "MONITOR"), "OK");
    front.hold(2);
    front.serve(2, &new);
    until("a monitor", || new.clients().iter().any(|line| line.contains("cmd=monitor")));
    new.ask(&["SET", "seen", "1"]);
    while !hear(&mut monitor).contains("\"SET\" \"seen\"") {}
}

#[test]
fn tracking_goes_on_and_everything_cached_is_forgotten() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.resp3();
    assert_eq!(say(&mut client, "CLIENT TRACKING ON"), "OK");
    assert_eq!(say(&mut client, "GET a"), "nil");
    front.hold(2);
    front.serve(2, &new);
    assert_eq!(hear(&mut client), ">[invalidate nil]");
    assert_eq!(say(&mut client, "GET a"), "nil");
    new.ask(&["SET", "a", "1"]);
    assert_eq!(hear(&mut client), ">[invalidate [a]]");
}

#[test]
fn wait_never_counts_for_a_write_that_an_older_primary_took() {
    let (old, new) = (Server::start(), Server::start());
    let _replica = Server::replica_of(&new);
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    front.hold(2);
    front.serve(2, &new);
    assert!(say(&mut client, "WAIT 1 100").starts_with("UNKNOWNOUTCOME "));
    assert_eq!(say(&mut client, "SET a 2"), "OK");
    assert_eq!(say(&mut client, "WAIT 1 5000"), "1");
}

#[test]
fn the_selected_database_stays_selected() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SELECT 5"), "OK");
    assert_eq!(say(&mut client, "SELECT 99"), "ERR DB index is out of range");
    front.hold(2);
    front.serve(2, &new);
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    assert_eq!(say(&mut client, "SELECT 0"), "OK");
    assert_eq!(say(&mut client, "GET a"), "nil");
}

/// The next replies that are not pushed.
fn answers(client: &mut Connection) -> impl Iterator<Item = String> {
    std::iter::from_fn(|| Some(hear(client))).filter(|heard| !heard.starts_with('>'))
}

#[test]
fn what_stands_behind_a_blocked_command_is_not_answered_before_it() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.resp3();
    assert_eq!(say(&mut client, "CLIENT TRACKING ON"), "OK");
    // On its connection the blocked one is told to go on.
    assert_eq!(say(&mut front.client(), "GET a"), "nil");
    send(&mut client, "BLPOP list 0");
    until("a blocked client", || is_blocked(&old));
    send(&mut client, "ECHO second");
    front.await_taken();
    front.drain(2);
    front.await_held(2);
    front.serve(2, &new);
    assert_eq!(answers(&mut client).take(2).last().as_deref(), Some("second"));
}

#[test]
fn each_blocked_command_goes_on_as_what_it_was() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.resp3();
    assert_eq!(say(&mut client, "CLIENT TRACKING ON"), "OK");
    send(&mut client, "BLPOP one 0");
    send(&mut client, "BLPOP two 0");
    until("a blocked client", || is_blocked(&old));
    front.await_taken();
    front.hold(2);
    new.ask(&["RPUSH", "one", "1"]);
    new.ask(&["RPUSH", "two", "2", "3"]);
    front.serve(2, &new);
    assert_eq!(answers(&mut client).take(2).collect::<Vec<_>>(), ["[one 1]", "[two 2]"]);
}

#[test]
fn of_a_transaction_that_may_have_been_executed_nothing_is_said_to_be_undone() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    // A connection is there already.
    assert_eq!((say(&mut client, "MULTI"), say(&mut client, "EXEC")), ("OK".to_owned(), "[]".to_owned()));
    old.process.signal(Signal::SIGSTOP).unwrap();
    for line in ["MULTI", "SET a 1", "EXEC"] {
        send(&mut client, line);
    }
    front.await_taken();
    front.hold(2);
    front.serve(2, &new);
    assert_eq!((hear(&mut client), hear(&mut client)), ("OK".to_owned(), "QUEUED".to_owned()));
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME "));
    old.process.signal(Signal::SIGCONT).unwrap();
}
