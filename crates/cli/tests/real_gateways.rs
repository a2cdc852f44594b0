//! Clients behind gateways while real primaries die, hang and move: they keep their connections, and lose nothing that
//! they were told is done.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::load::checker::{Expected, missing};
use backstay_lab::load::connection::{Connection, error_text, is_ok, text};
use backstay_lab::servers::gateway::GatewayServer;
use backstay_lab::{Fault, Options};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::group::{Group, LIMIT, info, until};

/// A client that writes one key after the other through a gateway, on one connection for ever.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Written>,
}

#[derive(Default)]
struct Written {
    acknowledged: Vec<String>,
    /// The error replies.
    refused: Vec<String>,
    /// What ended the connection, if anything did.
    lost: Option<String>,
}

impl Writer {
    fn start(gateway: SocketAddr, run: &str) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (run, stopping, count) = (run.to_owned(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || {
            let mut written = Written::default();
            let mut connection = Connection::open(gateway, LIMIT).expect("the gateway takes clients");
            for number in 0_u64.. {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{run}:{number}");
                match connection.call(&["SET", &key, "x"]) {
                    Ok(reply) if is_ok(&reply) => {
                        written.acknowledged.push(key);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(reply) => written.refused.push(error_text(&reply).unwrap_or("no error").to_owned()),
                    Err(error) => {
                        written.lost = Some(error.to_string());
                        break;
                    }
                }
            }
            written
        });
        Self { stop, acknowledged, thread }
    }

    /// Waits for so many more acknowledgements.
    fn await_more(&self, count: u64) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + count;
        until("more acknowledged writes", || {
            (self.acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn behind(gateways: usize) -> (Group, Vec<GatewayServer>) {
    let group = Group::with(Options { gateways, ..Options::default() });
    let gateways = group.gateways().unwrap();
    (group, gateways)
}

fn lost(group: &Group, written: &Written) -> Vec<String> {
    let expected =
        written.acknowledged.iter().map(|key| Expected { key: key.clone(), value: Some("x".into()) });
    missing(group.primary().unwrap().address(), &expected.collect::<Vec<_>>()).unwrap()
}

#[test]
fn clients_of_a_gateway_notice_nothing_of_a_switchover() {
    let (group, gateways) = behind(1);
    let writers: Vec<_> =
        (0..8).map(|number| Writer::start(gateways[0].address(), &format!("w{number}"))).collect();
    let target = group.replicas().unwrap().into_iter().next().expect("a replica");
    writers[0].await_more(100);
    group.await_fit(&target.name).unwrap();
    let done = group.backstay(&["switchover", "mymaster", "--to", &target.name]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for writer in &writers {
        writer.await_more(10);
    }
    for written in writers.into_iter().map(Writer::end) {
        assert_eq!((&written.refused, &written.lost), (&Vec::new(), &None));
        assert_eq!(lost(&group, &written), Vec::<String>::new());
    }
    assert_eq!(group.primary().unwrap().name, target.name);
}

#[test]
fn a_crash_costs_a_client_of_a_gateway_no_more_than_the_write_in_flight() {
    let (group, gateways) = behind(2);
    let old = group.primary().unwrap();
    let writers: Vec<_> =
        (0..8).map(|number| Writer::start(gateways[number % 2].address(), &format!("w{number}"))).collect();
    writers[0].await_more(100);
    group.fault(Fault::Kill, &old.name).unwrap();
    until("another primary", || group.primary().ok().filter(|primary| primary.name != old.name));
    for writer in &writers {
        writer.await_more(10);
    }
    for written in writers.into_iter().map(Writer::end) {
        assert_eq!(written.lost, None);
        assert!(written.refused.len() <= 1, "{:?}", written.refused);
        assert!(
            written.refused.iter().all(|error| error.starts_with("UNKNOWNOUTCOME")),
            "{:?}",
            written.refused
        );
    }
}

#[test]
fn a_gateway_that_stands_still_holds_nobody_up_for_long_and_goes_on_with_the_new_primary() {
    let (group, gateways) = behind(2);
    let old = group.primary().unwrap();
    let (asleep, awake) =
        (Writer::start(gateways[0].address(), "asleep"), Writer::start(gateways[1].address(), "awake"));
    asleep.await_more(50);
    group.fault(Fault::Hang, &gateways[0].name).unwrap();
    group.fault(Fault::Kill, &old.name).unwrap();
    until("another primary", || group.primary().ok().filter(|primary| primary.name != old.name));
    awake.await_more(10);
    group.fault(Fault::Resume, &gateways[0].name).unwrap();
    asleep.await_more(10);
    for written in [asleep.end(), awake.end()] {
        assert_eq!(written.lost, None);
        assert!(written.refused.len() <= 1, "{:?}", written.refused);
    }
}

#[test]
fn without_controllers_nothing_is_forwarded_once_the_lease_is_over() {
    let (group, gateways) = behind(1);
    let writer = Writer::start(gateways[0].address(), "w");
    writer.await_more(50);
    group.fault_all(Fault::Hang, &["a", "b", "c"]).unwrap();
    // The writer is held: what it is told stands still.
    let standing = || {
        let before = writer.acknowledged.load(Ordering::Relaxed);
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        (before == writer.acknowledged.load(Ordering::Relaxed)).then_some(())
    };
    until("that nothing is acknowledged any more", standing);
    group.fault_all(Fault::Resume, &["a", "b", "c"]).unwrap();
    writer.await_more(10);
    let written = writer.end();
    assert_eq!(written.lost, None);
    assert!(written.refused.len() <= 1, "{:?}", written.refused);
    assert_eq!(lost(&group, &written), Vec::<String>::new());
}

/// The gateway's file says this of the service from now on, and that commands wait for a second at most; controllers have
/// read theirs.
fn rewrite(group: &Group, gateway: &GatewayServer, failsafe: &str) {
    let text = std::fs::read_to_string(group.config()).unwrap();
    let text = text
        .replace("[[redis]]\n", &format!("[[redis]]\nfailsafe = \"{failsafe}\"\n"))
        .replace("role = \"primary\"\n", "role = \"primary\"\nhold = \"1s\"\n");
    std::fs::write(group.config(), text).unwrap();
    group.fault(Fault::Restart, &gateway.name).unwrap();
}

/// Waits until a command is answered so.
fn answers(writing: &mut Connection, what: &str, wanted: impl Fn(&str) -> bool) {
    until(what, || {
        let reply = writing.call(&["SET", "key", "value"]).unwrap();
        wanted(if is_ok(&reply) { "OK" } else { error_text(&reply).unwrap_or("no error") }).then_some(())
    });
}

#[test]
fn without_controllers_and_without_the_operators_word_clients_are_refused_after_their_time() {
    let (group, gateways) = behind(1);
    rewrite(&group, &gateways[0], "off");
    let mut writing = Connection::open(gateways[0].address(), LIMIT).unwrap();
    answers(&mut writing, "a write", |reply| reply == "OK");
    group.fault_all(Fault::Kill, &["a", "b", "c"]).unwrap();
    for _ in 0..3 {
        answers(&mut writing, "a refusal", |reply| reply.starts_with("HOLDTIMEOUT"));
    }
    let reply = writing.call(&["SET", "key", "value"]).unwrap();
    assert!(error_text(&reply).is_some_and(|error| error.starts_with("HOLDTIMEOUT")), "{reply:?}");
}

#[test]
fn with_the_failsafe_clients_go_on_without_controllers_while_a_replica_speaks_for_the_primary() {
    let (group, gateways) = behind(1);
    rewrite(&group, &gateways[0], "risk-two-primaries");
    let primary = group.primary().unwrap();
    let replicas: Vec<_> = group.others(&primary).into_iter().map(|replica| replica.name).collect();
    let replicas: Vec<&str> = replicas.iter().map(String::as_str).collect();
    let mut writing = Connection::open(gateways[0].address(), LIMIT).unwrap();
    answers(&mut writing, "a write", |reply| reply == "OK");
    // It can see replicas acknowledge, and then nobody is there any more who could give it a lease.
    for _ in 0..3 {
        let before = info(&primary, "slave0");
        until("an acknowledgement of a replica", || (info(&primary, "slave0") != before).then_some(()));
    }
    group.fault_all(Fault::Kill, &["a", "b", "c"]).unwrap();
    let told = || std::fs::read_to_string(&gateways[0].log).unwrap_or_default();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        let reply = writing.call(&["SET", "key", "value"]).unwrap();
        let unknown = error_text(&reply).is_some_and(|error| error.starts_with("UNKNOWNOUTCOME"));
        assert!(is_ok(&reply) || unknown, "{reply:?} after {:?}\n{}", since.elapsed(), told());
    }
    assert!(told().contains("is served without a lease from now on"), "{}", told());
    // Without replicas nothing speaks for it; hung ones stay linked, and acknowledge nothing.
    group.fault_all(Fault::Hang, &replicas).unwrap();
    answers(&mut writing, "a refusal", |reply| reply.starts_with("HOLDTIMEOUT"));
    let reply = writing.call(&["SET", "key", "value"]).unwrap();
    assert!(error_text(&reply).is_some_and(|error| error.starts_with("HOLDTIMEOUT")), "{reply:?}");
    group.fault_all(Fault::Resume, &replicas).unwrap();
    answers(&mut writing, "a write", |reply| reply == "OK");
    // Controllers are back, rule again, and say what was done without them.
    for controller in ["a", "b", "c"] {
        group.fault(Fault::Restart, controller).unwrap();
    }
    let told = until("the alarm", || {
        group.problem("ServedWithoutLease").filter(|told| told.contains("served without a lease for"))
    });
    assert!(told.contains("`backstay history`"), "{told}");
    assert!(group.told(&["status"]).contains("without a lease"));
    answers(&mut writing, "a write", |reply| reply == "OK");
    assert_eq!(group.primary().unwrap().name, primary.name, "nothing was wrong with it");
}

#[test]
fn a_gateway_that_is_asked_to_stop_finishes_what_it_began_and_leaves_no_lease_behind() {
    let (group, gateways) = behind(2);
    let writer = Writer::start(gateways[1].address(), "w");
    writer.await_more(20);
    group.fault(Fault::Restart, &gateways[1].name).unwrap();
    let written = writer.end();
    assert!(written.refused.is_empty(), "{:?}", written.refused);
    assert_eq!(lost(&group, &written), Vec::<String>::new());
    let again = Writer::start(gateways[1].address(), "again");
    again.await_more(20);
    assert!(again.end().refused.is_empty());
}

#[test]
fn readers_are_sent_to_replicas() {
    let (group, gateways) = behind(1);
    let mut writing = Connection::open(gateways[0].address(), LIMIT).unwrap();
    assert!(is_ok(&writing.call(&["SET", "key", "value"]).unwrap()));
    let mut reading = Connection::open(gateways[0].reader_address(), LIMIT).unwrap();
    until("the value at a replica", || {
        (text(&reading.call(&["GET", "key"]).unwrap()) == "value").then_some(())
    });
    let refused = reading.call(&["SET", "key", "other"]).unwrap();
    assert!(error_text(&refused).is_some_and(|error| error.starts_with("READONLY")), "{refused:?}");
    drop(group);
}
