//! What a state folder can hold once a disk or a person changed it: its records, read as at a start.

use crate::peers::fuzz::settings;
use backstay_config::Config;
use backstay_consensus::Durable;
use backstay_model::{Now, Time, UnixMicros};
use backstay_node::{Effect, Input, Node};
use std::time::Duration;

const FILE: &str = include_str!("../../../../examples/backstay.toml");

/// Records are refused, or a node starts with them; what it writes then is a beginning, too.
pub(crate) fn records(bytes: &[u8]) {
    let Ok(mut disk) = postcard::from_bytes::<Durable>(bytes) else {
        return;
    };
    let config = Config::parse("backstay.toml", FILE).expect("the example is right");
    let me = config.spec.controllers[0].name.clone();
    let mut now = Now { time: Time::from_micros(1_000_000), unix: UnixMicros(1_700_000_000_000_000) };
    let start =
        |disk: &Durable, now| Node::new(&me, config.spec.clone(), settings(&config), disk.clone(), now);
    let Ok((mut node, mut effects)) = start(&disk, now) else {
        return;
    };
    for _ in 0..20 {
        for effect in effects {
            match effect {
                Effect::Persist(persist) => disk.apply(&persist),
                // The process stops here.
                Effect::Unreadable { .. } => return,
                _ => {}
            }
        }
        now.time = now.time + Duration::from_millis(200);
        effects = node.step(now, Input::Wake);
        let _ = node.brain().status(now);
    }
    if let Err(error) = start(&disk, now) {
        panic!("what was written down is no beginning: {error}");
    }
}

/// A folder after a while: an adopted group in the log, the same in a snapshot.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use backstay_consensus::{Entry, HardState, MemberId, Membership, Snapshot};
    use backstay_controller::{Decided, State};
    use backstay_model::{Generation, Term};

    let config = Config::parse("backstay.toml", FILE).expect("the example is right");
    let service = &config.spec.services[0];
    let name = |index: usize| service.instances[index].name.clone();
    let adopt = Decided::Adopt {
        primary: name(0),
        run_id: "1".repeat(40).as_str().into(),
        replid: "2".repeat(40).as_str().into(),
        replicas: [(name(1), "3".repeat(40).as_str().into())].into(),
    };
    let pause = Decided::Pause { until: UnixMicros(1_800_000_000_000_000), by: "ada".into() };
    let entry = |decision| backstay_controller::Entry { service: service.name.clone(), decision };
    let mut state = State::default();
    state.apply(&entry(adopt.clone()));
    let log = |index, data| Entry { index, term: Term(2), data, change: None };
    let written = |decision| postcard::to_stdvec(&entry(decision)).expect("an entry can be written");
    let known = config.spec.controllers[1..].iter().map(|it| (it.id(), Generation(5))).collect();
    let entries = vec![log(1, Vec::new()), log(2, written(adopt)), log(3, written(pause))];
    let hard = HardState { term: Term(2), vote: Some(MemberId(7)), commit: 3 };
    let plain = Durable { hard, snapshot: None, entries: entries.clone(), known };
    let founders: Vec<_> = config.spec.controllers.iter().map(backstay_model::ControllerSpec::id).collect();
    let membership = Membership::founders(&founders);
    let data = postcard::to_stdvec(&state).expect("a state can be written");
    let snapshot = Some(Snapshot { index: 2, term: Term(2), data, membership });
    let compacted = Durable { snapshot, entries: entries[1..].to_vec(), ..plain.clone() };
    let bytes = |disk: &Durable| postcard::to_stdvec(disk).expect("a folder can be written");
    vec![("log", bytes(&plain)), ("snapshot", bytes(&compacted))]
}
