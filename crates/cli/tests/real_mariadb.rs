//! Failovers and switchovers of a real MariaDB group, as clients see them who know one address.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::load::orders::{OrderWriters, Orders};
use backstay_lab::servers::mariadb::MariaDbServer;
use backstay_lab::stack::mariadb::{application, await_same};
use backstay_lab::{Fault, Options};
use backstay_model::{Durability, FailoverRecord, ServiceStatus};
use std::process::{Child, Command, Stdio};
use support::group::{Group, until};

const WRITERS: u64 = 4;
/// What each fault happens amid.
const SOME: u64 = 200;

struct Shop {
    group: Group,
}

impl Shop {
    /// Three instances in step, `m1` the primary, and a gateway in front.
    fn open(durability: Durability) -> Self {
        let shop = Self {
            group: Group::with(Options {
                redis: 1,
                mariadb: 3,
                gateways: 1,
                durability,
                remember: false,
                ..Options::default()
            }),
        };
        shop.await_all_in_step();
        shop
    }

    fn service(&self) -> Option<ServiceStatus> {
        let status = self.group.cluster_status().ok().filter(|status| status.quorum)?;
        status.services.into_iter().find(|service| service.name.as_str() == "orders")
    }

    fn servers(&self) -> Vec<MariaDbServer> {
        self.group.state().unwrap().databases.into_iter().map(|member| member.server).collect()
    }

    fn named(&self, name: &str) -> MariaDbServer {
        self.servers().into_iter().find(|server| server.name == name).unwrap()
    }

    /// The one that clients are sent to.
    fn primary(&self) -> String {
        until("a primary", || self.service()?.primary.map(|name| name.to_string()))
    }

    /// No problem is left, and everybody is in step.
    fn await_all_in_step(&self) {
        until("that everybody is in step", || {
            let service = self.service()?;
            let in_step = service.instances.iter().all(|instance| instance.in_sync);
            (in_step && service.problems.is_empty() && service.phase == "stable").then_some(())
        });
    }

    /// Clients write through the gateway.
    fn writers(&self, run: &str) -> OrderWriters {
        let address = self.group.gateways().unwrap()[0].sql_addresses().unwrap()[0];
        let writers = OrderWriters::start(address, &application(), run, WRITERS);
        until("some orders", || (writers.acknowledged() > SOME).then_some(()));
        writers
    }

    /// Moves the primary to `m2`, as soon as that was seen to receive something.
    fn switch_over(&self) {
        until("that m2 can take over", || {
            let outcome = self.group.backstay(&["switchover", "orders", "--to", "m2"]);
            // On a busy machine it may be given up, and has changed nothing then.
            let later = ["try again in a moment", "did not catch up"];
            let again = later.iter().any(|words| outcome.stderr.contains(words));
            assert!(outcome.code == Some(0) || again, "{outcome:?}");
            (outcome.code == Some(0)).then_some(())
        });
    }

    /// Another one is the primary, and orders are taken again.
    fn await_move(&self, from: &str, writers: &OrderWriters) -> FailoverRecord {
        let to = until("another primary", || {
            let service = self.service()?;
            let name = service.primary?.to_string();
            (name != from && service.phase == "stable").then_some(name)
        });
        let enough = writers.acknowledged() + SOME;
        until("more orders", || (writers.acknowledged() > enough).then_some(()));
        let history = self.group.told(&["history", "orders", "-o", "json"]);
        let records: Vec<FailoverRecord> = serde_json::from_str(&history).unwrap();
        let record = records.last().unwrap().clone();
        assert_eq!(record.to.as_ref().map(ToString::to_string), Some(to));
        record
    }

    /// Everybody holds the same. Returns which of the acknowledged orders that is without.
    fn lost_everywhere(&self, orders: &Orders) -> Vec<u64> {
        self.await_all_in_step();
        let primary = self.named(&self.primary());
        let lost = orders.lost(&primary).unwrap();
        for server in self.servers().into_iter().filter(|server| server.name != primary.name) {
            await_same(&server, &primary).unwrap();
            assert_eq!(orders.lost(&server).unwrap(), lost, "{}", server.name);
        }
        lost
    }

    fn expect_nothing_lost(&self, orders: &Orders) {
        assert_eq!(self.lost_everywhere(orders), Vec::<u64>::new());
    }
}

/// Nobody was told anything but that a connection is gone, and that once for each.
fn expect_only_cuts(orders: &Orders) {
    let kinds: Vec<&str> = orders.record.errors.keys().map(String::as_str).collect();
    assert!(kinds.is_empty() || kinds == ["connection closed"], "{:?}", orders.record.errors);
    assert!(orders.record.errors_total() <= WRITERS, "{:?}", orders.record.errors);
}

#[test]
fn a_crash_in_majority_loses_no_acknowledged_order_and_the_old_primary_comes_back_by_itself() {
    let shop = Shop::open(Durability::Majority);
    let writers = shop.writers("crash");
    shop.group.fault(Fault::Kill, "m1").unwrap();
    shop.await_move("m1", &writers);
    shop.group.fault(Fault::Restart, "m1").unwrap();
    let orders = writers.stop();
    shop.expect_nothing_lost(&orders);
    expect_only_cuts(&orders);
}

#[test]
fn after_a_crash_in_async_everybody_holds_the_same_and_few_orders_are_missing() {
    let shop = Shop::open(Durability::Async);
    let writers = shop.writers("async");
    shop.group.fault(Fault::Kill, "m1").unwrap();
    shop.await_move("m1", &writers);
    shop.group.fault(Fault::Restart, "m1").unwrap();
    let orders = writers.stop();
    // What no replica had received when it died: nobody waits for that here.
    assert!(shop.lost_everywhere(&orders).len() <= WRITERS as usize * 4);
}

#[test]
fn a_primary_that_hangs_in_majority_is_replaced_and_what_it_wakes_up_with_is_not_kept() {
    let shop = Shop::open(Durability::Majority);
    let writers = shop.writers("hang");
    shop.group.fault(Fault::Hang, "m1").unwrap();
    shop.await_move("m1", &writers);
    let orders = writers.stop();
    let primary = shop.named(&shop.primary());
    assert_eq!(orders.lost(&primary).unwrap(), Vec::<u64>::new());
    expect_only_cuts(&orders);
    // It wakes up closed, whatever it had begun.
    shop.group.fault(Fault::Resume, "m1").unwrap();
    let old = shop.named("m1");
    until("that it is closed", || (old.value("SELECT @@read_only").ok()? == "1").then_some(()));
}

#[test]
fn a_switchover_loses_nothing_and_no_client_is_told_that_a_server_is_read_only() {
    for durability in [Durability::Async, Durability::Majority] {
        let shop = Shop::open(durability);
        let writers = shop.writers("move");
        shop.switch_over();
        let record = shop.await_move("m1", &writers);
        assert!(record.planned && record.lost.is_empty(), "{record:?}");
        let orders = writers.stop();
        shop.expect_nothing_lost(&orders);
        expect_only_cuts(&orders);
    }
}

#[test]
fn a_locked_table_keeps_the_primary_where_it_is_and_is_named_as_what_to_look_for() {
    let shop = Shop::open(Durability::Majority);
    let mut session = shop.named("m1").connect_as(&application()).unwrap();
    session.ask("LOCK TABLES shop.orders WRITE").unwrap();
    let outcome = until("that it is tried", || {
        let outcome = shop.group.backstay(&["switchover", "orders", "--to", "m2"]);
        (!outcome.stderr.contains("try again in a moment")).then_some(outcome)
    });
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("LOCK TABLES"), "{outcome:?}");
    assert_eq!(shop.primary(), "m1");
    // Nothing has changed: once it is let go, orders are taken, and the primary can be moved.
    session.ask("UNLOCK TABLES").unwrap();
    let writers = shop.writers("after");
    shop.switch_over();
    shop.await_move("m1", &writers);
    let orders = writers.stop();
    shop.expect_nothing_lost(&orders);
}

#[test]
fn in_majority_nobody_takes_over_before_everybody_who_acknowledged_was_read() {
    let shop = Shop::open(Durability::Majority);
    let writers = shop.writers("both");
    // The acker may hold the last order alone.
    shop.group.fault_all(Fault::Hang, &["m1", "m3"]).unwrap();
    let sentence = until("that it says whom it waits for", || {
        let problems = shop.service()?.problems;
        problems.into_iter().find(|problem| problem.code == "Stuck").map(|problem| problem.sentence)
    });
    assert!(sentence.contains("m3 may hold commits that were acknowledged"), "{sentence}");
    assert_ne!(shop.named("m2").value("SELECT @@read_only").unwrap(), "0");
    shop.group.fault(Fault::Resume, "m3").unwrap();
    shop.await_move("m1", &writers);
    let orders = writers.stop();
    let primary = shop.named(&shop.primary());
    assert_eq!(orders.lost(&primary).unwrap(), Vec::<u64>::new());
}

/// What `pages.php` prints for one page.
#[derive(Debug, serde::Deserialize)]
struct Page {
    reference: String,
    ms: f64,
    connected: bool,
    ok: bool,
    retries: u32,
    error: String,
}

/// A page that takes so long has waited.
const DELAYED_MS: f64 = 250.0;

struct Visitors(Vec<Child>);

impl Visitors {
    /// `None`: there is no PHP with mysqli here.
    fn come(shop: &Shop) -> Option<Self> {
        let has_php = Command::new("php").args(["-r", "exit(extension_loaded('mysqli') ? 0 : 1);"]).status();
        if !has_php.is_ok_and(|status| status.success()) {
            eprintln!("not tried: PHP with mysqli is missing (apt-get install php-cli php-mysql)");
            return None;
        }
        let primary = shop.named(&shop.primary());
        primary
            .ask(
                "CREATE TABLE shop.carts (reference VARCHAR(40), status VARCHAR(10)); \
                 CREATE TABLE shop.items (reference VARCHAR(40), item INT)",
            )
            .unwrap();
        let port = shop.group.gateways().unwrap()[0].sql_addresses().unwrap()[0].port().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/clients/pages.php");
        let account = application();
        let visitor = |worker: usize| {
            let login = [&account.user, &account.password, "shop"].map(|text: &str| text.to_owned());
            Command::new("php")
                .args([script, "127.0.0.1", &port])
                .args(login)
                .args([worker.to_string(), "6".to_owned()])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        Some(Self((0..4).map(visitor).collect()))
    }

    fn pages(self) -> Vec<Page> {
        let outputs = self.0.into_iter().map(|visitor| visitor.wait_with_output().unwrap());
        let text: Vec<String> = outputs.map(|output| String::from_utf8(output.stdout).unwrap()).collect();
        text.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Pages of a shop that do as WordPress does: nobody reads "Error establishing a database connection".
fn expect_pages(fault: impl FnOnce(&Shop), failed_max: usize) {
    let shop = Shop::open(Durability::Majority);
    let Some(visitors) = Visitors::come(&shop) else {
        return;
    };
    let carts = || shop.named("m1").value("SELECT COUNT(*) FROM shop.carts").ok()?.parse::<u64>().ok();
    until("some pages", || (carts()? > 40).then_some(()));
    fault(&shop);
    let pages = visitors.pages();
    let primary = shop.named(&shop.primary());
    assert_ne!(primary.name, "m1");
    let unconnected: Vec<&Page> = pages.iter().filter(|page| !page.connected).collect();
    assert!(unconnected.is_empty(), "{unconnected:?}");
    let failed: Vec<&Page> = pages.iter().filter(|page| !page.ok).collect();
    assert!(failed.len() <= failed_max, "{failed:?}");
    assert!(failed.iter().all(|page| !page.error.contains("1290")), "{failed:?}");
    // What a page showed as paid is there, whole.
    let rows = |statement: &str| -> Vec<String> {
        let rows = primary.ask(statement).unwrap().rows;
        rows.iter().filter_map(|row| row.at(0).map(str::to_owned)).collect()
    };
    let paid = rows("SELECT reference FROM shop.carts WHERE status = 'paid'");
    let whole = rows("SELECT reference FROM shop.items GROUP BY reference HAVING COUNT(DISTINCT item) = 3");
    for page in pages.iter().filter(|page| page.ok) {
        assert!(paid.contains(&page.reference) && whole.contains(&page.reference), "{page:?}");
    }
    // What was asked again although it had been done stands twice; what a page gave up stands there in part.
    let twice = rows(
        "SELECT reference FROM shop.carts GROUP BY reference HAVING COUNT(*) > 1 UNION \
                      SELECT reference FROM shop.items GROUP BY reference, item HAVING COUNT(*) > 1",
    );
    let half: Vec<_> = rows("SELECT DISTINCT reference FROM shop.carts")
        .into_iter()
        .filter(|it| !paid.contains(it))
        .collect();
    let repeated =
        |reference: &String| pages.iter().any(|page| page.reference == *reference && page.retries > 0);
    assert!(twice.len() <= failed_max && twice.iter().all(repeated), "{twice:?}");
    assert!(half.iter().all(|it| failed.iter().any(|page| page.reference == *it)), "{half:?}");
    println!(
        "{} pages: {} waited, the longest {:.0} ms; {} asked again, {} failed; orders: {} twice, {} half-written",
        pages.len(),
        pages.iter().filter(|page| page.ms > DELAYED_MS).count(),
        pages.iter().map(|page| page.ms).fold(0.0, f64::max),
        pages.iter().filter(|page| page.retries > 0).count(),
        failed.len(),
        twice.len(),
        half.len()
    );
}

#[test]
fn in_a_crash_no_page_fails_at_connect_and_those_with_a_statement_under_way_may_fail() {
    expect_pages(
        |shop| {
            shop.group.fault(Fault::Kill, "m1").unwrap();
        },
        4,
    );
}

#[test]
fn in_a_switchover_pages_wait_and_none_fails() {
    expect_pages(Shop::switch_over, 0);
}
