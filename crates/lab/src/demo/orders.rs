//! The demo's second part: a MariaDB group that acknowledges by majority, and four clients that insert orders through a
//! gateway. What was acknowledged must be there afterwards, and the same rows at every instance.

use crate::demo::timeline::{Timeline, epoch};
use crate::demo::{tell, wait_for};
use crate::error::{LabError, Result};
use crate::load::orders::{OrderWriters, Orders};
use crate::servers::mariadb::MariaDbServer;
use crate::servers::process::Moment;
use crate::stack::databases::SERVICE;
use crate::stack::fault::Fault;
use crate::stack::lab::Lab;
use crate::stack::mariadb::{application, await_same};
use crate::wait::{poll_every, poll_until, wait_until};
use backstay_model::{EventKind, ServiceStatus};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const WRITERS: u64 = 4;
/// Orders before a fault, and after it.
const SOME: u64 = 300;
const LIMIT: Duration = Duration::from_secs(15);
/// It catches up with writers that never pause, on the disk that all three share.
const BACK_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// What an instance is told when it holds what nobody else does.
const DIVERGED: &str = "ReplicaDiverged";

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrdersAct {
    /// It is killed, and comes back.
    CrashAndRejoin,
    /// Nothing breaks: it is moved by plan.
    Switchover,
    /// It stands still, and wakes after the failover. What it then holds alone takes a rebuild.
    HangAndReturn,
}

impl OrdersAct {
    /// In the order in which they are played.
    pub const ALL: [Self; 3] = [Self::CrashAndRejoin, Self::Switchover, Self::HangAndReturn];

    /// A few words for the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashAndRejoin => "crash, then rejoin",
            Self::Switchover => "switchover",
            Self::HangAndReturn => "hang, then return",
        }
    }

    const fn run(self) -> &'static str {
        match self {
            Self::CrashAndRejoin => "crash",
            Self::Switchover => "move",
            Self::HangAndReturn => "hang",
        }
    }
}

impl fmt::Display for OrdersAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CrashAndRejoin => "the primary is killed (kill -9) and comes back",
            Self::Switchover => "nothing breaks: an operator moves the primary (backstay switchover)",
            Self::HangAndReturn => "the primary stands still (kill -STOP) and later wakes",
        })
    }
}

/// One act. All moments are milliseconds since the fault.
#[derive(Clone, Debug)]
pub struct OrdersResult {
    /// What happened.
    pub act: OrdersAct,
    /// The failover was committed.
    pub decided_ms: Option<f64>,
    /// The new primary was seen to be one.
    pub promoted_ms: Option<f64>,
    /// The longest time in which nobody's order was acknowledged.
    pub rto_ms: f64,
    /// Orders acknowledged during the act.
    pub acked: u64,
    /// Acknowledged orders that are gone after it.
    pub lost: u64,
    /// Connections that were closed under the clients.
    pub cut: u64,
    /// Instances that hold the same rows.
    pub alike: usize,
    /// After so many seconds everybody was in step again; none: somebody is not.
    pub back_s: Option<f64>,
    /// Promises that were not kept, one sentence each.
    pub broken: Vec<String>,
}

/// How the old primary came back.
enum Return {
    InStep(f64),
    /// It does not follow, and why.
    Apart(String),
}

/// Plays one act to its end.
pub fn play(lab: &Lab, act: OrdersAct) -> Result<OrdersResult> {
    let from = primary(lab)?;
    let before = epoch(lab, SERVICE)?;
    let writers = OrderWriters::start(gateway(lab)?, &application(), act.run(), WRITERS);
    await_orders(&writers, SOME)?;
    let at = cause(lab, act, &from)?;
    let mut timeline = Timeline::new(SERVICE, before, at);
    watch(lab, &mut timeline, &writers)?;
    let back = bring_back(lab, act, &from)?;
    let orders = writers.stop();
    let to = server(lab, &primary(lab)?)?;
    let moments = timeline.record.as_ref().map(|record| record.moments.clone()).unwrap_or_default();
    let alike = alike(lab, &to)?;
    let mut result = OrdersResult {
        act,
        decided_ms: moments.committed.map(|at| timeline.ms(at)),
        promoted_ms: moments.promoted.map(|at| timeline.ms(at)),
        rto_ms: orders.longest_gap(at.at).as_secs_f64() * 1000.0,
        acked: orders.record.acks.len() as u64,
        lost: orders.lost(&to)?.len() as u64,
        cut: orders.record.errors_total(),
        alike: alike.len(),
        back_s: None,
        broken: broken(&orders),
    };
    println!(
        "  {:>12}  {} orders acknowledged, {} lost; the same rows on {}",
        "",
        result.acked,
        result.lost,
        alike.join(", ")
    );
    match back {
        Return::InStep(seconds) => result.back_s = Some(seconds),
        Return::Apart(sentence) => {
            result.broken.push(format!("{from} did not come back: {sentence}"));
            if server(lab, &from)?.value("SELECT @@read_only")? == "0" {
                result.broken.push(format!("{from} takes orders, and is not the primary"));
            }
        }
    }
    if result.lost > 0 {
        result.broken.push(format!("{} acknowledged orders are lost", result.lost));
    }
    Ok(result)
}

fn cause(lab: &Lab, act: OrdersAct, from: &str) -> Result<Moment> {
    match act {
        OrdersAct::CrashAndRejoin => {
            let report = lab.fault(Fault::Kill, from)?;
            tell(0.0, &format!("{from} is killed"));
            Ok(report.at)
        }
        OrdersAct::HangAndReturn => {
            let report = lab.fault(Fault::Hang, from)?;
            tell(0.0, &format!("{from} stands still"));
            Ok(report.at)
        }
        OrdersAct::Switchover => {
            let others = lab.state()?.databases.into_iter().map(|member| member.server.name);
            let to = others.into_iter().find(|name| name != from);
            let to = to.ok_or_else(|| LabError::Refused("there is no replica.".to_owned()))?;
            let at = lab.switch_over_of(SERVICE, &to)?;
            tell(0.0, &format!("{to} is asked to take over from {from}"));
            Ok(at)
        }
    }
}

/// Tells what happens until orders are taken again.
fn watch(lab: &Lab, timeline: &mut Timeline, writers: &OrderWriters) -> Result<()> {
    let mut promoted_at = None;
    let done = poll_every(LOOK, LIMIT, || {
        for news in timeline.look(lab) {
            tell(news.ms, &news.line);
        }
        if timeline.is_promoted() && promoted_at.is_none() {
            promoted_at = Some(writers.acknowledged());
        }
        promoted_at.filter(|then| writers.acknowledged() >= then + SOME).map(drop)
    });
    done.ok_or_else(|| LabError::Deadline {
        what: "that orders are taken again".to_owned(),
        waited: LIMIT,
        hint: format!("Look with `backstay status --config {}/backstay.toml`.", lab.dir().display()),
    })
}

/// What was killed or stopped goes on, as a replica.
fn bring_back(lab: &Lab, act: OrdersAct, old: &str) -> Result<Return> {
    let begun = Instant::now();
    let waiting = wait_for("waiting until every MariaDB is in step again");
    let fault = match act {
        OrdersAct::CrashAndRejoin => Some(Fault::Restart),
        OrdersAct::HangAndReturn => Some(Fault::Resume),
        OrdersAct::Switchover => None,
    };
    if let Some(fault) = fault {
        lab.fault(fault, old)?;
    }
    let mut rebuilt = false;
    let back = poll_until(BACK_LIMIT, || {
        let service = status(lab).ok()?;
        // What is said of somebody who has just woken may be older than that.
        if in_step(&service) && follows(lab, old, &service).unwrap_or(false) {
            return Some(Return::InStep(begun.elapsed().as_secs_f64()));
        }
        if !rebuilt && service.problems.iter().any(|problem| problem.code == DIVERGED) {
            println!(
                "  {:>12}  {old} wakes with orders that nobody else has; an operator has it rebuilt (backstay rebuild)",
                ""
            );
            rebuilt = lab.rebuild(SERVICE, old).is_ok();
        }
        None
    });
    waiting.finish_and_clear();
    let problem = || Some(status(lab).ok()?.problems.first()?.sentence.clone());
    let back =
        back.unwrap_or_else(|| Return::Apart(problem().unwrap_or_else(|| "nobody says why".to_owned())));
    if let Some(outcome) = rebuilt.then(|| told_of_rebuild(lab, old)).flatten() {
        println!("  {:>12}  {outcome}", "");
    }
    if let Return::InStep(seconds) = back {
        println!("  {:>12}  {old} is a replica and in step after {seconds:.1} s", "");
    }
    Ok(back)
}

/// What became of its rebuild, and where lies what only it held.
fn told_of_rebuild(lab: &Lab, instance: &str) -> Option<String> {
    let rebuilds = status(lab).ok()?.rebuilds;
    let rebuild = rebuilds.into_iter().rfind(|rebuild| rebuild.instance.as_str() == instance)?;
    let ended = EventKind::RebuildEnded { instance: rebuild.instance.clone(), outcome: rebuild.outcome? };
    let saved = rebuild.saved.and_then(|saved| saved.file);
    Some(saved.map_or_else(|| ended.to_string(), |file| format!("{ended}; that is kept in {file}")))
}

/// What the primary has now is there, too, within a second.
fn follows(lab: &Lab, old: &str, service: &ServiceStatus) -> Result<bool> {
    let Some(primary) = service.primary.as_ref().filter(|primary| primary.as_str() != old) else {
        return Ok(false);
    };
    let position = server(lab, primary.as_str())?.value("SELECT @@gtid_binlog_pos")?;
    Ok(server(lab, old)?.value(&format!("SELECT MASTER_GTID_WAIT('{position}', 1)"))? == "0")
}

fn in_step(service: &ServiceStatus) -> bool {
    let all = service.instances.iter().all(|instance| instance.in_sync);
    all && service.problems.is_empty() && service.phase == "stable"
}

/// Whoever is in step and holds the same rows as the primary.
fn alike(lab: &Lab, primary: &MariaDbServer) -> Result<Vec<String>> {
    let sum = |server: &MariaDbServer| {
        server.ask("CHECKSUM TABLE shop.orders").map(|answer| answer.get("Checksum").map(str::to_owned))
    };
    let expected = sum(primary)?;
    let mut alike = vec![primary.name.clone()];
    for instance in status(lab)?.instances {
        let name = instance.name.to_string();
        if name == primary.name || !instance.in_sync {
            continue;
        }
        let server = server(lab, &name)?;
        await_same(&server, primary)?;
        if sum(&server)? != expected {
            return Err(LabError::Answer { from: name, what: format!("other rows than {}", primary.name) });
        }
        alike.push(name);
    }
    Ok(alike)
}

fn broken(orders: &Orders) -> Vec<String> {
    let other = orders.record.errors.iter().filter(|(kind, _)| *kind != "connection closed");
    other.map(|(kind, count)| format!("clients saw '{kind}' {count} times")).collect()
}

fn await_orders(writers: &OrderWriters, count: u64) -> Result<()> {
    wait_until("orders through the gateway", LIMIT, || (writers.acknowledged() >= count).then_some(()))
}

fn status(lab: &Lab) -> Result<ServiceStatus> {
    let found = lab.cluster_status()?.services.into_iter().find(|service| service.name.as_str() == SERVICE);
    found.ok_or_else(|| LabError::Refused(format!("the controllers know of no service '{SERVICE}'.")))
}

fn primary(lab: &Lab) -> Result<String> {
    wait_until("a primary of the orders", LIMIT, || Some(status(lab).ok()?.primary?.to_string()))
}

fn server(lab: &Lab, name: &str) -> Result<MariaDbServer> {
    let found = lab.state()?.databases.into_iter().find(|member| member.server.name == name);
    found.map(|member| member.server).ok_or_else(|| LabError::Refused(format!("{name} is not of this lab.")))
}

fn gateway(lab: &Lab) -> Result<SocketAddr> {
    let address = lab.gateways()?.first().and_then(|gateway| Some(gateway.sql_addresses()?[0]));
    address.ok_or_else(|| LabError::Refused("this lab has no SQL gateway.".to_owned()))
}
