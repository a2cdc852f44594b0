//! TLS and logins towards Redis: a failover with the least rights, and what is wrong with certificates has a name.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_wire::redis::RIGHTS;
use nix::sys::signal::Signal;
use support::redis::Redis;
use support::redis_certificates::{Authority, Pair};
use support::{Cluster, until};

const HOST: &str = "127.0.0.1";
/// What replicas may do at their primary.
const REPLICATION: &str = "on >copy resetchannels -@all +psync +replconf +ping";

/// The options of a server that speaks nothing but TLS.
fn tls_options(pair: &Pair, authority: &Authority, clients: &str) -> Vec<String> {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let text = format!(
        "--port 0 --tls-port {{port}} --tls-replication yes --tls-cert-file {certificate} --tls-key-file {key} \
         --tls-ca-cert-file {} --tls-auth-clients {clients}",
        authority.file.display()
    );
    text.split(' ').map(str::to_owned).collect()
}

/// Nobody but Backstay's user, with its rights alone, the replicas', and the test's.
fn least_rights() -> Vec<String> {
    let rights = RIGHTS.join(" ");
    let text = format!(
        "--user backstay on >hush ~backstay:canary resetchannels -@all {rights} --user copy {REPLICATION} --user \
         root on >root +@all --unixsocket {{folder}}/local --user default off --masteruser copy --masterauth copy"
    );
    text.split(' ').map(str::to_owned).collect()
}

fn start(cluster: &mut Cluster, name: &str, options: &[Vec<String>]) {
    let folder = cluster.folder.path().to_owned();
    let options = options.concat();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    cluster.instances.push(Redis::start(&folder, name, &options));
}

/// Three servers that want a certificate, a login and nothing more, and their controllers.
fn secured() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    let folder = cluster.folder.path().to_owned();
    let authority = Authority::new(&folder, "authority");
    let client = authority.pair(&folder, "backstay", "backstay");
    for name in ["r1", "r2", "r3"] {
        let pair = authority.pair(&folder, name, HOST);
        start(&mut cluster, name, &[tls_options(&pair, &authority, "yes"), least_rights()]);
    }
    let password = folder.join("password");
    std::fs::write(&password, "hush\n").unwrap();
    cluster.extra = format!(
        "username = \"backstay\"\npassword_file = \"{}\"\ntls = {{ ca = \"{}\", certificate = \"{}\", key = \"{}\" }}",
        password.display(),
        authority.file.display(),
        client.certificate.display(),
        client.key.display()
    );
    cluster.start_all();
    cluster
}

async fn await_failover(cluster: &Cluster, old: &str) -> String {
    until("another primary, with the rest in step", async || {
        let service = cluster.service().await?;
        let primary = service.primary?.to_string();
        let follower = service.instances.iter().any(|it| it.in_sync && it.name.as_str() != primary);
        (service.phase == "stable" && primary != old && follower).then_some(primary)
    })
    .await
}

#[tokio::test]
async fn over_tls_with_exactly_the_listed_rights_a_dead_and_a_hung_primary_are_replaced() {
    let mut cluster = secured();
    let first = cluster.wait_for_primary().await;
    cluster.redis(&first).kill();
    let second = await_failover(&cluster, &first).await;
    cluster.redis(&first).restart();
    until("everybody is in step", async || {
        let service = cluster.service().await?;
        service.instances.iter().all(|it| it.health == "up" && it.in_sync).then_some(())
    })
    .await;
    assert!(cluster.service().await.unwrap().problems.is_empty());
    cluster.redis(&second).signal(Signal::SIGSTOP);
    await_failover(&cluster, &second).await;
    cluster.redis(&second).signal(Signal::SIGCONT);
    until("the one that woke up follows", async || {
        let service = cluster.service().await?;
        service.instances.iter().all(|it| it.health == "up" && it.in_sync).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_servers_tls_is_named() {
    let mut cluster = Cluster::new(&["a"], &[]);
    let folder = cluster.folder.path().to_owned();
    let (authority, other) = (Authority::new(&folder, "authority"), Authority::new(&folder, "other"));
    let servers = [
        ("outdated", authority.outdated(&folder, "r1", HOST), "no", "not valid today"),
        ("unknown", other.pair(&folder, "r2", HOST), "no", "of another authority or for another name"),
        (
            "misnamed",
            authority.pair(&folder, "r3", "redis.shop"),
            "no",
            "of another authority or for another name",
        ),
        ("demanding", authority.pair(&folder, "r4", HOST), "yes", "fails the TLS handshake"),
    ];
    for (name, pair, clients, _) in &servers {
        start(&mut cluster, name, &[tls_options(pair, &authority, clients)]);
    }
    start(&mut cluster, "clear", &[]);
    cluster.extra = format!("tls = {{ ca = \"{}\" }}", authority.file.display());
    cluster.start_all();
    let expected =
        servers.iter().map(|(name, _, _, said)| (*name, *said)).chain([("clear", "TLS handshake")]);
    for (name, said) in expected {
        until(&format!("{name}: {said}"), async || {
            let service = cluster.service().await?;
            let found = service.instances.iter().find(|it| it.name.as_str() == name)?;
            found.health.contains(said).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_no_longer_trusted_is_no_reason_to_fail_over_and_needs_no_restart() {
    let cluster = secured();
    let primary = cluster.wait_for_primary().await;
    let folder = cluster.folder.path().to_owned();
    let trusted = folder.join("authority.pem");
    let good = std::fs::read(&trusted).unwrap();
    let other = Authority::new(&folder, "other");
    std::fs::copy(&other.file, &trusted).unwrap();
    cluster.instances.iter().for_each(Redis::disconnect_clients);
    until("the problem is named", async || {
        let problems = cluster.service().await?.problems;
        problems
            .into_iter()
            .find(|it| it.code == "PrimaryFaulty" && it.sentence.contains("another authority"))
    })
    .await;
    let service = cluster.service().await.unwrap();
    assert_eq!((service.epoch.0, service.primary.unwrap().as_str()), (1, primary.as_str()));
    std::fs::write(&trusted, good).unwrap();
    until("it is well again", async || {
        let service = cluster.service().await?;
        let well = service.instances.iter().all(|it| it.health == "up" && it.in_sync);
        (well && service.problems.is_empty() && service.epoch.0 == 1).then_some(())
    })
    .await;
}
