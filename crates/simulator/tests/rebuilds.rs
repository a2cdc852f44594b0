//! Rebuilds amid faults: whoever is rebuilt when, no acknowledged commit is lost in `majority`, and in the end all follow.

use backstay_model::Durability;
use backstay_simulator::{FaultKind, Scenario, run};

#[test]
fn instances_are_rebuilt_amid_faults_and_every_promise_holds() {
    let mut discarded = 0;
    for seed in 1..=200 {
        let mut scenario = Scenario::of(seed);
        let durability = if seed % 2 == 0 { Durability::Majority } else { Durability::Async };
        scenario.become_mariadb(durability);
        scenario.kinds.extend([FaultKind::Rebuild; 3]);
        scenario.faults = scenario.faults.max(8);
        let report = run(scenario);
        assert_eq!(report.violation, None, "seed {seed}");
        discarded += report.coverage.mariadb.get("data discarded for a rebuild").copied().unwrap_or(0);
    }
    assert!(discarded > 20, "only {discarded} times data was discarded");
}
