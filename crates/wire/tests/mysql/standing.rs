//! Who a MySQL is and where it stands, by its sets of transactions; and what cannot be compared.

use crate::server::{A, B, C, Instance, admitted, error, replies, row, said, talk};
use backstay_model::{Address, Command, Durability, Fault, Info, ReplOffset, Reply, Role};

fn info_in(durability: Durability, instance: &Instance<'_>) -> (Reply, Option<String>) {
    let mut conversation = admitted(durability);
    let (_, heard) = talk(&mut conversation, &[Command::Info], |_| instance.info());
    let [reply] = &heard[..] else { panic!("{heard:?}") };
    (reply.clone(), conversation.trouble().map(|error| error.text.clone()))
}

fn info(instance: &Instance<'_>) -> Info {
    match info_in(Durability::Async, instance) {
        (Reply::Info(info), _) => info,
        other => panic!("{other:?}"),
    }
}

fn set(text: &str) -> String {
    text.replace("A:", &format!("{A}:")).replace("B:", &format!("{B}:")).replace("C:", &format!("{C}:"))
}

/// The name of the history that a primary with this set writes.
fn history(server: &str, executed: &str) -> backstay_model::ReplId {
    info(&Instance { server, executed: &set(executed), ..Instance::default() }).replid
}

#[test]
fn a_replica_is_in_the_history_of_its_primary_at_what_it_received() {
    // B was promoted where A had written 100, and wrote 5.
    let primary = history(B, "A:1-100,B:1-5");
    for (executed, retrieved, queued, canary, replid, offset, unapplied) in [
        // All received and applied.
        ("A:1-100,\nB:1-5", "B:1-5", "B:5", Some((B, "A:1-100")), &primary, 105, 0),
        // Received, not applied.
        ("A:1-100", "B:1-3", "B:3", Some((A, "")), &primary, 103, 3),
        // Applied out of order for a moment.
        ("A:1-100,B:1-2:4", "B:1-4", "B:4", Some((B, "A:1-100")), &primary, 104, 104),
        // Nothing of this reign yet: it stands where the one before ended.
        ("A:1-100", "", "", Some((A, "")), &history(A, "A:1"), 100, 0),
        // Behind that.
        ("A:1-90", "A:80-95", "A:95", Some((A, "")), &history(A, "A:1"), 95, 5),
        // After a restart only what it applied tells who wrote last.
        ("A:1-100,B:1-4", "", "", Some((B, "A:1-100")), &primary, 104, 0),
        // Nothing tells: whom it follows.
        ("A:1-100,B:1-4", "", "", None, &primary, 104, 0),
        // Empty.
        ("", "", "", None, &history(B, ""), 0, 0),
    ] {
        let link = [("Source_UUID", B), ("Retrieved_Gtid_Set", &*set(retrieved))];
        let base = canary.map(|(writer, base)| (writer, set(base)));
        let seen = info(&Instance {
            server: C,
            executed: &set(executed),
            link: Some(&link),
            last_queued: &set(queued),
            canary: base.as_ref().map(|(writer, base)| (*writer, base.as_str())),
            ..Instance::default()
        });
        let of: Address = "10.0.0.1:3306".parse().unwrap();
        assert_eq!(seen.role, Role::Replica { of, link_up: true, syncing: false });
        assert_eq!((&seen.replid, seen.offset), (replid, ReplOffset(offset)), "{executed} {retrieved}");
        assert_eq!((seen.sql.unapplied, seen.sql.heartbeats), (unapplied, 12), "{executed} {retrieved}");
        assert_eq!((seen.previous, seen.closed), (None, false));
        assert!(!seen.sql.diverged && !seen.sql.exposed && !seen.sql.stalled, "{executed} {retrieved}");
    }
}

#[test]
fn a_replica_with_a_transaction_of_its_own_is_in_no_history_of_its_primary() {
    let primary = history(B, "A:1-100,B:1-5");
    for executed in ["A:1-101,B:1-5", "A:1-100,B:1-5,C:1", "A:1-99,B:1-5"] {
        let link = [("Source_UUID", B), ("Retrieved_Gtid_Set", &*set("B:1-5"))];
        let base = set("A:1-100");
        let mut instance = Instance {
            server: C,
            executed: &set(executed),
            link: Some(&link),
            last_queued: &set("B:5"),
            ..Instance::default()
        };
        let seen = info(&instance);
        assert_ne!(seen.replid, primary, "{executed}");
        // The primary's own word is not applied yet: nothing is known, but for the name.
        assert!(!seen.sql.diverged);
        instance.canary = Some((B, &base));
        assert_eq!(info(&instance).sql.diverged, executed != "A:1-99,B:1-5", "{executed}");
    }
}

#[test]
fn what_its_primary_refuses_to_go_on_with_is_diverged() {
    for (name, code, diverged) in [
        ("Last_IO_Errno", "13114", true),
        ("Last_IO_Errno", "1236", true),
        ("Last_SQL_Errno", "1062", true),
        ("Last_SQL_Errno", "1032", true),
        ("Last_IO_Errno", "2003", false),
    ] {
        let link = [(name, code), ("Replica_IO_Running", "No"), ("Replica_SQL_Running", "No")];
        let seen =
            info(&Instance { server: B, executed: &set("A:1-9"), link: Some(&link), ..Instance::default() });
        assert_eq!(seen.role, Role::Replica { of: Address::nowhere(), link_up: false, syncing: false });
        assert_eq!((seen.sql.diverged, seen.sql.stalled), (diverged, true), "{name} {code}");
    }
}

#[test]
fn a_primary_names_the_history_that_it_took_over_until_it_wrote_itself() {
    for (executed, canary, previous) in [
        ("A:1-100", Some((A, "")), Some((A, "A:1", 100))),
        ("A:1-100,B:1-7", Some((A, "B:1-7")), Some((A, "A:1,B:1-7", 107))),
        ("A:1-100,B:1-8", Some((B, "A:1-100")), None),
        ("A:1-100", None, Some((A, "A:1", 100))),
        // Nothing tells which of the others wrote last.
        ("A:1-100,C:1-4", None, None),
        ("B:1-4", None, None),
        ("", None, None),
    ] {
        let base = canary.map(|(writer, base)| (writer, set(base)));
        let seen = info(&Instance {
            server: B,
            executed: &set(executed),
            canary: base.as_ref().map(|(writer, base)| (*writer, base.as_str())),
            ..Instance::default()
        });
        let previous = previous.map(|(writer, like, at)| (history(writer, like), ReplOffset(at)));
        assert_eq!(seen.previous, previous, "{executed}");
        assert_eq!((seen.role, seen.closed), (Role::Primary { replicas: 0 }, true));
        assert!(seen.replid.as_str().starts_with(B));
    }
    let open = info(&Instance { server: A, executed: &set("A:1-3"), open: true, ..Instance::default() });
    assert_eq!((open.closed, open.offset), (false, ReplOffset(3)));
}

#[test]
fn a_history_keeps_its_name_while_one_server_writes_and_changes_it_with_the_writer() {
    assert_eq!(history(B, "A:1-100,B:1-5"), history(B, "A:1-100,B:1-6"));
    assert_ne!(history(B, "A:1-100,B:1-5"), history(B, "A:1-101,B:1-5"));
    assert_ne!(history(A, "A:1-100,B:1-5"), history(B, "A:1-100,B:1-5"));
}

#[test]
fn what_was_received_last_is_remembered_while_the_connection_lasts() {
    let mut conversation = admitted(Durability::Async);
    let link = [("Source_UUID", B), ("Retrieved_Gtid_Set", &*set("B:1-3"))];
    let (executed, queued) = (set("A:1-100"), set("B:3"));
    let mut instance = Instance {
        server: C,
        executed: &executed,
        link: Some(&link),
        last_queued: &queued,
        ..Instance::default()
    };
    let mut ask = |instance: &Instance<'_>| {
        let (_, heard) = talk(&mut conversation, &[Command::Info], |_| instance.info());
        let [Reply::Info(info)] = &heard[..] else { panic!("{heard:?}") };
        info.replid.clone()
    };
    let named = ask(&instance);
    let (all, later) = (set("A:1-100,B:1-3"), [("Source_UUID", A)]);
    (instance.executed, instance.last_queued, instance.link) = (&all, "", Some(&later[..]));
    assert_eq!(ask(&instance), named);
}

#[test]
fn what_cannot_be_compared_is_refused_and_said() {
    let of_a = set("A:1-5");
    for (executed, link, said) in [
        ("A:1-5:7", None, "gap"),
        ("A:2-5", None, "gap"),
        ("A:1-5:tag:1-2", None, "tags"),
        ("A:1-5", Some(("Retrieved_Gtid_Set", "A:7-9")), "gap"),
        ("A:1-5", Some(("Auto_Position", "0")), "SOURCE_AUTO_POSITION"),
        ("A:1-5", Some(("Channel_Name", "shop")), "channel"),
        ("A:1-5", Some(("Replicate_Ignore_DB", "logs")), "filter"),
        ("A:1-5", Some(("Replicate_Wild_Do_Table", "shop.%")), "filter"),
    ] {
        let link = link.map(|(name, value)| [(name, set(value))]);
        let link = link.as_ref().map(|[(name, value)]| [(*name, value.as_str())]);
        let instance = Instance {
            server: B,
            executed: &set(executed),
            link: link.as_ref().map(|pairs| &pairs[..]),
            ..Instance::default()
        };
        let (reply, trouble) = info_in(Durability::Async, &instance);
        assert_eq!(reply, Reply::Refused(Fault::Unsuitable), "{executed}");
        assert!(trouble.unwrap().contains(said), "{executed}");
    }
    let (reply, _) =
        info_in(Durability::Async, &Instance { server: B, executed: "0-1-7", ..Instance::default() });
    assert_eq!(reply, Reply::Refused(Fault::NotTheEngine));
    let two = Instance { server: B, executed: &of_a, link: Some(&[]), ..Instance::default() };
    let mut conversation = admitted(Durability::Async);
    let (_, heard) = talk(&mut conversation, &[Command::Info], |_| {
        let columns = ["Channel_Name"];
        let rows = [vec![Some("a".to_owned())], vec![Some("b".to_owned())]];
        let own = two.info();
        let second = crate::server::table(&columns, &rows, true);
        // The first result alone, then two channels.
        let first = row(
            &[("server_uuid", B), ("read_only", "1"), ("super_read_only", "1"), ("gtid_executed", &of_a)],
            true,
        );
        assert!(own.starts_with(&first));
        let rest = row(&[("last_queued", ""), ("heartbeats", "0"), ("heartbeat_interval", "30.000")], true);
        [first, second, rest, error(1146, "#42S02", "no such table")].concat()
    });
    assert_eq!(heard, [Reply::Refused(Fault::Unsuitable)]);
}

#[test]
fn a_server_that_is_set_up_otherwise_is_refused_by_the_name_of_the_setting() {
    let fine = [
        ("server_uuid", A),
        ("started", "1700000000"),
        ("version", "8.0.36-28"),
        ("gtid_executed", &*set("A:1-41,B:1")),
        ("gtid_mode", "ON"),
        ("enforce_gtid_consistency", "ON"),
        ("log_bin", "1"),
        ("log_replica_updates", "1"),
        ("binlog_format", "ROW"),
        ("binlog_order_commits", "1"),
        ("replica_preserve_commit_order", "1"),
        ("performance_schema", "1"),
        ("group_members", "0"),
    ];
    let ask = |columns: &[(&str, &str)]| {
        let mut conversation = admitted(Durability::Async);
        let (_, heard) = talk(&mut conversation, &[Command::Identify], |_| row(columns, false));
        (heard, conversation.trouble().map(|error| error.text.clone()))
    };
    let (heard, _) = ask(&fine);
    let [Reply::Identity(identity)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(identity.run_id.as_str(), format!("{A}-1700000000"));
    assert_eq!((identity.version.as_str(), identity.keys), ("8.0.36", 42));
    for (name, value) in [
        ("gtid_mode", "ON_PERMISSIVE"),
        ("enforce_gtid_consistency", "WARN"),
        ("log_bin", "0"),
        ("log_replica_updates", "0"),
        ("binlog_format", "MIXED"),
        ("binlog_order_commits", "0"),
        ("replica_preserve_commit_order", "0"),
        ("performance_schema", "0"),
        ("group_members", "3"),
    ] {
        let columns = fine.map(|(column, is)| (column, if column == name { value } else { is }));
        let (heard, trouble) = ask(&columns);
        assert_eq!(heard, [Reply::Refused(Fault::Unsuitable)], "{name}");
        let wanted = if name == "group_members" { "replication group" } else { name };
        assert!(trouble.unwrap().contains(wanted), "{name}");
    }
    let mut conversation = admitted(Durability::Async);
    conversation.send(&Command::Identify);
    said(&mut conversation);
    conversation.feed(&error(1193, "#HY000", "Unknown system variable 'log_replica_updates'")).unwrap();
    assert_eq!(replies(&mut conversation), [Reply::Refused(Fault::NotTheEngine)]);
}

#[test]
fn what_an_acknowledgement_means_is_read_and_its_plugins_must_be_there() {
    let guarding = [
        ("rpl_semi_sync_replica_enabled", "OFF"),
        ("rpl_semi_sync_source_enabled", "ON"),
        ("rpl_semi_sync_source_timeout", "3600000"),
        ("rpl_semi_sync_source_wait_for_replica_count", "1"),
        ("rpl_semi_sync_source_wait_no_replica", "ON"),
        ("rpl_semi_sync_source_wait_point", "AFTER_SYNC"),
        ("Rpl_semi_sync_source_clients", "2"),
        ("Rpl_semi_sync_source_status", "ON"),
        ("Rpl_semi_sync_replica_status", "OFF"),
    ];
    let executed = set("A:1-3");
    let ask = |pairs: &[(&str, &str)], receives: Option<&str>| {
        let link = receives.map(|receives| [("Replica_IO_Running", receives)]);
        let instance = Instance {
            server: A,
            executed: &executed,
            semi_sync: Some(pairs),
            link: link.as_ref().map(|pairs| &pairs[..]),
            ..Instance::default()
        };
        info_in(Durability::Majority, &instance)
    };
    let (Reply::Info(seen), _) = ask(&guarding, None) else { panic!() };
    assert!(seen.sql.guarded);
    assert_eq!(seen.sql.ackers, 2);
    for (name, value) in [
        ("rpl_semi_sync_source_timeout", "10000"),
        ("rpl_semi_sync_source_wait_for_replica_count", "0"),
        ("rpl_semi_sync_source_wait_no_replica", "OFF"),
        ("rpl_semi_sync_source_wait_point", "AFTER_COMMIT"),
        ("Rpl_semi_sync_source_status", "OFF"),
    ] {
        let pairs = guarding.map(|(known, is)| (known, if known == name { value } else { is }));
        let (Reply::Info(seen), _) = ask(&pairs, None) else { panic!() };
        assert!(!seen.sql.guarded, "{name}");
    }
    let acking =
        guarding.map(|(known, is)| (known, if known == "Rpl_semi_sync_replica_status" { "ON" } else { is }));
    for (receives, acks) in [("Yes", true), ("Connecting", false), ("No", false)] {
        let (Reply::Info(seen), _) = ask(&acking, Some(receives)) else { panic!() };
        assert_eq!(seen.sql.acks, acks, "{receives}");
    }
    let (reply, trouble) = ask(&guarding[1..], None);
    assert_eq!(reply, Reply::Refused(Fault::Unsuitable));
    assert!(trouble.unwrap().contains("semisync_replica"));
}
