//! Three controllers, three real Redis servers, and what must happen when one of them dies.

mod support;

use backstay_model::{FailoverRecord, InstanceName};
use nix::sys::signal::Signal;
use support::{Cluster, SERVICE, admin, until};

#[tokio::test]
async fn the_best_replica_takes_over_when_the_primary_is_killed() {
    let mut cluster = Cluster::with_primary().await;
    let primary = cluster.primary().await.unwrap();
    // A fresh copy gets its stream within a second.
    let replies = cluster.redis(&primary).ask_all(&["SET key value", "WAIT 2 4000"]);
    assert_eq!(replies.unwrap(), ["+OK", ":2"]);
    cluster.redis(&primary).kill();
    let next =
        until("another primary", async || cluster.primary().await.filter(|name| *name != primary)).await;
    assert_eq!(cluster.redis(&next).ask("SET other value").as_deref(), Some("+OK"));
    assert_eq!(cluster.redis(&next).ask("GET key").as_deref(), Some("$5"));
    let history: Vec<FailoverRecord> =
        admin::get_as(&cluster.controllers[0].admin, &format!("/v1/history?service={SERVICE}"))
            .await
            .unwrap();
    let last = history.last().unwrap();
    assert_eq!(last.to.as_ref().map(InstanceName::as_str), Some(next.as_str()));
    assert!(last.duration_us().is_some(), "{last:?}");
}

#[tokio::test]
async fn a_primary_that_hangs_is_replaced_and_finds_itself_closed_when_it_wakes() {
    let mut cluster = Cluster::with_primary().await;
    let primary = cluster.primary().await.unwrap();
    let replies = cluster.redis(&primary).ask_all(&["SET key value", "WAIT 2 4000"]);
    assert_eq!(replies.unwrap(), ["+OK", ":2"]);
    cluster.redis(&primary).signal(Signal::SIGSTOP);
    let next =
        until("another primary", async || cluster.primary().await.filter(|name| *name != primary)).await;
    assert_eq!(cluster.redis(&next).ask("GET key").as_deref(), Some("$5"));
    cluster.redis(&primary).signal(Signal::SIGCONT);
    let refused = cluster.redis(&primary).ask("SET key zombie").unwrap();
    assert!(refused.starts_with('-'), "the zombie said {refused}");
    until("the old primary follows the new one", async || {
        let service = cluster.service().await?;
        let old = service.instances.into_iter().find(|it| it.name.as_str() == primary)?;
        (old.in_sync && old.role == "replica").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_survivors_fail_over_when_the_leader_dies_with_the_primary() {
    let mut cluster = Cluster::with_primary().await;
    let primary = cluster.primary().await.unwrap();
    let leader = cluster.leader().await.unwrap();
    cluster.redis(&primary).kill();
    cluster.kill(leader).await;
    until("another primary", async || cluster.primary().await.filter(|name| *name != primary)).await;
    assert_ne!(cluster.leader().await.unwrap(), leader);
}
