use super::*;
use backstay_consensus::{Membership, VERSION};
use backstay_controller::ServiceState;
use backstay_model::{ControllerSpec, GatewayName, Generation, LostWrites, Term, UnixMicros};

fn snapshot(level: u32, data: &[u8]) -> Snapshot {
    let membership = Membership { level, ..Membership::founders(&[NodeId::of(&"a".into())]) };
    Snapshot { index: 1, term: Term(1), data: data.to_vec(), membership }
}

fn app(number: u64) -> GatewayId {
    GatewayId { name: GatewayName::from(format!("app{number}")), process: number }
}

fn state() -> State {
    let mut state = State::default();
    state.services.insert("shop".into(), ServiceState::default());
    state.gateways.changes = 300;
    state.gateways.members = [app(1), app(u64::MAX)].into();
    state
}

#[test]
fn a_state_that_was_written_before_there_were_gateways_is_read() {
    let state = State { gateways: backstay_controller::Registry::default(), ..state() };
    for level in 1..GATEWAYS {
        assert_eq!(decode_state(&snapshot(level, &encode(&state.services))), Ok(state.clone()));
        assert_eq!(decode_state(&snapshot(level, &encode(&state))), Ok(state.clone()));
    }
}

#[test]
fn a_state_that_was_cut_is_never_taken_for_an_older_one() {
    let whole = encode(&state());
    assert_eq!(decode_state(&snapshot(VERSION, &whole)), Ok(state()));
    for len in 0..whole.len() {
        let cut = decode_state(&snapshot(VERSION, &whole[..len]));
        assert!(cut.is_err(), "the first {len} of {} bytes: {cut:?}", whole.len());
    }
    // At a time when nobody could be registered yet, it may end before that, and only there.
    let services = encode(&state().services).len();
    let gateways = services + encode(&state().gateways).len();
    let counted = gateways + encode(&state().counted).len();
    for (level, ends) in [
        (GATEWAYS - 1, vec![services, gateways, counted]),
        (ACKERS - 1, vec![gateways, counted]),
        (REBUILDS - 1, vec![counted]),
    ] {
        for len in (0..whole.len()).filter(|len| !ends.contains(len)) {
            assert!(decode_state(&snapshot(level, &whole[..len])).is_err(), "the first {len} bytes");
        }
        for len in ends {
            assert!(decode_state(&snapshot(level, &whole[..len])).is_ok(), "the first {len} bytes");
        }
    }
}

#[test]
fn what_a_later_version_writes_behind_the_state_is_not_read() {
    let longer = [encode(&state()), vec![7; 5]].concat();
    assert_eq!(decode_state(&snapshot(VERSION, &longer)), Ok(state()));
}

/// A controller alone, of this version, which leads.
fn alone(version: u32) -> (Node, Now) {
    let me = NodeName::from("a");
    let address = "127.0.0.1:7601".parse().unwrap();
    let controller = ControllerSpec { name: me.clone(), address, site: String::new(), zone: String::new() };
    let spec = ClusterSpec { cluster: "test".into(), controllers: vec![controller], services: Vec::new() };
    let ids = vec![NodeId::of(&me)];
    let settings =
        Settings { version, ..Settings::new(ids[0], "test".into(), Generation(1), ids.clone(), 1) };
    let (mut node, _) = Node::new(&me, spec, settings, Durable::default(), at(0)).unwrap();
    let mut ms = 0;
    while !node.brain().leads() {
        ms += 10;
        assert!(ms < 10_000, "nobody leads");
        let _ = node.step(at(ms), Input::Wake);
    }
    (node, at(ms))
}

fn at(ms: u64) -> Now {
    Now {
        time: Time::from_micros(1_000_000 + ms * 1000),
        unix: UnixMicros(1_700_000_000_000_000 + ms * 1000),
    }
}

fn gateways_wait(node: &mut Node, now: Now) -> Option<String> {
    let report = Some(GatewayReport { number: 1, ..GatewayReport::default() });
    let _ = node.step(now, Input::Gateway { gateway: app(1), report });
    let mut problems = node.status(now).problems.into_iter();
    problems.find(|problem| problem.code == "GatewaysWait").map(|problem| problem.sentence)
}

#[test]
fn gateways_that_wait_for_an_upgrade_of_the_controllers_are_a_problem_with_a_name() {
    let (mut node, now) = alone(GATEWAYS - 1);
    let told = gateways_wait(&mut node, now).expect("it is told");
    assert!(told.starts_with("gateway app1 gets no lease") && told.contains("level 3"), "{told}");
    let (mut node, now) = alone(VERSION);
    assert_eq!(gateways_wait(&mut node, now), None);
}

#[test]
fn lost_bytes_are_written_as_earlier_versions_wrote_them() {
    for (bytes, before) in [(Some(70), 70_u64), (None, u64::MAX)] {
        let lost = LostWrites { instance: "r1".into(), bytes };
        assert_eq!(encode(&lost), encode(&("r1", before)));
        assert_eq!(postcard::from_bytes(&encode(&lost)), Ok(lost));
    }
}
