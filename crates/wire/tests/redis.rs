//! What Backstay says to a Redis, byte by byte, and how it understands the answers of real ones.

use backstay_model::{ClientKind, Command, Fault, Identity, Info, ReplOffset, Reply, Role};
use backstay_wire::redis::{acknowledged, decode_auth, decode_reply, encode_auth, encode_command, run_id};
use backstay_wire::resp::Value;

macro_rules! sample {
    ($name:literal) => {
        Value::Bulk(include_str!(concat!("samples/", $name, ".txt")).replace('\n', "\r\n").into_bytes())
    };
}

fn said(command: &Command) -> String {
    let mut out = Vec::new();
    encode_command(&mut out, command);
    let text = String::from_utf8(out).unwrap();
    let words = text.split("\r\n").skip(2).step_by(2).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn info(value: &Value) -> Info {
    match decode_reply(&Command::Info, value) {
        Reply::Info(info) => info,
        other => panic!("{other:?}"),
    }
}

fn identity(value: &Value) -> Identity {
    match decode_reply(&Command::Identify, value) {
        Reply::Identity(identity) => identity,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_is_said_in_redis_own_words() {
    for (command, words) in [
        (Command::Ping, "PING"),
        (Command::Identify, "INFO"),
        (Command::Info, "INFO replication"),
        (Command::WriteGuard, "CONFIG GET min-replicas-*"),
        (Command::Sentinels, "PUBSUB NUMSUB __sentinel__:hello"),
        (Command::EnableWriteGuard, "CONFIG SET min-replicas-max-lag 10"),
        (Command::Begin, "MULTI"),
        (Command::Commit, "EXEC"),
        (Command::SetWriteGuard(1_000_000), "CONFIG SET min-replicas-to-write 1000000"),
        (Command::DisconnectClients(ClientKind::Normal), "CLIENT KILL TYPE normal"),
        (Command::DisconnectClients(ClientKind::PubSub), "CLIENT KILL TYPE pubsub"),
        (Command::Replicate("[::1]:6379".parse().unwrap()), "REPLICAOF ::1 6379"),
        (Command::ReplicateNoOne, "REPLICAOF NO ONE"),
        (Command::Canary("backstay:canary".into()), "SET backstay:canary backstay PX 1000"),
    ] {
        assert_eq!(said(&command), words);
    }
}

#[test]
fn the_password_goes_with_a_user_name_only_if_there_is_one() {
    let mut out = Vec::new();
    encode_auth(&mut out, None, "pass");
    encode_auth(&mut out, Some("backstay"), "p w");
    assert_eq!(out, b"*2\r\n$4\r\nAUTH\r\n$4\r\npass\r\n*3\r\n$4\r\nAUTH\r\n$8\r\nbackstay\r\n$3\r\np w\r\n");
}

#[test]
fn a_redis_7_primary_says_who_and_where_it_is() {
    let value = sample!("redis-7.0-primary");
    let identity = identity(&value);
    assert_eq!(identity.run_id.as_str(), "ecd01f080a5a818e6bdc8aaa17481aae6ba93336");
    assert_eq!((identity.version.as_str(), identity.keys, identity.loading), ("7.0.15", 4, false));
    let info = info(&value);
    assert_eq!(info.role, Role::Primary { replicas: 1 });
    assert_eq!(info.replid.as_str(), "4a957741e979cf05608f2a03dca0b42ce538dc74");
    assert_eq!(info.previous, None);
}

#[test]
fn a_primary_tells_how_far_each_of_its_replicas_has_acknowledged() {
    let text = sample!("redis-7.0-primary");
    let text = text.as_bytes().unwrap();
    assert_eq!(run_id(text).unwrap().as_str(), "ecd01f080a5a818e6bdc8aaa17481aae6ba93336");
    assert_eq!(acknowledged(text), Some(vec![("127.0.0.1:7392".parse().unwrap(), ReplOffset(157))]));
    assert_eq!(acknowledged(sample!("redis-7.0-replica").as_bytes().unwrap()), None, "it is no primary");
    let odd = b"role:master\r\nslave0:ip=::1,port=1,state=wait_bgsave,offset=0,lag=0\r\nslave1:ip=r2,port=x,offset=1\r\n\
        slaves:ip=a,port=1,offset=1\r\nslave:ip=a,port=1,offset=1\r\nslave2:port=1,offset=1\r\nslave3:ip=a,port=0,offset=1\r\n\
        slave4:ip=r3,port=2,offset=-1\r\nslave9:offset=7,ip=r4,port=3\r\n";
    let found = vec![("[::1]:1".parse().unwrap(), ReplOffset(0)), ("r4:3".parse().unwrap(), ReplOffset(7))];
    assert_eq!(acknowledged(odd), Some(found), "what makes no sense is left out");
}

#[test]
fn a_linked_replica_and_a_frozen_one_are_at_the_same_offset() {
    let linked = info(&sample!("redis-7.0-replica"));
    let frozen = info(&sample!("redis-7.0-frozen"));
    assert_eq!(
        (linked.offset, linked.role),
        (
            ReplOffset(157),
            Role::Replica { of: "127.0.0.1:7391".parse().unwrap(), link_up: true, syncing: false }
        )
    );
    assert_eq!(
        (frozen.offset, frozen.role),
        (
            ReplOffset(157),
            Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false }
        )
    );
}

#[test]
fn a_promoted_replica_names_the_history_that_it_comes_from() {
    let info = info(&sample!("redis-7.0-promoted"));
    assert_eq!(info.role, Role::Primary { replicas: 0 });
    assert_eq!(info.previous, Some(("4a957741e979cf05608f2a03dca0b42ce538dc74".into(), ReplOffset(157))));
}

#[test]
fn redis_6_2_is_understood_while_it_loads_and_while_it_copies() {
    let identity = identity(&sample!("redis-6.2-loading"));
    assert_eq!((identity.version.as_str(), identity.loading), ("6.2.14", true));
    let info = info(&sample!("redis-6.2-replica"));
    assert_eq!(
        info.role,
        Role::Replica { of: "10.0.3.17:6379".parse().unwrap(), link_up: false, syncing: true }
    );
}

#[test]
fn valkey_8_is_understood_under_its_own_version() {
    let value = sample!("valkey-8.0-primary");
    let identity = identity(&value);
    assert_eq!((identity.version.as_str(), identity.keys), ("valkey 8.0.1", 120_040));
    let primary = info(&value);
    assert_eq!(primary.role, Role::Primary { replicas: 2 });
    assert_eq!(primary.offset, ReplOffset(924_880));
    let replica = info(&sample!("valkey-8.0-replica"));
    assert_eq!(
        replica.role,
        Role::Replica { of: "[2001:db8::17]:6379".parse().unwrap(), link_up: true, syncing: false }
    );
}

#[test]
fn replies_of_either_protocol_mean_the_same() {
    let (guard, lag) = (Value::bulk("min-replicas-to-write"), Value::bulk("min-replicas-max-lag"));
    let flat = Value::Array(vec![lag.clone(), Value::bulk("10"), guard.clone(), Value::bulk("3")]);
    let map = Value::Map(vec![(guard, Value::bulk("3")), (lag, Value::bulk("10"))]);
    let expected = Reply::WriteGuard { replicas: 3, max_lag: 10 };
    assert_eq!(decode_reply(&Command::WriteGuard, &flat), expected);
    assert_eq!(decode_reply(&Command::WriteGuard, &map), expected);
    let Value::Bulk(text) = sample!("redis-7.0-frozen") else { unreachable!() };
    let verbatim = Value::Verbatim(*b"txt", text);
    assert_eq!(info(&verbatim), info(&sample!("redis-7.0-frozen")));
}

#[test]
fn orders_are_done_when_redis_says_so() {
    let ok = Value::Simple("OK".into());
    let already = Value::Simple("OK Already connected to specified master".into());
    let replicate = Command::Replicate("r1:6379".parse().unwrap());
    assert_eq!(decode_reply(&Command::Ping, &Value::Simple("PONG".into())), Reply::Pong);
    assert_eq!(decode_reply(&Command::SetWriteGuard(1), &ok), Reply::Done);
    assert_eq!(decode_reply(&Command::ReplicateNoOne, &ok), Reply::Done);
    assert_eq!(decode_reply(&replicate, &already), Reply::Done);
    assert_eq!(decode_reply(&Command::Canary("k".into()), &ok), Reply::Done);
    let killed = decode_reply(&Command::DisconnectClients(ClientKind::PubSub), &Value::Integer(7));
    assert_eq!(killed, Reply::Done);
}

#[test]
fn every_error_of_a_server_has_its_fault() {
    for (text, fault) in [
        ("LOADING Redis is loading the dataset in memory", Fault::Loading),
        (
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            Fault::Busy,
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
            Fault::DiskError,
        ),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            Fault::PrimaryLost,
        ),
        ("WRONGPASS invalid username-password pair or user is disabled.", Fault::WrongPassword),
        ("NOAUTH Authentication required.", Fault::WrongPassword),
        ("ERR invalid password", Fault::WrongPassword),
        ("ERR Client sent AUTH, but no password is set", Fault::WrongPassword),
        (
            "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
            Fault::WrongPassword,
        ),
        ("NOPERM User backstay has no permissions to run the 'config|set' command", Fault::NoPermission),
        ("DENIED Redis is running in protected mode because", Fault::NoPermission),
        ("ERR max number of clients reached", Fault::TooManyClients),
        ("NOREPLICAS Not enough good replicas to write.", Fault::OtherError),
        ("ERR unknown command 'CONFIG'", Fault::OtherError),
        ("", Fault::OtherError),
    ] {
        let value = Value::Error(text.into());
        assert_eq!(decode_reply(&Command::Ping, &value), Reply::Refused(fault));
        assert_eq!(decode_auth(&value), Err(fault));
    }
    assert_eq!(decode_auth(&Value::Simple("OK".into())), Ok(()));
}

#[test]
fn an_answer_that_makes_no_sense_is_not_redis() {
    for (command, value) in [
        (Command::Ping, Value::Integer(1)),
        (Command::Identify, Value::bulk("HTTP/1.1 400 Bad Request")),
        (Command::Info, Value::bulk("role:slave\r\nmaster_host:a b\r\n")),
        (Command::Info, Value::Null),
        (Command::WriteGuard, Value::Array(vec![Value::Null, Value::bulk("many")])),
        (Command::DisconnectClients(ClientKind::Normal), Value::Simple("OK".into())),
        (Command::ReplicateNoOne, Value::Simple("PONG".into())),
    ] {
        assert_eq!(decode_reply(&command, &value), Reply::Refused(Fault::NotTheEngine), "{command:?}");
    }
}

#[test]
fn a_transaction_is_done_only_if_nothing_in_it_failed() {
    let done = Value::Array(vec![Value::Integer(2), Value::Simple("OK".into())]);
    assert_eq!(decode_reply(&Command::Commit, &done), Reply::Done);
    let denied = Value::Error("NOPERM this user has no permissions".into());
    let failed = Value::Array(vec![Value::Simple("OK".into()), denied]);
    assert_eq!(decode_reply(&Command::Commit, &failed), Reply::Refused(Fault::NoPermission));
    let aborted = Value::Error("EXECABORT Transaction discarded because of previous errors.".into());
    assert_eq!(decode_reply(&Command::Commit, &aborted), Reply::Refused(Fault::OtherError));
    let queued = Value::Simple("QUEUED".into());
    assert_eq!(decode_reply(&Command::DisconnectClients(ClientKind::Normal), &queued), Reply::Done);
}

#[test]
fn sentinels_are_counted_by_who_listens_to_their_hellos() {
    let channel = Value::bulk("__sentinel__:hello");
    let answer = |count| decode_reply(&Command::Sentinels, &Value::Array(vec![channel.clone(), count]));
    assert_eq!(answer(Value::Integer(2)), Reply::Sentinels(2));
    assert_eq!(answer(Value::Integer(-1)), Reply::Refused(Fault::NotTheEngine));
    assert_eq!(answer(Value::bulk("2")), Reply::Refused(Fault::NotTheEngine));
}
