//! Rebuilding an instance that diverged: who gives it its data, when its own may be discarded, and what a failover that
//! comes in between changes.

mod desk;

use backstay_controller::{Agreed, Decided, Entry, Input, Mistake, Rebuilds, Refusal, Wish};
use backstay_model::{
    Action, Address, AgentOrders, Durability, Engine, Epoch, Health, MariaDbSpec, Method, Observation,
    Progress, RebuildOutcome, RebuildPolicy, Replication, Role, ServiceSpec, SqlState, Time,
};
use desk::{Desk, REFUSED, address, id, spec, state};

const ACKS: SqlState = SqlState {
    exposed: false,
    stalled: false,
    diverged: false,
    unapplied: 0,
    guarded: false,
    ackers: 0,
    acks: true,
    heartbeats: 0,
};

fn settings(durability: Durability, rebuild: RebuildPolicy) -> ServiceSpec {
    let engine = Engine::MariaDb(MariaDbSpec { durability, rebuild, ..MariaDbSpec::default() });
    let mut spec = ServiceSpec { engine, ..spec() };
    for instance in &mut spec.instances {
        instance.agent = Some(format!("{}:7700", instance.name).parse().unwrap());
    }
    spec
}

/// `r1` reigns, `r2` is in step, `r3` diverged, and all agents are heard.
fn diverged(durability: Durability, rebuild: RebuildPolicy) -> Desk {
    let mut desk = Desk::settled_with(settings(durability, rebuild));
    agents(&mut desk);
    primary(&mut desk, 2);
    let acks = durability == Durability::Majority;
    follows(&mut desk, "r2", SqlState { acks, ..SqlState::default() });
    lost(&mut desk);
    desk.pass(300);
    desk
}

fn agents(desk: &mut Desk) {
    for name in ["r1", "r2", "r3"] {
        desk.agent(name, None);
    }
}

fn primary(desk: &mut Desk, ackers: u64) {
    let sql = SqlState { guarded: true, ackers, ..SqlState::default() };
    let seen = Replication { sql, ..state("r1", Role::Primary { replicas: 2 }, 1000) };
    desk.sees("r1", Observation::Replication(seen));
}

fn follows(desk: &mut Desk, name: &str, sql: SqlState) {
    let role = Role::Replica { of: address("r1"), link_up: true, syncing: false };
    desk.sees(name, Observation::Replication(Replication { sql, ..state(name, role, 1000) }));
}

fn lost(desk: &mut Desk) {
    let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    let sql = SqlState { diverged: true, ..SqlState::default() };
    let seen = Replication { sql, replid: "own".into(), ..state("r3", role, 1003) };
    desk.sees("r3", Observation::Replication(seen));
}

fn rebuild(desk: &mut Desk, dry_run: bool) -> Result<String, Refusal> {
    let (service, instance) = ("shop".into(), "r3".into());
    desk.asks(Wish::Rebuild { service, instance, method: Method::Auto, dry_run, by: "ada".into() }).unwrap()
}

fn cancel(desk: &mut Desk) -> Result<String, Refusal> {
    let (service, instance) = ("shop".into(), "r3".into());
    desk.asks(Wish::CancelRebuild { service, instance, by: "ada".into() }).unwrap()
}

fn rebuilds(desk: &Desk) -> Rebuilds {
    desk.brain.state().rebuilds.get(&"shop".into()).cloned().unwrap_or_default()
}

fn running(desk: &Desk) -> Option<Agreed> {
    rebuilds(desk).running
}

/// What the agent of `r3` was told last, without what tells late words from new ones.
fn told(desk: &Desk) -> AgentOrders {
    let orders = answer(desk);
    AgentOrders { rebuild: orders.rebuild, discard: orders.discard, ..AgentOrders::default() }
}

fn answer(desk: &Desk) -> AgentOrders {
    let orders = desk.agents.iter().rev().find(|(name, _)| name == "r3");
    orders.map(|(_, orders)| orders.clone()).unwrap_or_default()
}

fn saved() -> Progress {
    Progress::Saved { file: Some("/rescue/r3.sql".into()), transactions: 3 }
}

/// Its agent stopped it and saved what only it held, and everybody sees that.
fn stop(desk: &mut Desk) {
    desk.agent("r3", Some((1, Progress::Saving)));
    desk.everybody_thinks("r3", &REFUSED);
    desk.agent("r3", Some((1, saved())));
}

fn outcome(desk: &Desk) -> Option<RebuildOutcome> {
    rebuilds(desk).ended.get(&"r3".into()).map(|ended| ended.outcome.clone())
}

/// What everybody is told of it.
const STORY: &[&str] = &[
    "r3 will be rebuilt (rebuild 1), because ada asked for it; r2 gives its data: it is a replica in step, so that the \
     primary is left in peace",
    "r3 is being stopped, and what only it holds saved",
    "r3 is stopped; 3 transactions, which only it held, are in /rescue/r3.sql on its host",
    "r3 (r3:6379) refuses connections, as seen from here",
    "the data of r3 is discarded from now on",
    "r3 gets the data of r2",
    "r3 is rebuilt from a copy, because some were no rows",
];

#[test]
fn its_data_is_discarded_once_it_is_stopped_saved_and_the_primary_was_seen_to_reign_since() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    let shown = rebuild(&mut desk, true).unwrap();
    assert!(shown.contains("r2 gives its data: it is a replica in step"), "{shown}");
    assert!(shown.contains("r3 holds transactions that the primary does not have"), "{shown}");
    assert_eq!(running(&desk), None);
    assert_eq!(rebuild(&mut desk, false).unwrap(), "shop: rebuilding r3 (rebuild 1)");
    let orders = told(&desk).rebuild.unwrap();
    assert_eq!(
        (orders.number, orders.donor.as_str(), orders.donor_agent.to_string()),
        (1, "r2", "r2:7700".into())
    );
    desk.orders.clear();
    desk.told.remove(0);
    desk.agent("r3", Some((1, Progress::Saving)));
    desk.agent("r3", Some((1, saved())));
    desk.pass(300);
    primary(&mut desk, 0);
    desk.pass(300);
    assert!(!told(&desk).discard, "it still answers");
    desk.everybody_thinks("r3", &REFUSED);
    desk.agent("r3", Some((1, saved())));
    assert!(!told(&desk).discard, "the primary was not seen since");
    let waits = desk.brain.status(desk.clock()).services[0].rebuilds[0].waits.clone().unwrap();
    assert!(waits.contains("the primary r1 was not seen to take writes since"), "{waits}");
    desk.pass(10);
    primary(&mut desk, 0);
    desk.pass(10);
    assert!(told(&desk).discard, "{:?}", desk.told);
    assert!(cancel(&mut desk).unwrap_err().to_string().contains("nothing is left to go back to"));
    assert!(!desk.orders.iter().any(|order| order.starts_with("r3")), "{:?}", desk.orders);
    desk.agent("r3", Some((1, Progress::Copying { bytes: 1 })));
    desk.agent("r3", Some((1, Progress::Copying { bytes: 2 })));
    let because = "some were no rows".to_owned();
    desk.agent("r3", Some((1, Progress::Done { method: Method::Copy, because: because.clone() })));
    assert_eq!(outcome(&desk), Some(RebuildOutcome::Done { method: Method::Copy, because }));
    assert_eq!(told(&desk), AgentOrders::default());
    let sentences: Vec<&str> = desk.told.iter().map(String::as_str).filter(|it| it.contains("r3")).collect();
    assert_eq!(sentences, STORY);
    // It comes back as another process, and is pointed at the primary as any other.
    desk.sees("r3", Observation::Health(Health::Up));
    let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    desk.sees(
        "r3",
        Observation::Replication(Replication { run_id: "copy".into(), ..state("r3", role, 990) }),
    );
    desk.pass(50);
    assert!(desk.orders.iter().any(|order| order == "r3 follow r1"), "{:?}", desk.orders);
}

#[test]
fn one_whose_acknowledgements_count_keeps_its_data_until_another_holds_everything() {
    for mistake in [None, Some(Mistake::DiscardCounted)] {
        let mut desk = diverged(Durability::Majority, RebuildPolicy::Ask);
        if let Some(mistake) = mistake {
            desk.brain.plant(mistake);
        }
        let ackers = ["r2".into(), "r3".into()].into();
        let decision = Decided::Ackers { epoch: Epoch(1), ackers };
        desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
        rebuild(&mut desk, false).unwrap();
        if mistake.is_some() {
            stop(&mut desk);
            assert!(told(&desk).discard);
            continue;
        }
        // The primary still hears two that acknowledge, so what it wrote last may be on r3 alone: it is not even stopped.
        for _ in 0..3 {
            desk.pass(100);
            primary(&mut desk, 2);
            follows(&mut desk, "r2", ACKS);
        }
        desk.agent("r3", None);
        assert_eq!(told(&desk), AgentOrders::default());
        let problems = &desk.brain.status(desk.clock()).services[0].problems;
        let sentence = &problems.iter().find(|it| it.code == "RebuildRunning").unwrap().sentence;
        assert!(
            sentence.contains("r3 may hold the only copy of commits that were acknowledged"),
            "{sentence}"
        );
        lost(&mut desk);
        is_dropped(&mut desk);
        assert!(told(&desk).rebuild.is_some(), "{:?}", desk.told);
        stop(&mut desk);
        desk.pass(300);
        primary(&mut desk, 1);
        desk.pass(10);
        assert!(told(&desk).discard, "{:?}", desk.told);
        // While it has no data of its own it joins nobody.
        let decision = Decided::Ackers { epoch: Epoch(1), ackers: ["r2".into(), "r3".into()].into() };
        desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
        assert_eq!(desk.brain.state().counted[&"shop".into()].ackers, ["r2".into()].into());
    }
}

/// The primary hears one that acknowledges, and that holds everything.
fn is_dropped(desk: &mut Desk) {
    for _ in 0..2 {
        desk.pass(100);
        primary(desk, 1);
        desk.pass(10);
        follows(desk, "r2", ACKS);
    }
    desk.pass(300);
    desk.agent("r3", None);
}

#[test]
fn a_healthy_one_that_acknowledges_is_stopped_only_once_its_acknowledgements_count_no_more() {
    let mut desk = Desk::settled_with(settings(Durability::Majority, RebuildPolicy::Ask));
    agents(&mut desk);
    primary(&mut desk, 2);
    follows(&mut desk, "r2", ACKS);
    follows(&mut desk, "r3", ACKS);
    desk.pass(300);
    let both = ["r2".into(), "r3".into()].into();
    assert_eq!(desk.brain.state().counted[&"shop".into()].ackers, both);
    desk.orders.clear();
    rebuild(&mut desk, false).unwrap();
    desk.pass(50);
    let lets_go = |order: &backstay_model::Order| matches!(order.action, Action::Follow { acker: false, .. });
    assert!(desk.orders.iter().any(|order| order == "r3 follow r1"), "{:?}", desk.orders);
    assert!(desk.last_order.as_ref().is_some_and(lets_go), "{:?}", desk.last_order);
    assert_eq!(told(&desk), AgentOrders::default());
    // While nothing is seen of that, a failover reads both.
    is_dropped(&mut desk);
    assert_eq!(told(&desk), AgentOrders::default());
    follows(&mut desk, "r3", SqlState::default());
    is_dropped(&mut desk);
    assert_eq!(desk.brain.state().counted[&"shop".into()].ackers, ["r2".into()].into());
    assert!(told(&desk).rebuild.is_some());
}

#[test]
fn the_only_one_that_acknowledges_is_not_rebuilt() {
    let mut desk = Desk::settled_with(settings(Durability::Majority, RebuildPolicy::Ask));
    agents(&mut desk);
    primary(&mut desk, 2);
    follows(&mut desk, "r2", ACKS);
    follows(&mut desk, "r3", ACKS);
    desk.pass(300);
    desk.everybody_thinks("r2", &REFUSED);
    let refused = rebuild(&mut desk, false).unwrap_err().to_string();
    assert!(refused.contains("no other replica that does is up and in step"), "{refused}");
    assert_eq!(running(&desk), None);
}

#[test]
fn a_failover_calls_off_what_has_discarded_nothing_and_lets_the_rest_go_on() {
    for discards in [false, true] {
        let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
        rebuild(&mut desk, false).unwrap();
        stop(&mut desk);
        if discards {
            desk.pass(10);
            primary(&mut desk, 0);
            desk.pass(10);
        }
        assert_eq!(told(&desk).discard, discards);
        desk.everybody_thinks("r1", &REFUSED);
        desk.pass(50);
        assert_eq!(desk.phase(), "epoch 2 fencing");
        if discards {
            assert!(running(&desk).is_some() && told(&desk).discard);
            // Even if it runs by then, it is neither frozen nor compared nor chosen.
            desk.sees("r3", Observation::Health(Health::Up));
            desk.frozen("r3", 2000);
            desk.orders.clear();
            desk.pass(2500);
            assert!(!desk.orders.iter().any(|order| order.starts_with("r3")), "{:?}", desk.orders);
            let (service, to) = ("shop".into(), "r3".into());
            let refused = desk.asks(Wish::Decide { service, instance: to, by: "ada".into() });
            assert!(refused.unwrap().unwrap_err().to_string().contains("its data was discarded"));
        } else {
            assert!(matches!(outcome(&desk), Some(RebuildOutcome::CalledOff { .. })), "{:?}", outcome(&desk));
            assert_eq!(told(&desk), AgentOrders::default());
        }
        desk.link_down("r2", "r1", 1000);
        desk.frozen("r2", 1000);
        desk.pass(200);
        assert!(desk.orders.iter().any(|order| order == "r2 promote"), "{:?}", desk.orders);
    }
}

#[test]
fn whoever_leads_next_goes_on_where_the_last_one_stopped() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    rebuild(&mut desk, false).unwrap();
    stop(&mut desk);
    desk.step(Input::Leadership { leader: Some(id("b")), term: backstay_model::Term(2) });
    desk.agents.clear();
    desk.agent("r3", Some((1, saved())));
    assert!(desk.agents.is_empty(), "only the leader says anything");
    desk.step(Input::Leadership { leader: Some(id("a")), term: backstay_model::Term(3) });
    desk.step(Input::Lease(Time::MAX));
    desk.agent("r3", Some((1, saved())));
    assert!(told(&desk).rebuild.is_some() && !told(&desk).discard, "what was seen before may be old");
    desk.pass(10);
    primary(&mut desk, 0);
    desk.pass(300);
    assert!(told(&desk).discard);
}

#[test]
fn what_an_agent_is_told_names_the_leaders_term_and_the_report_that_it_answers() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    rebuild(&mut desk, false).unwrap();
    let first = answer(&desk);
    assert!(first.rebuild.is_some() && first.process == 1, "{first:?}");
    desk.agent("r3", Some((1, Progress::Saving)));
    let second = answer(&desk);
    assert!(second.answers > first.answers && second.answers == desk.report, "{second:?}");
    desk.step(Input::Leadership { leader: Some(id("b")), term: backstay_model::Term(8) });
    desk.step(Input::Leadership { leader: Some(id("a")), term: backstay_model::Term(9) });
    desk.step(Input::Lease(Time::MAX));
    desk.agent("r3", Some((1, Progress::Saving)));
    assert_eq!(answer(&desk).term, backstay_model::Term(9));
    assert!(first.term < backstay_model::Term(9));
}

#[test]
fn without_an_agent_or_a_donor_nothing_is_begun_and_it_says_why() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    desk.pass(6000);
    let refused = rebuild(&mut desk, false).unwrap_err().to_string();
    assert!(refused.contains("nothing is heard of its agent"), "{refused}");
    desk.agent("r3", None);
    let refused = rebuild(&mut desk, false).unwrap_err().to_string();
    assert!(refused.contains("no other instance with its data has an agent that answers"), "{refused}");
    desk.agent("r1", None);
    let shown = rebuild(&mut desk, true).unwrap();
    assert!(shown.contains("r1 gives its data: no replica in step has an agent"), "{shown}");
    let (service, instance) = ("shop".into(), "r1".into());
    let wish = Wish::Rebuild { service, instance, method: Method::Copy, dry_run: false, by: "ada".into() };
    let refused = desk.asks(wish).unwrap().unwrap_err().to_string();
    assert!(refused.contains("r1 is the primary"), "{refused}");
    // One that falls silent later is a problem with a name, and what was begun can be taken back.
    rebuild(&mut desk, false).unwrap();
    desk.pass(6000);
    let problems = desk.brain.status(desk.clock()).services[0].problems.clone();
    assert!(problems.iter().any(|it| it.code == "AgentMissing"), "{problems:?}");
    assert!(cancel(&mut desk).is_ok());
    assert!(cancel(&mut desk).unwrap_err().to_string().contains("is not being rebuilt"));
}

#[test]
fn one_that_an_operator_called_off_is_not_begun_again_by_itself_but_one_that_a_failover_did_is() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Auto);
    desk.pass(3500);
    cancel(&mut desk).unwrap();
    for _ in 0..6 {
        agents(&mut desk);
        desk.pass(1000);
    }
    assert_eq!(running(&desk), None);
    assert!(matches!(outcome(&desk), Some(RebuildOutcome::CalledOff { .. })));
    let mut desk = diverged(Durability::Async, RebuildPolicy::Auto);
    desk.pass(3500);
    assert!(running(&desk).is_some());
    let begin = Decided::Begin {
        epoch: Epoch(2),
        cause: backstay_controller::Cause::Crashed { votes: 2 },
        suspected: desk.clock().unix,
        verdict: desk.clock().unix,
    };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision: begin }));
    assert!(rebuilds(&desk).ended[&"r3".into()].again);
}

#[test]
fn nothing_is_done_before_it_was_let_be() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    rebuild(&mut desk, false).unwrap();
    assert_eq!(told(&desk).rebuild.unwrap().at, running(&desk).unwrap().at);
    // Its agent still speaks of the first rebuild of a cluster that was formed anew since.
    let (method, because) = (Method::Copy, "it was so".to_owned());
    desk.agent("r3", Some((1, Progress::Done { method, because: because.clone() })));
    assert!(running(&desk).is_some());
    let outcome = RebuildOutcome::Done { method, because };
    let (instance, at) = ("r3".into(), desk.clock().unix);
    let decision = Decided::RebuildEnded { instance, number: 1, outcome, at };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    assert!(running(&desk).is_some());
}

#[test]
fn what_was_called_off_and_could_not_be_put_back_is_said_and_kept() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    rebuild(&mut desk, false).unwrap();
    stop(&mut desk);
    cancel(&mut desk).unwrap();
    desk.told.clear();
    let why = "The rebuild was withdrawn. It could not be started".to_owned();
    for _ in 0..3 {
        desk.agent("r3", Some((1, Progress::Failed { why: why.clone() })));
        desk.pass(300);
    }
    assert_eq!(outcome(&desk), Some(RebuildOutcome::Failed { why: why.clone() }));
    assert_eq!(desk.told.iter().filter(|told| told.contains(&why)).count(), 1, "{:?}", desk.told);
    let problems = desk.brain.status(desk.clock()).services[0].problems.clone();
    assert!(problems.iter().any(|it| it.code == "RebuildFailed" && it.sentence.contains(&why)));
}

#[test]
fn by_itself_it_begins_where_the_file_says_so_and_not_again_once_it_failed() {
    let mut desk = diverged(Durability::Async, RebuildPolicy::Ask);
    desk.pass(4000);
    assert_eq!(running(&desk), None);
    let mut desk = diverged(Durability::Async, RebuildPolicy::Auto);
    desk.pass(1000);
    assert_eq!(running(&desk), None, "it may be a moment's");
    desk.pass(2500);
    assert_eq!(running(&desk).unwrap().by, "the file (rebuild = \"auto\")");
    // A pause holds back what cannot be taken back.
    let by = "ada".to_owned();
    let duration = std::time::Duration::from_secs(600);
    desk.asks(Wish::Pause { service: None, duration, by: by.clone() }).unwrap().unwrap();
    stop(&mut desk);
    desk.pass(100);
    primary(&mut desk, 0);
    desk.pass(300);
    assert!(!told(&desk).discard && running(&desk).unwrap().saved.is_some());
    desk.asks(Wish::Resume { service: None, by }).unwrap().unwrap();
    desk.pass(300);
    assert!(told(&desk).discard);
    desk.agent("r3", Some((1, Progress::Failed { why: "the disk is full".into() })));
    for _ in 0..4 {
        agents(&mut desk);
        desk.pass(1000);
    }
    assert_eq!(running(&desk), None);
    let problems = desk.brain.status(desk.clock()).services[0].problems.clone();
    let failed = problems.iter().find(|it| it.code == "RebuildFailed").unwrap();
    assert!(failed.sentence.contains("the disk is full"), "{failed:?}");
}
