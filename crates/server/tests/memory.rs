//! What a controller remembers through crashes, and what it refuses when its memory is not its own.

#![allow(clippy::disallowed_methods, reason = "these tests touch the world")]

mod support;

use backstay_model::{FailoverRecord, MemberRole};
use backstay_server::{RunError, Stopped};
use serde_json::json;
use support::{Cluster, admin, until};

#[tokio::test]
async fn a_cluster_that_was_killed_comes_back_with_what_was_committed() {
    let mut cluster = Cluster::with_primary().await;
    let primary = cluster.primary().await;
    let pause = json!({"service": null, "for_seconds": 3600, "by": "a test"});
    // A follower forwards it.
    let follower = (cluster.wait_for_leader().await + 1) % 3;
    let socket = cluster.controllers[follower].admin.clone();
    let (code, answer) = admin::post(&socket, "/v1/pause", &pause).await.unwrap();
    assert_eq!(code, 200, "{answer}");
    for index in 0..3 {
        cluster.kill(index).await;
    }
    for index in 0..3 {
        cluster.start(index, false);
    }
    let service = until("the service", async || cluster.service().await).await;
    assert_eq!(service.primary.map(|name| name.to_string()), primary);
    assert_eq!(service.paused.map(|pause| pause.by).as_deref(), Some("a test"));
    let history: Vec<FailoverRecord> = admin::get_as(&socket, "/v1/history").await.unwrap();
    assert_eq!(history.len(), 1, "{history:?}");
}

#[tokio::test]
async fn a_controller_without_its_state_decides_nothing_unless_it_is_the_first_time() {
    let mut cluster = Cluster::new(&["a"], &[]);
    cluster.start(0, false);
    let status = until("its own view", async || cluster.status(0).await).await;
    assert!(!status.quorum && status.leader.is_none());
    assert_eq!(status.controllers[0].member, MemberRole::Waiting);
    cluster.stop(0).await.unwrap();
    // Somebody forgot to say that it is the first start: no harm was done.
    cluster.start(0, true);
    assert_eq!(cluster.wait_for_leader().await, 0);
    cluster.stop(0).await.unwrap();
    // Saying it twice does no harm.
    cluster.start(0, true);
    assert_eq!(cluster.wait_for_leader().await, 0);
}

#[tokio::test]
async fn a_controller_whose_state_was_lost_is_not_let_in_with_a_new_one() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    let lost = (leader + 1) % 3;
    cluster.kill(lost).await;
    std::fs::remove_dir_all(&cluster.controllers[lost].state).unwrap();
    cluster.start(lost, true);
    let error = cluster.ended(lost).await.unwrap_err();
    assert!(matches!(error, RunError::Stopped(Stopped::StateLost(_))), "{error}");
    // Whoever speaks first: a peer that remembers another folder, or the leader that remembers more entries.
    let told = ["another state folder", "it is an old copy"];
    assert!(told.iter().any(|words| error.to_string().contains(words)), "{error}");
    assert_eq!(cluster.wait_for_leader().await, leader);

    // It comes back as a learner, on somebody's word.
    std::fs::remove_dir_all(&cluster.controllers[lost].state).unwrap();
    cluster.start(lost, false);
    let role = async |wanted| {
        until("its part", async || {
            let status =
                cluster.status(leader).await.filter(|status| status.level == backstay_consensus::VERSION)?;
            (status.controllers[lost].member == wanted).then_some(())
        })
        .await;
    };
    role(MemberRole::Waiting).await;
    let name = cluster.controllers[lost].name.clone();
    let (code, answer) = admin::post(
        &cluster.controllers[lost].admin,
        "/v1/controllers/add",
        &json!({"name": name, "by": "me"}),
    )
    .await
    .unwrap();
    assert_eq!(code, 200, "{answer}");
    role(MemberRole::Voter).await;
}

#[tokio::test]
async fn a_state_folder_of_another_cluster_is_refused() {
    let mut cluster = Cluster::new(&["a"], &[]);
    cluster.start(0, true);
    cluster.wait_for_leader().await;
    cluster.stop(0).await.unwrap();
    "another".clone_into(&mut cluster.name);
    cluster.start(0, true);
    let error = cluster.ended(0).await.unwrap_err().to_string();
    assert!(error.contains("node a of cluster test, not of node a of cluster another"), "{error}");
}

#[tokio::test]
async fn a_controller_does_not_start_twice() {
    let mut cluster = Cluster::new(&["a"], &[]);
    cluster.start(0, true);
    cluster.wait_for_leader().await;
    let running = cluster.take(0);
    cluster.start(0, false);
    let error = cluster.ended(0).await.unwrap_err();
    assert!(error.to_string().contains("already runs"), "{error}");
    cluster.put_back(0, running);
    assert_eq!(cluster.wait_for_leader().await, 0);
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over_first() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    let term = cluster.status(leader).await.unwrap().term;
    cluster.stop(leader).await.unwrap();
    let next = cluster.wait_for_leader().await;
    assert_ne!(next, leader);
    // One election, at once: nobody had to find out by silence.
    assert_eq!(cluster.status(next).await.unwrap().term.0, term.0 + 1);
    assert!(!cluster.controllers[leader].admin.exists());
}
