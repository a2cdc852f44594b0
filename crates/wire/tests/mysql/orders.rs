//! What each order says, in which order, and when it goes no further.

use crate::server::{
    A, B, HELD_BYTES_MAX, Instance, SECRET, admitted, error, greeting, heard, ok, packet, replies, row, said,
    table, talk,
};
use backstay_model::{Address, ClientKind, Command, Durability, Fault, ReplOffset, Reply, Sql};
use proptest::prelude::*;
use std::fmt::Write as _;

const CLOSE: &str = "SET GLOBAL super_read_only=1";

fn primary() -> Address {
    "db:3306".parse().unwrap()
}

/// Agrees to everything; nobody else is connected.
fn agrees(text: &str) -> Vec<u8> {
    let statements = text.split("; ").count();
    match text {
        "PING" => ok(1, false),
        _ if text.starts_with("SELECT GROUP_CONCAT(ID)") => row(&[("clients", "NULL")], false),
        _ => (1..=statements)
            .flat_map(|at| {
                let more = at < statements;
                if text.split("; ").nth(at - 1).unwrap().starts_with("SELECT") {
                    row(&[("guard", "1")], more)
                } else {
                    ok(1, more)
                }
            })
            .collect(),
    }
}

/// What an order says where everything is agreed to, without the lists of clients.
fn words(durability: Durability, command: Command) -> String {
    let (said, heard) = talk(&mut admitted(durability), &[command], agrees);
    assert_eq!(heard, [Reply::Done]);
    let is_list = |text: &String| text.starts_with("SELECT GROUP_CONCAT(ID)");
    said.into_iter()
        .map(|text| if is_list(&text) { "(clients)".into() } else { text })
        .collect::<Vec<_>>()
        .join(" | ")
}

#[test]
fn every_order_is_said_in_mysqls_own_words() {
    let source = "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db', SOURCE_PORT=3306, SOURCE_USER='copy', \
                  SOURCE_PASSWORD='hush''\\\\hush', SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=0.5, \
                  SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, GET_SOURCE_PUBLIC_KEY=1";
    let nowhere = source.replace("'db'", "'127.0.0.1'").replace("3306", "1");
    let (close, open) = (Command::Sql(Sql::Close), Command::Sql(Sql::Open));
    let follow = |acker| Command::Sql(Sql::Follow { primary: primary(), acker });
    let demote = |primary| Command::Sql(Sql::Demote { primary, acker: true });
    let waiting = "SELECT IF(EXISTS (SELECT 1 FROM performance_schema.processlist WHERE STATE LIKE \
                   'Waiting for semi-sync%'), (SELECT 1 UNION SELECT 2), 1)";
    for (durability, command, expected) in [
        (Durability::Async, close, CLOSE.to_owned()),
        (Durability::Async, open.clone(), "SET GLOBAL super_read_only=0; SET GLOBAL read_only=0".to_owned()),
        (
            Durability::Majority,
            open,
            "SET GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC, GLOBAL rpl_semi_sync_source_timeout=\
             GREATEST(@@global.rpl_semi_sync_source_timeout, 3600000), \
             GLOBAL rpl_semi_sync_source_wait_for_replica_count=1, GLOBAL rpl_semi_sync_source_wait_no_replica=ON; \
             SET GLOBAL rpl_semi_sync_source_enabled=ON; SET GLOBAL super_read_only=0; SET GLOBAL read_only=0"
                .to_owned(),
        ),
        (Durability::Async, Command::Sql(Sql::StopReceiving), "STOP REPLICA IO_THREAD".to_owned()),
        (Durability::Async, Command::DisconnectClients(ClientKind::Normal), "(clients)".to_owned()),
        (Durability::Async, follow(true), format!("{CLOSE}; STOP REPLICA; {source}; START REPLICA")),
        (
            Durability::Majority,
            follow(true),
            format!(
                "{CLOSE}; SET GLOBAL rpl_semi_sync_source_enabled=0; STOP REPLICA; \
                 SET GLOBAL rpl_semi_sync_replica_enabled=1; {source}; START REPLICA"
            ),
        ),
        (
            Durability::Async,
            demote(primary()),
            format!("(clients) | {CLOSE} | (clients) | {source}; START REPLICA"),
        ),
        (Durability::Async, demote(Address::nowhere()), format!("(clients) | {CLOSE} | (clients) | {nowhere}")),
        (
            Durability::Majority,
            demote(primary()),
            format!(
                "(clients) | {CLOSE} | (clients) | {waiting}; SET GLOBAL rpl_semi_sync_source_enabled=0; \
                 SET GLOBAL rpl_semi_sync_replica_enabled=1; {source}; START REPLICA"
            ),
        ),
        (
            Durability::Async,
            Command::Canary(String::new()),
            "SELECT IF(@@global.read_only = 0, 1, (SELECT 1 UNION SELECT 2)); REPLACE INTO backstay.canary \
             (id, written, writer, base) SELECT 1, UTC_TIMESTAMP(6), @@global.server_uuid, \
             GTID_SUBTRACT(@@global.gtid_executed, CONCAT(@@global.server_uuid, ':1-9223372036854775806'))"
                .to_owned(),
        ),
    ] {
        assert_eq!(words(durability, command), expected);
    }
}

#[test]
fn what_only_a_redis_is_told_is_never_said() {
    for command in
        [Command::WriteGuard, Command::ReplicateNoOne, Command::PauseWrites(std::time::Duration::ZERO)]
    {
        let (said, heard) = talk(&mut admitted(Durability::Async), &[command], agrees);
        assert_eq!((said, heard), (vec!["PING".to_owned()], vec![Reply::Refused(Fault::OtherError)]));
    }
}

#[test]
fn one_that_follows_already_only_goes_on() {
    let executed = format!("{A}:1-5");
    for (link, login) in [
        (&[][..], "START REPLICA"),
        (&[("Source_Host", "10.0.0.9")], "CHANGE REPLICATION SOURCE"),
        (&[("Connect_Retry", "60")], "CHANGE REPLICATION SOURCE"),
        (&[("Source_User", "old")], "CHANGE REPLICATION SOURCE"),
        (&[("Last_IO_Errno", "1045")], "CHANGE REPLICATION SOURCE"),
        (&[("Last_IO_Errno", "2061")], "CHANGE REPLICATION SOURCE"),
    ] {
        let mut conversation = admitted(Durability::Async);
        let instance = Instance { server: B, executed: &executed, link: Some(link), ..Instance::default() };
        talk(&mut conversation, &[Command::Info], |_| instance.info());
        let follow = Command::Sql(Sql::Follow { primary: "10.0.0.1:3306".parse().unwrap(), acker: true });
        let (said, _) = talk(&mut conversation, &[follow], agrees);
        assert_eq!(said.concat() == format!("{CLOSE}; START REPLICA"), login == "START REPLICA", "{link:?}");
        assert!(said.concat().contains(login), "{link:?}");
    }
}

#[test]
fn everybody_else_is_disconnected_however_many_there_are() {
    let mut conversation = admitted(Durability::Async);
    let mut left: Vec<u64> = (1..=700).collect();
    let list = |left: &[u64]| {
        let ids: Vec<String> = left.iter().take(512).map(u64::to_string).collect();
        let ids = if ids.is_empty() { "NULL".to_owned() } else { ids.join(",") };
        row(&[("clients", ids.as_str())], false)
    };
    let order = [Command::DisconnectClients(ClientKind::Normal), Command::Ping];
    let (said, heard) = talk(&mut conversation, &order, |text| match text.strip_prefix("KILL ") {
        Some(id) => {
            let id: u64 = id.parse().unwrap();
            left.retain(|known| *known != id);
            // Every third one went by itself.
            if id.is_multiple_of(3) { error(1094, "#HY000", "Unknown thread id") } else { ok(1, false) }
        }
        None if text == "PING" => ok(1, false),
        None => list(&left),
    });
    assert_eq!(heard, [Reply::Done, Reply::Pong]);
    assert!(left.is_empty());
    assert_eq!(said.iter().filter(|text| text.starts_with("KILL")).count(), 700);
    assert_eq!(said.iter().filter(|text| text.starts_with("SELECT")).count(), 2);
    assert_eq!(said.last().map(String::as_str), Some("PING"), "what comes behind waits for it");
}

#[test]
fn a_connection_that_may_not_be_ended_ends_the_order() {
    let demote = Command::Sql(Sql::Demote { primary: primary(), acker: false });
    let (said, heard) = talk(&mut admitted(Durability::Async), &[demote, Command::Ping], |text| match text {
        "KILL 7" => error(1095, "#HY000", "You are not owner of thread 7"),
        "KILL 9" | "PING" => ok(1, false),
        _ => row(&[("clients", "7,9")], false),
    });
    assert_eq!(heard, [Reply::Refused(Fault::NoPermission), Reply::Pong]);
    assert_eq!(said[1..], ["KILL 7", "KILL 9", "PING"]);
}

#[test]
fn an_order_ends_at_its_first_failure_and_says_which() {
    for (durability, command, fails, answer, fault) in [
        (
            Durability::Async,
            Command::Sql(Sql::Close),
            CLOSE,
            error(1205, "#HY000", "Lock wait"),
            Fault::Locked,
        ),
        (
            Durability::Majority,
            Command::Sql(Sql::Open),
            "SET GLOBAL rpl_semi_sync",
            error(1193, "#HY000", "Unknown system variable 'rpl_semi_sync_source_wait_point'"),
            Fault::Unsuitable,
        ),
        (
            Durability::Majority,
            Command::Sql(Sql::Demote { primary: primary(), acker: true }),
            "SELECT IF(EXISTS",
            error(1242, "#21000", "Subquery returns more than 1 row"),
            Fault::Locked,
        ),
        (
            Durability::Async,
            Command::Canary(String::new()),
            "SELECT IF(@@global.read_only",
            error(1242, "#21000", "Subquery returns more than 1 row"),
            Fault::OtherError,
        ),
        (
            Durability::Async,
            Command::Canary(String::new()),
            "SELECT IF(@@global.read_only",
            error(1290, "#HY000", "running with the --super-read-only option"),
            Fault::OtherError,
        ),
    ] {
        let mut last = String::new();
        let (said, heard) = talk(&mut admitted(durability), &[command], |text| {
            text.clone_into(&mut last);
            if text.starts_with(fails) { answer.clone() } else { agrees(text) }
        });
        assert_eq!(heard, [Reply::Refused(fault)], "{said:?}");
        assert!(last.starts_with(fails), "{said:?}");
    }
}

#[test]
fn what_a_commit_waits_for_is_said_the_cause_first() {
    for (state, asked, fault) in [
        ("STATE = 'Waiting for disk space'", 1, Some(Fault::DiskError)),
        ("STATE LIKE 'Waiting for semi-sync%'", 2, Some(Fault::Unacknowledged)),
        ("STATE LIKE 'Waiting for % lock'", 3, Some(Fault::Locked)),
        ("nothing", 3, None),
    ] {
        let (said, heard) = talk(&mut admitted(Durability::Async), &[Command::Sql(Sql::Delay)], |text| {
            let waits = text.contains(state);
            if waits { error(1242, "#21000", "Subquery returns more than 1 row") } else { agrees(text) }
        });
        assert_eq!((said.len(), heard), (asked, vec![fault.map_or(Reply::Done, Reply::Refused)]), "{state}");
    }
}

#[test]
fn the_first_canary_creates_what_it_writes_to() {
    let mut missing = true;
    let (said, heard) = talk(&mut admitted(Durability::Async), &[Command::Canary(String::new())], |text| {
        if text.contains("CREATE TABLE") {
            missing = false;
        } else if missing {
            return error(1049, "#42000", "Unknown database 'backstay'");
        }
        agrees(text)
    });
    assert_eq!(heard, [Reply::Done]);
    assert_eq!(said.len(), 3);
    assert!(said[1].starts_with("SELECT IF(@@global.read_only = 0"));
    assert!(said[1].contains("CREATE TABLE IF NOT EXISTS backstay.canary"));
    assert_eq!(said[0], said[2]);
}

/// The name of the history in which this writer wrote last.
fn history(server: &str, executed: &str) -> backstay_model::ReplId {
    let instance = Instance { server, executed, ..Instance::default() };
    let (_, heard) = talk(&mut admitted(Durability::Async), &[Command::Info], |_| instance.info());
    let [Reply::Info(info)] = &heard[..] else { panic!("{heard:?}") };
    info.replid.clone()
}

#[test]
fn nobody_ascends_before_what_it_received_is_applied() {
    let all = format!("{A}:1-9");
    let ascend = |offset| Command::Sql(Sql::Ascend { replid: history(A, &all), offset: ReplOffset(offset) });
    for (executed, received, applies, offset, expected) in [
        ("A:1-9", "A:5-9", "ON", 9, Reply::Done),
        // More than was last seen.
        ("A:1-9", "A:5-9", "OFF", 7, Reply::Done),
        ("A:1-8", "A:5-9", "ON", 9, Reply::Refused(Fault::Draining)),
        ("A:1-8", "A:5-9", "OFF", 9, Reply::Refused(Fault::Stalled)),
        ("A:1-5:7", "A:6-9", "ON", 9, Reply::Refused(Fault::Draining)),
        // It lost what it had when it was chosen.
        ("A:1-8", "", "ON", 9, Reply::Refused(Fault::Draining)),
        // It is another one than was chosen.
        ("A:1-9,B:1", "", "ON", 9, Reply::Refused(Fault::Unsuitable)),
        ("A:1-5:tag:1", "", "ON", 9, Reply::Refused(Fault::Unsuitable)),
    ] {
        let set = |text: &str| text.replace('A', A).replace('B', B);
        let (said, heard) = talk(&mut admitted(Durability::Async), &[ascend(offset)], |text| {
            if text.starts_with("SELECT WAIT_FOR") {
                let columns =
                    [("executed", &*set(executed)), ("received", &*set(received)), ("applies", applies)];
                return [row(&[("waited", "0")], true), row(&columns, false)].concat();
            }
            agrees(text)
        });
        assert_eq!(heard, std::slice::from_ref(&expected), "{executed} {received}");
        let steps: Vec<&str> = said.iter().map(|text| text.split(' ').next().unwrap()).collect();
        if expected == Reply::Done {
            assert_eq!(steps, ["SELECT", "SET", "SELECT", "STOP"]);
            assert!(said[3].starts_with("STOP REPLICA IO_THREAD; SELECT IF(GTID_SUBTRACT("));
            assert!(said[3].ends_with("; STOP REPLICA; RESET REPLICA ALL"));
        } else {
            assert_eq!(steps, ["SELECT"]);
        }
    }
    let late = [ascend(9)];
    let (_, heard) = talk(&mut admitted(Durability::Majority), &late, |text| {
        if text.starts_with("STOP REPLICA IO_THREAD") {
            return [ok(1, true), error(1242, "#21000", "Subquery returns more than 1 row")].concat();
        }
        if text.starts_with("SELECT WAIT_FOR") {
            let columns = [("executed", all.as_str()), ("received", ""), ("applies", "ON")];
            return [row(&[("waited", "0")], true), row(&columns, false)].concat();
        }
        agrees(text)
    });
    assert_eq!(heard, [Reply::Refused(Fault::Draining)], "something came in between");
    for replid in ["0-1", "'; DROP", "x+y"] {
        let never = Command::Sql(Sql::Ascend { replid: replid.into(), offset: ReplOffset(1) });
        let (said, heard) = talk(&mut admitted(Durability::Async), &[never], agrees);
        assert_eq!((said, heard), (vec!["PING".to_owned()], vec![Reply::Refused(Fault::Unsuitable)]));
    }
}

#[test]
fn what_comes_behind_an_order_of_several_packets_waits_for_its_end() {
    let mut conversation = admitted(Durability::Async);
    conversation.send(&Command::Ping);
    conversation.send(&Command::Sql(Sql::Demote { primary: primary(), acker: false }));
    conversation.send(&Command::Info);
    conversation.send(&Command::Sql(Sql::StopReceiving));
    conversation.send(&Command::Ping);
    assert_eq!(said(&mut conversation).len(), 2, "what came before does not hold it up");
    conversation.feed(&ok(1, false)).unwrap();
    assert_eq!(replies(&mut conversation), [Reply::Pong]);
    for step in ["SET GLOBAL", "SELECT GROUP_CONCAT", "CHANGE REPLICATION"] {
        let before =
            if step == "SELECT GROUP_CONCAT" { ok(1, false) } else { row(&[("clients", "NULL")], false) };
        conversation.feed(&before).unwrap();
        assert_eq!(replies(&mut conversation), []);
        let packets = said(&mut conversation);
        assert!(packets.len() == 1 && packets[0].starts_with(step), "{packets:?}");
        assert!(!format!("{conversation:?}").contains("hush"), "a password shows");
    }
    conversation.feed(&[ok(1, true), ok(1, false)].concat()).unwrap();
    assert_eq!(replies(&mut conversation), [Reply::Done]);
    let packets = said(&mut conversation);
    assert!(packets[0].contains("SHOW REPLICA STATUS"));
    assert_eq!(packets[1..], ["STOP REPLICA IO_THREAD"]);
}

#[test]
fn a_connection_that_ends_within_an_order_is_no_refusal() {
    for (code, text) in [(1053, "Server shutdown in progress"), (3169, "The session was killed")] {
        let mut conversation = admitted(Durability::Async);
        conversation.send(&Command::DisconnectClients(ClientKind::Normal));
        conversation.feed(&error(code, "#08S01", text)).unwrap();
        assert!(conversation.next_reply().is_err());
        assert_eq!(conversation.held_bytes(), 0);
    }
}

#[test]
fn a_server_that_quotes_a_password_is_not_quoted() {
    let mut conversation = admitted(Durability::Async);
    let follow = Command::Sql(Sql::Follow { primary: primary(), acker: false });
    let quoted = format!("near 'SOURCE_PASSWORD='{SECRET}''");
    let (_, heard) = talk(&mut conversation, &[follow], |_| error(1064, "#42000", &quoted));
    assert_eq!(heard, [Reply::Refused(Fault::OtherError)]);
    assert_eq!(conversation.trouble().map(|error| (error.code, error.text.as_str())), Some((1064, "")));
}

fn every_command() -> Vec<Command> {
    vec![
        Command::Identify,
        Command::Info,
        Command::Ping,
        Command::DisconnectClients(ClientKind::Normal),
        Command::Sql(Sql::Follow { primary: primary(), acker: true }),
        Command::Sql(Sql::Close),
        Command::Sql(Sql::Open),
        Command::Sql(Sql::Demote { primary: primary(), acker: true }),
        Command::Sql(Sql::Ascend { replid: history(A, &format!("{A}:1-9")), offset: ReplOffset(9) }),
        Command::Canary(String::new()),
        Command::Info,
    ]
}

fn whole_talk() -> Vec<u8> {
    let executed = format!("{A}:1-9");
    let semi_sync = [("rpl_semi_sync_replica_enabled", "ON"), ("rpl_semi_sync_source_enabled", "OFF")];
    let instance = Instance {
        server: B,
        executed: &executed,
        link: Some(&[]),
        semi_sync: Some(&semi_sync),
        ..Instance::default()
    };
    let mut clients = String::new();
    (1..=300).for_each(|id| write!(clients, "{id},").unwrap());
    [
        greeting("8.4.3", "caching_sha2_password"),
        packet(2, &[1, 3]),
        ok(3, false),
        ok(1, false),
        instance.info(),
        row(&[("clients", &clients)], false),
        (1..=300).flat_map(|_| ok(1, false)).collect(),
        table(&["one"], &[vec![None]], true),
        error(1242, "#21000", "Subquery returns more than 1 row"),
    ]
    .concat()
}

proptest! {
    #[test]
    fn replies_do_not_depend_on_where_the_bytes_are_cut(size in 1_usize..300) {
        let commands = [
            Command::Info,
            Command::DisconnectClients(ClientKind::Normal),
            Command::Canary(String::new()),
        ];
        let bytes = whole_talk();
        let whole = heard(&commands, &bytes, bytes.len());
        prop_assert_eq!(whole.0.len(), 3);
        prop_assert_eq!(&whole.0[1..], &[Reply::Done, Reply::Refused(Fault::OtherError)]);
        prop_assert_eq!(&whole.1, &None);
        prop_assert_eq!(heard(&commands, &bytes, size), whole);
    }

    #[test]
    fn garbage_in_packets_neither_panics_nor_takes_more_than_the_limit(
        payloads in prop::collection::vec(
            (prop::sample::select(vec![0_u8, 1, 3, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]), any::<Vec<u8>>()), 0..40),
    ) {
        let mut bytes = [greeting("8.0.36", "caching_sha2_password"), ok(2, false), ok(1, false)].concat();
        for (first, rest) in payloads {
            bytes.extend(packet(1, &[&[first], &rest[..]].concat()));
        }
        let _ = heard(&every_command(), &bytes, bytes.len());
    }

    #[test]
    fn an_answer_changed_in_one_place_neither_panics_nor_takes_more(at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = whole_talk();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let (replies, _) = heard(&every_command(), &bytes, 64);
        prop_assert!(replies.len() <= every_command().len());
        prop_assert!(bytes.len() < HELD_BYTES_MAX);
    }
}
