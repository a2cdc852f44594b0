//! A real MariaDB that diverged is rebuilt by the agents beside it: what only it held is named and saved, and everybody
//! holds the same again.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::servers::mariadb::MariaDbServer;
use backstay_lab::stack::mariadb::await_same;
use backstay_lab::{Fault, Options};
use backstay_model::{Durability, Method, RebuildOutcome, RebuildStatus, ServiceStatus};
use support::group::{Group, until};

struct Shop {
    group: Group,
}

impl Shop {
    /// Three instances in step, `m1` the primary, and an agent beside each.
    fn open(durability: Durability) -> Self {
        Self::open_with(Options { durability, ..Options::default() })
    }

    fn open_with(options: Options) -> Self {
        let options = Options { redis: 1, mariadb: 3, agents: true, remember: false, ..options };
        let shop = Self { group: Group::with(options) };
        shop.await_all_in_step();
        let m1 = shop.named("m1");
        m1.ask("CREATE TABLE shop.goods (id INT PRIMARY KEY, name VARCHAR(20)) ENGINE=InnoDB").unwrap();
        m1.ask("INSERT INTO shop.goods VALUES (1, 'tea'), (2, 'milk')").unwrap();
        shop
    }

    fn service(&self) -> Option<ServiceStatus> {
        let status = self.group.cluster_status().ok().filter(|status| status.quorum)?;
        status.services.into_iter().find(|service| service.name.as_str() == "orders")
    }

    fn named(&self, name: &str) -> MariaDbServer {
        let databases = self.group.state().unwrap().databases.into_iter();
        databases.map(|member| member.server).find(|server| server.name == name).unwrap()
    }

    fn await_all_in_step(&self) {
        until("that everybody is in step", || {
            let service = self.service()?;
            let in_step = service.instances.iter().all(|instance| instance.in_sync);
            (in_step && service.problems.is_empty() && service.phase == "stable").then_some(())
        });
    }

    /// `m3` takes rows that nobody else gets, and its primary others at the same place.
    fn let_m3_diverge(&self) {
        let (m1, m3) = (self.named("m1"), self.named("m3"));
        await_same(&m3, &m1).unwrap();
        m3.ask(
            "STOP SLAVE; SET GLOBAL read_only=OFF; INSERT INTO shop.goods VALUES (77, 'ghost'); \
             UPDATE shop.goods SET name='gone' WHERE id=1; SET GLOBAL read_only=ON",
        )
        .unwrap();
        m1.ask("INSERT INTO shop.goods VALUES (3, 'bread')").unwrap();
        let _ = m3.ask("START SLAVE");
        until("that m3 is said to have diverged", || {
            let problems = self.service()?.problems;
            let found = problems.into_iter().find(|problem| problem.code == "ReplicaDiverged")?;
            assert!(found.sentence.contains("backstay rebuild orders m3"), "{found:?}");
            Some(())
        });
    }

    fn rebuild(&self, name: &str, method: &str) -> RebuildStatus {
        let arguments = ["rebuild", "orders", name, "--method", method, "--yes", "-o", "json"];
        let outcome = self.group.backstay(&arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:?} {}", self.agents_logs());
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    fn agents_logs(&self) -> String {
        let agents = self.group.state().unwrap().agents;
        agents.iter().map(|it| std::fs::read_to_string(&it.server.log).unwrap_or_default()).collect()
    }

    /// Everybody has the same rows, none of which only one had.
    fn expect_same_rows(&self) {
        let primary = until("a primary", || self.service()?.primary.map(|name| name.to_string()));
        for name in ["m1", "m2", "m3"] {
            let server = self.named(name);
            if name != primary {
                await_same(&server, &self.named(&primary)).unwrap();
            }
            let rows = server.value("SELECT GROUP_CONCAT(id, name ORDER BY id) FROM shop.goods").unwrap();
            assert_eq!(rows, "1tea,2milk,3bread", "{name}");
        }
    }
}

#[test]
fn a_replica_that_diverged_is_rebuilt_from_a_copy_and_what_only_it_held_is_saved_first() {
    for durability in [Durability::Async, Durability::Majority] {
        let shop = Shop::open(durability);
        shop.let_m3_diverge();
        let shown = shop.group.told(&["rebuild", "orders", "m3", "--dry-run"]);
        assert!(shown.contains("m2 gives its data: it is a replica in step"), "{shown}");
        let ended = shop.rebuild("m3", "copy");
        assert!(
            matches!(ended.outcome, Some(RebuildOutcome::Done { method: Method::Copy, .. })),
            "{ended:?}"
        );
        let saved = ended.saved.unwrap();
        assert_eq!(saved.transactions, 2, "{saved:?}");
        let text = std::fs::read(saved.file.unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&text).contains("ghost"), "{}", String::from_utf8_lossy(&text));
        shop.await_all_in_step();
        shop.expect_same_rows();
    }
}

#[test]
fn rows_that_only_it_changed_are_taken_back() {
    let shop = Shop::open(Durability::Async);
    shop.let_m3_diverge();
    let ended = shop.rebuild("m3", "flashback");
    assert!(
        matches!(ended.outcome, Some(RebuildOutcome::Done { method: Method::Flashback, .. })),
        "{ended:?}"
    );
    shop.await_all_in_step();
    shop.expect_same_rows();
}

#[test]
fn with_certificates_a_leader_and_an_agent_that_die_in_between_change_nothing() {
    let shop = Shop::open_with(Options { tls: true, ..Options::default() });
    shop.let_m3_diverge();
    shop.group.fault(Fault::Kill, "m3-agent").unwrap();
    until("that m3's agent is missed", || {
        let outcome = shop.group.backstay(&["rebuild", "orders", "m3", "--yes"]);
        outcome.stderr.contains("nothing is heard of its agent").then_some(())
    });
    shop.group.fault(Fault::Restart, "m3-agent").unwrap();
    until("that it is heard", || {
        (shop.group.backstay(&["rebuild", "orders", "m3", "--dry-run"]).code == Some(0)).then_some(())
    });
    let leader = shop.group.cluster_status().unwrap().leader.unwrap().to_string();
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| shop.rebuild("m3", "copy"));
        until("that it runs", || {
            shop.service()?.rebuilds.iter().any(|rebuild| rebuild.outcome.is_none()).then_some(())
        });
        shop.group.fault(Fault::Kill, &leader).unwrap();
        ended.join().unwrap()
    });
    assert!(matches!(ended.outcome, Some(RebuildOutcome::Done { .. })), "{ended:?}");
    shop.group.fault(Fault::Restart, &leader).unwrap();
    shop.await_all_in_step();
    shop.expect_same_rows();
}

#[test]
fn an_old_primary_that_hangs_is_ended_and_what_nobody_received_is_saved_before_it_follows() {
    let shop = Shop::open(Durability::Async);
    let (m1, m2, m3) = (shop.named("m1"), shop.named("m2"), shop.named("m3"));
    m1.ask("INSERT INTO shop.goods VALUES (3, 'bread')").unwrap();
    await_same(&m2, &m1).unwrap();
    await_same(&m3, &m1).unwrap();
    // While nobody puts that right again, its replicas receive nothing.
    shop.group.told(&["pause", "orders", "--for", "60s"]);
    for replica in [&m2, &m3] {
        replica.ask("STOP SLAVE").unwrap();
    }
    m1.ask("INSERT INTO shop.goods VALUES (4, 'lost')").unwrap();
    shop.group.fault(Fault::Hang, "m1").unwrap();
    shop.group.told(&["resume", "orders"]);
    until("another primary", || {
        let service = shop.service()?;
        (service.primary?.as_str() != "m1" && service.phase == "stable").then_some(())
    });
    until("that a replica in step can give its data", || {
        let outcome = shop.group.backstay(&["rebuild", "orders", "m1", "--dry-run"]);
        outcome.stdout.contains("a replica in step").then_some(())
    });
    let ended = shop.rebuild("m1", "auto");
    assert!(matches!(ended.outcome, Some(RebuildOutcome::Done { .. })), "{ended:?}");
    let text = std::fs::read(ended.saved.unwrap().file.unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("lost"));
    shop.await_all_in_step();
    shop.expect_same_rows();
}
