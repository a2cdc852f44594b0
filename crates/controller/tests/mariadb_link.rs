//! What a link says to a MariaDB.

use backstay_controller::link::{Link, LinkInput, LinkOutput, LinkSettings};
use backstay_model::{
    Action, Address, Command, Engine, Epoch, Identity, Info, MariaDbSpec, Order, ReplOffset, Reply, Role,
    Sql, SqlState, Time,
};
use std::time::Duration;

fn at(ms: u64) -> Time {
    Time::from_micros(1_000_000 + ms * 1000)
}

/// A link to a replica that receives, and whose applier stands.
fn linked() -> Link {
    let settings = LinkSettings {
        down_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        engine: Engine::MariaDb(MariaDbSpec::default()),
    };
    let mut link = Link::new(settings, at(0));
    let _ = link.step(at(0), LinkInput::Wake);
    let _ = link.step(at(0), LinkInput::Connected);
    let identity = Identity { run_id: "run".into(), version: "10".into(), keys: 5, loading: false };
    let of = Address { host: "r1".into(), port: 3306 };
    let info = Info {
        role: Role::Replica { of, link_up: true, syncing: false },
        replid: "0-1".into(),
        previous: None,
        offset: ReplOffset(10),
        closed: false,
        sql: SqlState { stalled: true, unapplied: 3, ..SqlState::default() },
    };
    for reply in [Reply::Identity(identity), Reply::Info(info), Reply::Pong] {
        let _ = link.step(at(1), LinkInput::Reply(reply));
    }
    link
}

#[test]
fn a_freeze_never_starts_an_applier_that_stands() {
    // Another controller may have stopped the receiving thread since, and then what was received would be thrown away.
    let mut link = linked();
    let order = Order {
        service: "shop".into(),
        instance: "r2".into(),
        process: Some("run".into()),
        epoch: Epoch(2),
        deadline: at(500),
        action: Action::Freeze,
    };
    let sent = link.step(at(2), LinkInput::Order(order));
    let freeze = vec![Command::Sql(Sql::StopReceiving), Command::Identify, Command::Info];
    assert_eq!(sent, [LinkOutput::Send(freeze)]);
}
