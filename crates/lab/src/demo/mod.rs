//! The demo: a lab, clients that write all the time, and what can happen to a Redis and to a MariaDB primary. It shows
//! each failover as it happens and holds Backstay to its promises: nothing acknowledged is lost, an old primary accepts nothing.

pub mod act;
pub mod orders;
pub mod report;
pub mod scene;
pub mod timeline;

use crate::error::Result;
use crate::load::light::LightWriter;
use crate::servers::nursery;
use crate::stack::lab::{Lab, ScopedLab};
use crate::stack::options::Options;
use crate::wait::wait_until;
use act::Act;
use backstay_model::Durability;
use indicatif::ProgressBar;
use orders::{OrdersAct, OrdersResult};
use report::DemoReport;
use scene::Scene;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const HEALTHY_LIMIT: Duration = Duration::from_secs(30);
const DOWN_AFTER: Duration = Duration::from_millis(500);
const RUN: &str = "demo";

/// How to play.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Leave the lab running.
    pub keep: bool,
    /// Where; none: a temporary folder.
    pub dir: Option<PathBuf>,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

/// Plays all acts. An error means that the demo itself could not go on; broken promises are in the report.
pub fn play(options: &DemoOptions) -> Result<DemoReport> {
    nursery::end_all_on_interrupt();
    let begun = Instant::now();
    let waiting = wait_for("bringing up 3 controllers, 3 Redis servers, 3 MariaDB servers and 2 gateways");
    let mut lab = ScopedLab::up(&Options {
        dir: options.dir.clone(),
        backstay: options.backstay.clone(),
        down_after: DOWN_AFTER,
        gateways: 2,
        mariadb: 3,
        agents: true,
        durability: Durability::Majority,
        ..Options::default()
    })?;
    lab.await_healthy(HEALTHY_LIMIT)?;
    waiting.finish_and_clear();
    println!(
        "A lab of 3 controllers, 3 Redis servers, 3 MariaDB servers and 2 gateways is up after {:.1} s in {}.",
        begun.elapsed().as_secs_f64(),
        lab.dir().display()
    );
    let writer = LightWriter::start(lab.client()?, RUN);
    wait_until("the first writes", HEALTHY_LIMIT, || {
        (writer.record().lock().acks.len() > 300).then_some(())
    })?;
    println!(
        "A client that asks the Sentinel ports for the primary writes a new key every 2 ms, all the time. In each act 50 plain \
         ones do so through the gateways."
    );

    let mut scene = Scene::new(&lab, &writer);
    let mut results = Vec::new();
    for (number, act) in Act::ALL.into_iter().enumerate() {
        println!("\nRedis, {} of {}: {act}", number + 1, Act::ALL.len());
        let result = scene.play(act)?;
        let stuck = result.stuck.is_some();
        results.push(result);
        if stuck {
            break;
        }
    }
    drop(scene);
    drop(writer);
    let orders =
        if results.iter().all(|result| result.stuck.is_none()) { play_orders(&lab)? } else { Vec::new() };
    let mut report = DemoReport { results, orders, duration: begun.elapsed(), next: None };
    if !report.broken().is_empty() {
        let logs = std::env::temp_dir().join(format!("backstay-demo-{}", std::process::id()));
        lab.save_logs(&logs)?;
        println!("\nThe controllers' logs are in {}.", logs.display());
    }
    if options.keep {
        lab.keep()?;
        report.next = Some(report::what_to_type_next(&lab)?);
    }
    Ok(report)
}

/// The second part.
fn play_orders(lab: &Lab) -> Result<Vec<OrdersResult>> {
    println!(
        "\nNow MariaDB, which acknowledges a commit when two instances have it. Four clients insert orders through a gateway, \
         one after the other, as fast as they are acknowledged."
    );
    let mut results = Vec::new();
    for (number, act) in OrdersAct::ALL.into_iter().enumerate() {
        println!("\nMariaDB, {} of {}: {act}", number + 1, OrdersAct::ALL.len());
        results.push(orders::play(lab, act)?);
    }
    Ok(results)
}

fn tell(ms: f64, line: &str) {
    println!("  t+{ms:>7.1} ms  {line}");
}

/// A spinner on standard error while nothing else is to be seen.
fn wait_for(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
