//! Groups that are smaller than they should be: they work, and say what they cannot survive.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use support::group::{Group, LIMIT, await_writes_elsewhere, count, fill, never, ok, until};

const KEYS: usize = 100;

#[test]
fn two_controllers_fail_over_together_and_neither_does_alone() {
    let group = Group::of(2, 3);
    let said = group.checked();
    assert!(
        said.contains("two controllers: if either is lost, or they lose each other, nothing fails over"),
        "{said}"
    );
    let (old, epoch) = (group.named_primary(), group.epoch());
    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    assert_eq!(group.await_failover(epoch).epoch.0, epoch + 1);
    await_writes_elsewhere(&writer, old.address(), killed);
    group.fault(Fault::Restart, &old.name).unwrap();
    group.await_healthy(LIMIT).unwrap();
    group.expect_all_written(writer);

    let primary = group.named_primary();
    group.fault(Fault::Kill, "b").unwrap();
    let problems = until("a controller that knows that it is alone", || {
        let mut status = group.status_of("a").filter(|status| !status.quorum)?;
        Some(status.services.pop()?.problems)
    });
    let alone = problems.iter().find(|it| it.code == "NoQuorum").unwrap();
    assert!(alone.sentence.contains("it decides nothing"), "{alone:?}");
    let shown = group.backstay(&["status"]);
    assert!(shown.stdout.contains("not in touch with a majority"), "{shown:?}");

    group.fault(Fault::Kill, &primary.name).unwrap();
    until("a controller that sees the death", || {
        let service = group.status_of("a")?.services.pop()?;
        service.problems.iter().find(|it| it.code == "PrimaryCrashed").map(drop)
    });
    never(|| {
        let epoch_now = group.status_of("a")?.services.pop()?.epoch.0;
        let open = group.writable();
        (epoch_now != epoch + 1 || !open.is_empty()).then(|| format!("epoch {epoch_now}, open: {open:?}"))
    });

    // Together again, they make up for it.
    group.fault(Fault::Restart, "b").unwrap();
    let failover = group.await_failover(epoch + 1);
    assert_eq!(failover.from.unwrap().as_str(), primary.name);
}

#[test]
fn a_single_instance_works_and_is_said_to_have_no_successor() {
    let group = Group::of(3, 1);
    let said = group.checked();
    assert!(said.contains("one instance: there is nothing to fail over to"), "{said}");
    let (only, epoch) = (group.named_primary(), group.epoch());
    fill(&only, "k", KEYS);
    let sentence = until("the problem", || group.problem("NothingToFailOverTo"));
    assert!(sentence.contains("bring one up"), "{sentence}");

    // Restarted in good order, it is opened again with what it held.
    group.fault(Fault::Restart, &only.name).unwrap();
    group.await_failover(epoch);
    assert_eq!(group.writable(), [only.name.as_str()]);
    assert_eq!(count(&only, "k", KEYS), KEYS);
    ok(&only, &["SET", "after", "value"]);
}
