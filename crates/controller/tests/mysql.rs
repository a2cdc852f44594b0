//! What the brain makes of a MySQL's histories: each is named by its writer and by what others wrote (decision 18), so one with
//! a transaction of its own is in none that is known.

mod desk;

use backstay_controller::problems::CATALOGUE;
use backstay_model::{Address, Engine, MariaDbSpec, Observation, Replication, Role, ServiceSpec, SqlState};
use desk::{Desk, REFUSED, address, spec, state};

fn mysql() -> Desk {
    let engine = Engine::MySql(MariaDbSpec::default());
    let mut desk = Desk::settled_with(ServiceSpec { engine, ..spec() });
    desk.orders.clear();
    desk
}

fn problem(desk: &Desk, code: &str) -> Option<String> {
    assert!(CATALOGUE.iter().any(|problem| problem.code == code));
    let status = desk.brain.status(desk.clock());
    let mut problems = status.services[0].problems.iter();
    problems.find(|problem| problem.code == code).map(|problem| problem.sentence.clone())
}

/// r1 has crashed; each of these stands frozen at a place in a history.
fn crashed(frozen: &[(&str, &str, u64)]) -> Desk {
    let mut desk = mysql();
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    for (name, replid, offset) in frozen {
        desk.link_down(name, "r1", *offset);
        let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
        let replication = Replication { replid: (*replid).into(), ..state(name, role, *offset) };
        desk.sees(name, Observation::Frozen { epoch, replication });
    }
    desk.pass(200);
    desk
}

#[test]
fn one_with_a_transaction_of_its_own_is_not_promoted_however_much_it_has() {
    let desk = crashed(&[("r2", "history", 1030), ("r3", "history with one more", 1031)]);
    assert!(desk.orders.contains(&"r2 promote".to_owned()), "{:?} {:?}", desk.orders, desk.told);
    assert!(!desk.orders.contains(&"r3 promote".to_owned()), "{:?}", desk.orders);
}

#[test]
fn one_that_received_more_of_the_same_history_is_promoted() {
    let desk = crashed(&[("r2", "history", 1030), ("r3", "history", 1031)]);
    assert!(desk.orders.contains(&"r3 promote".to_owned()), "{:?} {:?}", desk.orders, desk.told);
}

#[test]
fn that_it_is_untried_is_a_problem_of_its_own_and_its_advice_is_in_its_words() {
    let mut desk = mysql();
    assert!(problem(&desk, "EngineUntried").unwrap().contains("not yet tried on a real server"));
    let role = Role::Replica { of: address("r1"), link_up: true, syncing: false };
    for (sql, code, advice) in [
        (SqlState { stalled: true, ..SqlState::default() }, "ReplicaStalled", "START REPLICA SQL_THREAD"),
        (SqlState { diverged: true, ..SqlState::default() }, "ReplicaDiverged", "CLONE INSTANCE"),
    ] {
        desk.sees("r2", Observation::Replication(Replication { sql, ..state("r2", role.clone(), 1000) }));
        assert!(problem(&desk, code).unwrap().contains(advice), "{code}");
    }
}
