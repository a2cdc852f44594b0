use super::*;
use backstay_model::{Action, Address, ClientKind, Identity, RedisSpec, ReplId, ReplOffset, Role, SqlState};

const MS: u64 = 1000;

fn at(ms: u64) -> Time {
    Time::from_micros(1_000_000 + ms * MS)
}

fn new_link() -> Link {
    let settings = LinkSettings {
        down_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        engine: Engine::Redis(RedisSpec { canary_key: "canary".into(), ..RedisSpec::default() }),
    };
    let mut link = Link::new(settings, at(0));
    assert_eq!(link.step(at(0), LinkInput::Wake), vec![LinkOutput::Connect]);
    link
}

/// A link whose instance answered everything at 1 ms.
fn settled_link() -> Link {
    let mut link = new_link();
    let _ = link.step(at(1), LinkInput::Connected);
    let identity = Identity { run_id: "run".into(), version: "7".into(), keys: 0, loading: false };
    let guard = Reply::WriteGuard { replicas: 0, max_lag: 10 };
    for reply in [Reply::Identity(identity), guard, Reply::Info(info(10)), Reply::Pong, Reply::Sentinels(0)] {
        let _ = link.step(at(1), LinkInput::Reply(reply));
    }
    assert_eq!(link.awaiting(), None);
    link
}

fn info(offset: u64) -> Info {
    let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    let replid = ReplId::from("history");
    Info { role, replid, previous: None, offset: ReplOffset(offset), closed: false, sql: SqlState::default() }
}

fn order(action: Action, deadline: Time) -> LinkInput {
    LinkInput::Order(Order {
        process: None,
        service: "shop".into(),
        instance: "r1".into(),
        epoch: Epoch(7),
        deadline,
        action,
    })
}

fn sent(outputs: &[LinkOutput]) -> Vec<Command> {
    let sends = outputs.iter().filter_map(|output| match output {
        LinkOutput::Send(commands) => Some(commands.clone()),
        _ => None,
    });
    sends.flatten().collect()
}

fn health(outputs: &[LinkOutput]) -> Option<Health> {
    outputs.iter().find_map(|output| match output {
        LinkOutput::Observe(Observation::Health(health)) => Some(health.clone()),
        _ => None,
    })
}

/// Steps through every wakeup until `end`, collecting the outputs.
fn run_until(link: &mut Link, end: Time) -> Vec<LinkOutput> {
    let mut outputs = Vec::new();
    while link.next_wakeup() <= end {
        let now = link.next_wakeup();
        outputs.extend(link.step(now, LinkInput::Wake));
    }
    outputs
}

#[test]
fn two_refused_connections_within_milliseconds_are_hard_evidence() {
    let mut link = settled_link();
    assert_eq!(link.step(at(50), LinkInput::Closed), vec![LinkOutput::Connect]);
    let first = link.step(at(50), LinkInput::ConnectFailed(ConnectFailure::Refused));
    assert_eq!(health(&first), None, "once is not enough");
    assert_eq!(link.next_wakeup(), at(52));
    assert_eq!(link.step(at(52), LinkInput::Wake), vec![LinkOutput::Connect]);
    let second = link.step(at(52), LinkInput::ConnectFailed(ConnectFailure::Refused));
    assert_eq!(health(&second), Some(Health::Down(Evidence::Refused)));
}

#[test]
fn a_connection_that_ends_and_is_accepted_again_is_no_evidence() {
    let mut link = settled_link();
    let _ = link.step(at(50), LinkInput::Closed);
    let outputs = link.step(at(50), LinkInput::Connected);
    assert_eq!(health(&outputs), None);
    assert!(sent(&outputs).contains(&Command::Identify), "who is there now is asked at once");
}

#[test]
fn silence_is_first_late_then_checked_then_soft_evidence() {
    let mut link = settled_link();
    let outputs = run_until(&mut link, at(250));
    assert_eq!(health(&outputs), Some(Health::Late));
    assert!(outputs.contains(&LinkOutput::Check), "a second connection asks whether anybody listens");
    let outputs = run_until(&mut link, at(700));
    assert_eq!(health(&outputs), Some(Health::Down(Evidence::Silent)));
}

#[test]
fn a_process_that_died_behind_an_open_connection_is_found_by_the_check() {
    // Seen: a child that saves keeps the sockets of its dead parent open for almost a second.
    let mut link = settled_link();
    let _ = run_until(&mut link, at(250));
    let first = link.step(at(251), LinkInput::Checked(Err(ConnectFailure::Refused)));
    assert_eq!(health(&first), None);
    let again = run_until(&mut link, at(254));
    assert!(again.contains(&LinkOutput::Check));
    let second = link.step(at(254), LinkInput::Checked(Err(ConnectFailure::Refused)));
    assert_eq!(health(&second), Some(Health::Down(Evidence::Refused)));
}

#[test]
fn only_one_ping_is_ever_outstanding() {
    let mut link = settled_link();
    let outputs = run_until(&mut link, at(5000));
    let pings = sent(&outputs).into_iter().filter(|command| *command == Command::Ping).count();
    assert_eq!(pings, 1);
}

#[test]
fn a_fence_is_queued_at_once_behind_the_outstanding_ping() {
    let mut link = settled_link();
    let _ = run_until(&mut link, at(700));
    assert_eq!(link.awaiting(), Some(&Command::Ping));
    let outputs = link.step(at(701), order(Action::Fence, at(900)));
    let commands = sent(&outputs);
    assert_eq!(commands.first(), Some(&Command::SetWriteGuard(CLOSED)));
    assert!(commands.contains(&Command::DisconnectClients(ClientKind::Normal)));
    let again = link.step(at(850), order(Action::Fence, at(1000)));
    assert_eq!(sent(&again), vec![], "a hung instance collects no queue");
}

#[test]
fn an_order_past_its_deadline_is_not_sent() {
    let mut link = settled_link();
    let outputs = link.step(at(20), order(Action::Freeze, at(20)));
    assert_eq!(sent(&outputs), vec![]);
}

#[test]
fn what_was_decided_about_one_process_is_not_sent_to_another() {
    let mut link = settled_link();
    let LinkInput::Order(order) = order(Action::Freeze, at(100)) else { unreachable!() };
    let of = |process: &str| LinkInput::Order(Order { process: Some(process.into()), ..order.clone() });
    assert_eq!(sent(&link.step(at(20), of("before"))), vec![]);
    assert!(!sent(&link.step(at(20), of("run"))).is_empty());
    let _ = link.step(at(30), LinkInput::Closed);
    let _ = link.step(at(40), LinkInput::Connected);
    let _ = link.step(at(41), LinkInput::Reply(Reply::Refused(Fault::Busy)));
    assert_eq!(sent(&link.step(at(42), of("run"))), vec![], "nobody knows who answers");
}

#[test]
fn nothing_is_ordered_on_a_connection_that_was_not_accepted() {
    let mut link = new_link();
    let _ = link.step(at(1), LinkInput::Connected);
    let outputs = link.step(at(2), order(Action::Freeze, at(100)));
    assert_eq!(sent(&outputs), vec![], "what lies there unread could run after a promotion");
}

#[test]
fn the_info_behind_a_freeze_is_what_the_freeze_found() {
    let mut link = settled_link();
    let outputs = link.step(at(20), order(Action::Freeze, at(100)));
    let nowhere = Command::Replicate(Address::nowhere());
    assert_eq!(sent(&outputs), vec![nowhere, Command::Identify, Command::Info]);
    let identity = Identity { run_id: "run".into(), version: "7".into(), keys: 3, loading: false };
    for reply in [Reply::Done, Reply::Identity(identity)] {
        let _ = link.step(at(21), LinkInput::Reply(reply));
    }
    let outputs = link.step(at(21), LinkInput::Reply(Reply::Info(info(42))));
    let frozen = outputs.iter().find_map(|output| match output {
        LinkOutput::Observe(Observation::Frozen { epoch, replication }) => Some((*epoch, replication.offset)),
        _ => None,
    });
    assert_eq!(frozen, Some((Epoch(7), ReplOffset(42))));
}

#[test]
fn a_promotion_waits_for_a_fresh_pong_and_closes_before_it_promotes() {
    let mut link = settled_link();
    let outputs = link.step(at(150), order(Action::Promote, at(400)));
    assert!(!sent(&outputs).contains(&Command::ReplicateNoOne), "the last PONG is older than 100 ms");
    assert_eq!(link.awaiting(), Some(&Command::Ping));
    let outputs = link.step(at(151), LinkInput::Reply(Reply::Pong));
    let commands = sent(&outputs);
    let place = |command: &Command| commands.iter().position(|one| one == command);
    assert!(place(&Command::SetWriteGuard(CLOSED)) < place(&Command::ReplicateNoOne));
    assert!(place(&Command::DisconnectClients(ClientKind::Normal)) < place(&Command::ReplicateNoOne));
    assert!(place(&Command::Begin) < place(&Command::DisconnectClients(ClientKind::Normal)));
    assert!(place(&Command::ReplicateNoOne) < place(&Command::Commit), "all of it or nothing");
}

#[test]
fn a_promotion_that_found_no_fresh_pong_in_time_is_never_sent() {
    let mut link = settled_link();
    let _ = link.step(at(150), order(Action::Promote, at(200)));
    let outputs = link.step(at(201), LinkInput::Reply(Reply::Pong));
    assert!(!sent(&outputs).contains(&Command::ReplicateNoOne));
}

#[test]
fn a_freeze_takes_back_a_promotion_that_was_not_sent() {
    let mut link = settled_link();
    let _ = link.step(at(150), order(Action::Promote, at(400)));
    let _ = link.step(at(151), order(Action::Freeze, at(400)));
    let outputs = link.step(at(152), LinkInput::Reply(Reply::Pong));
    assert!(!sent(&outputs).contains(&Command::ReplicateNoOne));
}

#[test]
fn our_own_standstill_is_not_the_instances_silence() {
    let mut link = settled_link();
    let _ = run_until(&mut link, at(110));
    let outputs = link.step(at(3000), LinkInput::Wake);
    assert_eq!(health(&outputs), None, "answers may lie unread");
    let outputs = run_until(&mut link, at(3600));
    assert_eq!(health(&outputs), Some(Health::Late), "but the patience begins anew");
}

#[test]
fn a_wrong_password_is_named_and_is_no_silence() {
    let mut link = new_link();
    let _ = link.step(at(1), LinkInput::Connected);
    let outputs = link.step(at(2), LinkInput::Reply(Reply::Refused(Fault::WrongPassword)));
    assert_eq!(health(&outputs), Some(Health::Useless(Fault::WrongPassword)));
}

#[test]
fn a_guard_that_redis_ignores_is_made_to_work_before_it_is_relied_on() {
    let mut link = settled_link();
    let _ = run_until(&mut link, at(1001));
    while let Some(command) = link.awaiting().cloned() {
        let reply = match command {
            Command::WriteGuard => Reply::WriteGuard { replicas: 1_000_000, max_lag: 0 },
            Command::Info => Reply::Info(info(10)),
            _ => Reply::Pong,
        };
        let outputs = link.step(at(1002), LinkInput::Reply(reply));
        for output in outputs {
            if let LinkOutput::Observe(Observation::Replication(seen)) = output {
                assert!(!seen.closed, "with min-replicas-max-lag 0 nothing is closed");
            }
        }
    }
    let outputs = link.step(at(1003), order(Action::Fence, at(1200)));
    let commands = sent(&outputs);
    assert_eq!(commands.first(), Some(&Command::EnableWriteGuard), "{commands:?}");
}

#[test]
fn a_replica_that_serves_no_stale_data_is_alive() {
    let mut link = new_link();
    let _ = link.step(at(1), LinkInput::Connected);
    for _ in 0..3 {
        let _ = link.step(at(2), LinkInput::Reply(Reply::Done));
    }
    let outputs = link.step(at(2), LinkInput::Reply(Reply::Refused(Fault::PrimaryLost)));
    assert_eq!(health(&outputs), Some(Health::Up));
}

#[test]
fn sentinels_are_asked_for_now_and_then_and_told_when_their_number_changes() {
    let mut link = settled_link();
    let mut asked = 0;
    let mut told = Vec::new();
    for ms in (10..10_000).step_by(10) {
        let mut outputs = link.step(at(ms), LinkInput::Wake);
        while let Some(command) = link.awaiting().cloned() {
            let reply = match command {
                Command::Sentinels => Reply::Sentinels(u64::from(ms > 5000)),
                Command::Info => Reply::Info(info(10)),
                Command::WriteGuard => Reply::WriteGuard { replicas: 0, max_lag: 10 },
                _ => Reply::Pong,
            };
            asked += u32::from(command == Command::Sentinels);
            outputs.extend(link.step(at(ms), LinkInput::Reply(reply)));
        }
        told.extend(outputs.into_iter().filter_map(|output| match output {
            LinkOutput::Observe(Observation::Sentinels(seen)) => Some(seen),
            _ => None,
        }));
    }
    assert!((3..=5).contains(&asked), "{asked} times in ten seconds");
    assert_eq!(told, [Sentinels::Seen(1)]);
}

#[test]
fn an_instance_that_hides_sentinels_is_as_healthy_as_any() {
    let mut link = new_link();
    let _ = link.step(at(1), LinkInput::Connected);
    let identity = Identity { run_id: "run".into(), version: "7".into(), keys: 0, loading: false };
    let guard = Reply::WriteGuard { replicas: 0, max_lag: 10 };
    for reply in [Reply::Identity(identity), guard, Reply::Info(info(10)), Reply::Pong] {
        let _ = link.step(at(1), LinkInput::Reply(reply));
    }
    let refused = link.step(at(1), LinkInput::Reply(Reply::Refused(Fault::NoPermission)));
    assert_eq!(refused, [LinkOutput::Observe(Observation::Sentinels(Sentinels::Hidden))]);
}

#[test]
fn an_instance_without_tls_is_useless_as_long_as_it_says_so_and_silent_after_that() {
    let mut link = settled_link();
    let _ = link.step(at(50), LinkInput::Closed);
    let fault = Health::Useless(Fault::CertificateOutdated);
    let mut now = 50;
    while now < 5000 {
        let no_tls = ConnectFailure::NoTls(Fault::CertificateOutdated);
        let mut said = link.step(at(now), LinkInput::ConnectFailed(no_tls));
        now += 100;
        said.extend(link.step(at(now), LinkInput::Wake));
        let told = health(&said);
        assert!(told.is_none() || told == Some(fault.clone()), "{told:?} at {now}");
        assert!(said.contains(&LinkOutput::Connect));
    }
    let _ = link.step(at(now), LinkInput::ConnectFailed(ConnectFailure::Unreachable));
    assert_eq!(health(&run_until(&mut link, at(now + 600))), Some(Health::Down(Evidence::Silent)));
}

/// How often each command goes out until `end` if everything is answered at once, with `role` in every `INFO`.
fn pings_until(link: &mut Link, end: Time, role: &Role) -> usize {
    let mut pings = 0;
    while link.next_wakeup() <= end {
        let now = link.next_wakeup();
        if link.step(now, LinkInput::Wake).contains(&LinkOutput::Check) {
            let _ = link.step(now, LinkInput::Checked(Ok(())));
        }
        while let Some(awaited) = link.awaiting() {
            let reply = match awaited {
                Command::Ping => {
                    pings += 1;
                    Reply::Pong
                }
                Command::Info => Reply::Info(Info { role: role.clone(), ..info(10) }),
                Command::WriteGuard => Reply::WriteGuard { replicas: 0, max_lag: 10 },
                _ => Reply::Done,
            };
            let _ = link.step(now, LinkInput::Reply(reply));
        }
    }
    pings
}

#[test]
fn a_replica_in_step_is_pinged_twice_in_a_down_after_and_a_primary_at_the_probe_interval() {
    let replica = Role::Replica { of: Address::nowhere(), link_up: true, syncing: false };
    let mut link = settled_link();
    let _ = pings_until(&mut link, at(2000), &replica);
    assert_eq!(pings_until(&mut link, at(4000), &replica), 8);
    let primary = Role::Primary { replicas: 2 };
    let _ = pings_until(&mut link, at(6000), &primary);
    assert_eq!(pings_until(&mut link, at(8000), &primary), 20);
}

#[test]
fn a_replica_that_is_watched_is_pinged_at_the_probe_interval_again() {
    let replica = Role::Replica { of: Address::nowhere(), link_up: true, syncing: false };
    let mut link = settled_link();
    let _ = pings_until(&mut link, at(2000), &replica);
    let watch = LinkInput::Watch { interval: Duration::from_millis(50), until: at(2500) };
    let _ = link.step(at(2000), watch);
    assert!(pings_until(&mut link, at(2499), &replica) >= 4);
}

/// The pauses between checks until `end` if each finds that somebody listens.
fn check_pauses(link: &mut Link, end: Time) -> Vec<u128> {
    let mut checks = Vec::new();
    while link.next_wakeup() <= end {
        let now = link.next_wakeup();
        if link.step(now, LinkInput::Wake).contains(&LinkOutput::Check) {
            checks.push(now);
            let _ = link.step(now, LinkInput::Checked(Ok(())));
        }
    }
    checks.windows(2).map(|pair| pair[1].since(pair[0]).as_millis()).collect()
}

#[test]
fn an_instance_that_is_late_again_and_again_is_checked_less_and_less_often() {
    let mut link = settled_link();
    assert_eq!(check_pauses(&mut link, at(12_000)), [100, 200, 400, 800, 1600, 3200, 4000]);
}

#[test]
fn an_instance_that_was_in_time_for_a_while_is_checked_at_once_when_it_is_late() {
    let mut link = settled_link();
    let _ = check_pauses(&mut link, at(2000));
    let _ = pings_until(&mut link, at(20_000), &Role::Primary { replicas: 2 });
    let _ = link.step(at(20_050), LinkInput::Wake);
    assert_eq!(check_pauses(&mut link, at(21_500)), [100, 200, 400]);
}
