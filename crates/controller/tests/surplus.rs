//! What instances hold that no later primary received: counted, or said to be unknown, before they follow (safety,
//! section 5).

mod desk;

use backstay_model::{Address, FailoverRecord, Health, Identity, Observation, ReplOffset, Replication, Role};
use desk::{Desk, REFUSED, state};

/// A replica of nowhere in this history.
fn standing(instance: &str, replid: &str, offset: u64) -> Replication {
    let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    Replication { replid: replid.into(), ..state(instance, role, offset) }
}

/// A primary in this history, which continues another one.
fn reigning(instance: &str, replid: &str, before: &str, ended: u64) -> Replication {
    let primary = state(instance, Role::Primary { replicas: 0 }, ended);
    Replication { replid: replid.into(), previous: Some((before.into(), ReplOffset(ended))), ..primary }
}

fn closed(seen: Replication) -> Replication {
    Replication { closed: true, ..seen }
}

impl Desk {
    fn is_seen(&mut self, instance: &str, keys: u64, seen: Replication) {
        let identity = Identity { run_id: seen.run_id.clone(), version: "7".into(), keys, loading: false };
        self.sees(instance, Observation::Identity(identity));
        self.sees(instance, Observation::Health(Health::Up));
        self.sees(instance, Observation::Replication(seen));
    }

    /// The instance is found dead.
    fn dies(&mut self, instance: &str) {
        self.everybody_thinks(instance, &REFUSED);
    }

    fn chooses(&mut self) {
        let deadline = self.now_ms + 5000;
        while !self.phase().ends_with("promoting") {
            assert!(self.now_ms < deadline, "{}", self.phase());
            self.pass(5);
        }
    }

    /// The candidate is seen to be the primary, which continues `before`, and takes a write.
    fn reigns(&mut self, instance: &str, before: &str, ended: u64) {
        let seen = reigning(instance, &format!("of-{instance}"), before, ended);
        self.sees(instance, Observation::Replication(closed(seen.clone())));
        self.sees(instance, Observation::Replication(seen));
        self.sees(instance, Observation::CanaryAcknowledged { run_id: format!("run-{instance}").into() });
        assert!(self.phase().ends_with("stable"), "{}", self.phase());
        self.orders.clear();
        self.told.clear();
    }

    /// As after a crash of r1: r2 reigns from offset 1000 on.
    fn failed_over() -> Self {
        let mut desk = Self::settled();
        desk.dies("r1");
        for replica in ["r2", "r3"] {
            desk.link_down(replica, "r1", 1000);
            desk.frozen(replica, 1000);
        }
        desk.reigns("r2", "history", 1000);
        desk
    }

    fn record(&self) -> FailoverRecord {
        self.brain.history(None).pop().expect("a failover").record
    }

    /// Who is on record for lost writes, and for how many bytes.
    fn lost(&self) -> Vec<(String, Option<u64>)> {
        self.record().lost.iter().map(|lost| (lost.instance.to_string(), lost.bytes)).collect()
    }

    fn follows_now(&self, order: &str) -> bool {
        self.orders.contains(&order.to_owned())
    }

    /// What `explain` says of it.
    fn reason(&self, instance: &str) -> String {
        let explained = self.brain.explain(self.clock(), &"shop".into()).expect("the service");
        let found = explained.candidates.into_iter().find(|it| it.instance.as_str() == instance);
        found.expect("a candidate").reason
    }
}

#[test]
fn what_the_old_primary_held_in_the_agreed_history_is_counted() {
    let mut desk = Desk::failed_over();
    desk.is_seen("r1", 5, standing("r1", "history", 1070));
    assert_eq!(desk.lost(), [("r1".into(), Some(70))]);
    assert!(desk.follows_now("r1 follow r2"), "{:?}", desk.orders);
}

#[test]
fn what_a_candidate_held_whose_promotion_nobody_saw_is_counted() {
    let mut desk = Desk::settled();
    desk.dies("r1");
    for (replica, offset) in [("r2", 1000), ("r3", 900)] {
        desk.link_down(replica, "r1", offset);
        desk.frozen(replica, offset);
    }
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.dies("r2");
    assert_eq!(desk.phase(), "epoch 3 fencing");
    desk.frozen("r3", 900);
    desk.chooses();
    desk.reigns("r3", "history", 900);
    // The promotion ran after all: it stands at the begin of a history that nobody agreed on.
    desk.is_seen("r2", 5, closed(reigning("r2", "of-nobody", "history", 1000)));
    assert_eq!(desk.lost(), [("r2".into(), Some(100))]);
    assert!(desk.told.iter().any(|it| it.contains("r2 held 100 bytes of writes")), "{:?}", desk.told);
    assert!(desk.follows_now("r2 follow r3"), "{:?}", desk.orders);
}

#[test]
fn what_came_behind_a_rename_that_no_controller_recorded_is_counted() {
    let mut desk = Desk::settled();
    // Nobody leads when the primary gives its history a new name, and r2 copies it.
    desk.dies("r1");
    for replica in ["r2", "r3"] {
        desk.is_seen(replica, 5, standing(replica, "history", 1000));
        desk.frozen(replica, 1000);
    }
    desk.is_seen("r3", 5, standing("r3", "renamed", 1000));
    desk.reigns("r2", "renamed", 1000);
    desk.is_seen("r1", 5, standing("r1", "renamed", 1080));
    assert_eq!(desk.lost(), [("r1".into(), Some(80))]);
}

#[test]
fn an_old_primary_that_comes_back_from_a_file_that_names_no_history_may_hold_lost_writes_and_that_is_said() {
    let mut desk = Desk::failed_over();
    let mut seen = standing("r1", "drawn-at-start", 0);
    seen.run_id = "again-r1".into();
    desk.quorum_is_slow = true;
    desk.is_seen("r1", 5, seen);
    assert!(!desk.follows_now("r1 follow r2"), "first it is on record: {:?}", desk.orders);
    assert!(desk.reason("r1").contains("nothing tells whether the primary ever received all of it"));
    desk.commit();
    desk.pass(5);
    assert_eq!(desk.lost(), [("r1".into(), None)]);
    assert!(
        desk.told
            .iter()
            .any(|it| it.contains("how many acknowledged writes are lost with it cannot be told"))
    );
    assert!(desk.follows_now("r1 follow r2"), "{:?}", desk.orders);
}

#[test]
fn one_that_comes_back_empty_holds_nothing() {
    let mut desk = Desk::failed_over();
    let mut seen = standing("r1", "drawn-at-start", 0);
    seen.run_id = "again-r1".into();
    desk.is_seen("r1", 0, seen);
    assert_eq!(desk.lost(), []);
    assert!(desk.follows_now("r1 follow r2"), "{:?}", desk.orders);
}

#[test]
fn a_replica_whose_file_holds_nothing_but_the_primarys_history_has_nothing_in_addition() {
    let mut desk = Desk::failed_over();
    for offset in [1010, 1020] {
        let role = Role::Replica { of: desk::address("r2"), link_up: true, syncing: false };
        let seen = Replication { replid: "of-r2".into(), ..state("r3", role, offset) };
        desk.is_seen("r3", 5, seen);
    }
    let mut seen = standing("r3", "drawn-at-start", 0);
    seen.run_id = "again-r3".into();
    desk.is_seen("r3", 5, seen);
    assert_eq!(desk.lost(), []);
    assert!(desk.follows_now("r3 follow r2"), "{:?}", desk.orders);
}

#[test]
fn a_replica_that_was_away_during_the_failover_and_comes_back_from_a_file_may_hold_lost_writes() {
    let mut desk = Desk::settled();
    desk.dies("r3");
    desk.dies("r1");
    desk.link_down("r2", "r1", 900);
    desk.frozen("r2", 900);
    desk.chooses();
    desk.reigns("r2", "history", 900);
    let mut seen = standing("r3", "drawn-at-start", 0);
    seen.run_id = "again-r3".into();
    desk.is_seen("r3", 5, seen);
    assert_eq!(desk.lost(), [("r3".into(), None)]);
}

#[test]
fn where_the_operators_choice_stood_in_another_history_no_number_is_made_up() {
    let mut desk = Desk::failed_over();
    // r2 dies, and the operator takes what r1 brings from another history rather than waiting for it.
    desk.dies("r2");
    let mut seen = standing("r1", "elsewhere", 5000);
    seen.run_id = "again-r1".into();
    desk.is_seen("r1", 5, seen.clone());
    desk.sees("r3", Observation::Health(REFUSED));
    let decision = backstay_controller::Decided::Decide {
        epoch: backstay_model::Epoch(3),
        instance: "r1".into(),
        by: "ann".into(),
    };
    let entry = backstay_controller::Entry { service: "shop".into(), decision };
    desk.step(backstay_controller::Input::Committed(entry));
    desk.sees("r1", Observation::Frozen { epoch: backstay_model::Epoch(3), replication: seen });
    desk.chooses();
    let mut promoted = reigning("r1", "of-r1", "elsewhere", 5000);
    promoted.run_id = "again-r1".into();
    desk.sees("r1", Observation::Replication(closed(promoted.clone())));
    desk.sees("r1", Observation::Replication(promoted));
    desk.is_seen("r2", 5, standing("r2", "of-r2", 1500));
    desk.sees("r1", Observation::CanaryAcknowledged { run_id: "again-r1".into() });
    desk.pass(10);
    assert_eq!(desk.lost(), [("r2".into(), None)], "5000 is an offset of another history");
}
