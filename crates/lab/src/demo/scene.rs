//! One act: the lab is whole, something happens to its primary, writes go on elsewhere, what died comes back, and what
//! was promised is checked.

use crate::bench::gateway::failover::sum_up;
use crate::demo::act::Act;
use crate::demo::report::ActResult;
use crate::demo::timeline::{Timeline, epoch};
use crate::demo::{HEALTHY_LIMIT, RUN, tell, wait_for};
use crate::error::{LabError, Result};
use crate::load::checker::{Expected, missing};
use crate::load::crowd::Crowd;
use crate::load::light::{LightWriter, key};
use crate::load::record::Ack;
use crate::load::zombie::{PatientReport, PatientWriters};
use crate::servers::gateway::GatewayServer;
use crate::servers::process::Moment;
use crate::servers::redis::RedisServer;
use crate::stack::fault::Fault;
use crate::stack::lab::Lab;
use crate::wait::{poll_every, poll_until, wait_until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// No recovery within this time is a broken promise.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);
/// How long the controllers may take to tell the rest after the client has seen its write.
const STORY_LIMIT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(3);
/// How long an old primary is watched after it woke.
const ZOMBIE_WATCH: Duration = Duration::from_secs(1);
/// The client writes so many keys after everything is well again, for the checker to look at.
const WRITES_AFTER: usize = 300;
/// Writes younger than this at the fault may not have reached every replica.
const SETTLED: Duration = Duration::from_millis(200);

/// Plain clients that know nothing but the address of a gateway.
const PLAIN_CLIENTS: usize = 50;

/// A lab with a writing client.
#[derive(Debug)]
pub struct Scene<'a> {
    lab: &'a Lab,
    writer: &'a LightWriter,
    known_lost: BTreeSet<String>,
}

/// Plain clients at work.
struct Shop {
    crowd: Crowd,
    run: String,
}

/// What was done, to be undone later.
struct Deed {
    at: Moment,
    killed: Vec<String>,
    patients: Option<PatientWriters>,
}

impl<'a> Scene<'a> {
    /// Nothing has happened yet.
    pub fn new(lab: &'a Lab, writer: &'a LightWriter) -> Self {
        Self { lab, writer, known_lost: BTreeSet::new() }
    }

    /// Plays one act to its end.
    pub fn play(&mut self, act: Act) -> Result<ActResult> {
        let primary = self.lab.primary()?;
        let service = self.lab.state()?.service;
        let before = epoch(self.lab, &service)?;
        let shop = self.open_shop(act)?;
        let (acks_before, errors_before) = self.counts();
        let deed = self.cause(act, &primary)?;
        let mut timeline = Timeline::new(&service, before, deed.at);
        let first = self.watch(&mut timeline, &primary, deed.at);
        let mut result = ActResult::new(act, &timeline, first.map(|ack| deed.at.ms_to(ack.acknowledged)));
        if first.is_none() {
            result.broken.push(format!("no write was acknowledged within {} s", RECOVERY_LIMIT.as_secs()));
        }
        if act == Act::RestartEmpty {
            result.broken.extend(self.wiped_replicas(&primary, deed.at.at)?);
        }
        result.zombie_accepted = self.wake(&primary, deed.patients)?.map(|zombie| zombie.accepted);
        if let Some(accepted) = result.zombie_accepted.filter(|accepted| *accepted > 0) {
            result.broken.push(format!("the old primary accepted {accepted} writes after it woke"));
        }
        match self.heal(&deed.killed) {
            Ok(()) => self.write_on(),
            Err(error) => result.stuck = Some(error.to_string()),
        }
        if act == Act::RestartEmpty {
            result.broken.extend(self.wiped_replicas(&primary, deed.at.at)?);
            result.broken.dedup();
        }
        let (acks, errors) = self.counts();
        result.acked = (acks - acks_before) as u64;
        result.errors = errors - errors_before;
        if result.stuck.is_some() {
            return Ok(result);
        }
        result.lost = self.newly_lost()?;
        if result.lost > 0 {
            result.broken.push(format!("{} acknowledged writes are gone", result.lost));
        }
        println!(
            "  {:>12}  {} writes acknowledged, {} lost, {} errors seen",
            "", result.acked, result.lost, result.errors
        );
        self.close_shop(shop, &mut result)?;
        Ok(result)
    }

    /// Lets plain clients write through the gateways.
    fn open_shop(&self, act: Act) -> Result<Shop> {
        let gateways: Vec<_> = self.lab.gateways()?.iter().map(GatewayServer::address).collect();
        let run = format!("{RUN}-{act:?}");
        let crowd = Crowd::start(&gateways, PLAIN_CLIENTS, &run);
        wait_until("the first writes through the gateways", HEALTHY_LIMIT, || {
            crowd.acknowledged().iter().all(|count| *count > 0).then_some(())
        })?;
        Ok(Shop { crowd, run })
    }

    /// What plain clients saw.
    fn close_shop(&self, shop: Shop, result: &mut ActResult) -> Result<()> {
        let records = shop
            .crowd
            .stop()
            .map_err(|source| LabError::Connection { to: "the gateways".to_owned(), source })?;
        let seen = sum_up(&records, |_| true, self.lab.primary()?.address(), &shop.run)?;
        let longest = seen.client_gaps_ms.iter().fold(0.0_f64, |longest, gap| longest.max(*gap));
        let errors = match seen.errors() {
            0 => "no error".to_owned(),
            count => format!("{count} writes whose outcome nobody can tell"),
        };
        println!(
            "  {:>12}  behind gateways, {PLAIN_CLIENTS} plain clients: {errors}, nobody waited longer than {longest:.0} ms, {} \
             writes acknowledged, {} lost",
            "", seen.acked, seen.lost
        );
        if seen.lost > 0 {
            result.broken.push(format!("{} writes that a gateway acknowledged are gone", seen.lost));
        }
        let other = seen.errors_by_kind.keys().find(|kind| *kind != "UNKNOWNOUTCOME");
        if let Some(other) = other {
            result.broken.push(format!("clients of a gateway saw {other}"));
        }
        (result.gateway_ms, result.gateway_errors) = (longest, seen.errors());
        Ok(())
    }

    fn counts(&self) -> (usize, u64) {
        let record = self.writer.record().lock();
        (record.acks.len(), record.errors_total())
    }

    fn cause(&self, act: Act, primary: &RedisServer) -> Result<Deed> {
        let name = primary.name.as_str();
        let mut deed = Deed { at: Moment::now(), killed: Vec::new(), patients: None };
        match act {
            Act::Crash => {
                deed.at = self.lab.fault(Fault::Kill, name)?.at;
                deed.killed.push(name.to_owned());
                tell(0.0, &format!("{name} is killed"));
            }
            Act::HangAndReturn => {
                deed.at = self.lab.fault(Fault::Hang, name)?.at;
                tell(0.0, &format!("{name} stands still"));
                deed.patients = Some(PatientWriters::queue_up(primary.address(), RUN)?);
            }
            Act::CrashWithLeader => {
                let leader = self.lab.leader()?.ok_or_else(|| LabError::Answer {
                    from: "the controllers".to_owned(),
                    what: "nobody leads".to_owned(),
                })?;
                deed.at = self.lab.fault_all(Fault::Kill, &[name, &leader])?.at;
                tell(0.0, &format!("{name} and the leading controller {leader} are killed"));
                deed.killed.extend([name.to_owned(), leader]);
            }
            Act::Switchover => {
                let replicas = self.lab.replicas()?;
                let to =
                    replicas.first().ok_or_else(|| LabError::Refused("there is no replica.".to_owned()))?;
                deed.at = self.lab.switch_over(&to.name)?;
                tell(0.0, &format!("{} is asked to take over from {name}", to.name));
            }
            Act::RestartEmpty => {
                deed.at = self.lab.fault(Fault::RestartEmpty, name)?.at;
                tell(0.0, &format!("{name} is killed and started again without its data"));
            }
        }
        Ok(deed)
    }

    /// Tells what happens, until the client's write went through and the controllers have said how.
    fn watch(&self, timeline: &mut Timeline, old: &RedisServer, fault: Moment) -> Option<Ack> {
        let mut first = None;
        poll_every(LOOK, RECOVERY_LIMIT, || {
            for news in timeline.look(self.lab) {
                tell(news.ms, &news.line);
            }
            first = self.writer.record().lock().first_elsewhere(old.address(), fault.at);
            first.map(|ack| {
                let ms = fault.ms_to(ack.acknowledged);
                tell(ms, &format!("the client's first write is acknowledged by {}", self.name_of(ack)));
            })
        });
        poll_until(STORY_LIMIT, || {
            for news in timeline.look(self.lab) {
                tell(news.ms, &news.line);
            }
            timeline.is_promoted().then_some(())
        });
        first
    }

    fn name_of(&self, ack: Ack) -> String {
        let instances = self.lab.instances().unwrap_or_default();
        let found = instances.into_iter().find(|instance| instance.address() == ack.server);
        found.map_or_else(|| ack.server.to_string(), |instance| instance.name)
    }

    /// The old primary wakes; its patient clients are watched.
    fn wake(&self, old: &RedisServer, patients: Option<PatientWriters>) -> Result<Option<PatientReport>> {
        let Some(patients) = patients else {
            return Ok(None);
        };
        self.lab.fault(Fault::Resume, &old.name)?;
        let report = patients.watch(ZOMBIE_WATCH);
        println!(
            "  {:>12}  {} wakes: it accepts {} writes, refuses {} and turns {} of its clients away",
            "", old.name, report.accepted, report.refused, report.turned_away
        );
        Ok(Some(report))
    }

    /// Starts what was killed and waits until the lab is whole.
    fn heal(&self, killed: &[String]) -> Result<()> {
        let begun = Instant::now();
        let waiting = wait_for("waiting until every replica is in step again");
        for name in killed {
            self.lab.fault(Fault::Restart, name)?;
        }
        self.lab.await_healthy(HEALTHY_LIMIT)?;
        waiting.finish_and_clear();
        let started = if killed.is_empty() {
            String::new()
        } else {
            format!("{} started again; ", killed.join(" and "))
        };
        println!("  {:>12}  {started}all is well after {:.1} s", "", begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn write_on(&self) {
        let goal = self.counts().0 + WRITES_AFTER;
        // If writes have stopped again, the next act will say so.
        let _ = poll_until(STORY_LIMIT, || (self.counts().0 >= goal).then_some(()));
    }

    /// Instances other than `old` that miss a key which was safely there before the fault.
    fn wiped_replicas(&self, old: &RedisServer, fault: Instant) -> Result<Vec<String>> {
        let settled = fault.checked_sub(SETTLED).unwrap_or(fault);
        let mut expected = self.expected(|ack| ack.acknowledged < settled);
        expected.retain(|wanted| !self.known_lost.contains(&wanted.key));
        let mut broken = Vec::new();
        for instance in self.lab.instances()? {
            if instance.name != old.name {
                let lost = missing(instance.address(), &expected)?.len();
                if lost > 0 {
                    broken.push(format!(
                        "{} lost {lost} keys because {} came back empty",
                        instance.name, old.name
                    ));
                }
            }
        }
        Ok(broken)
    }

    /// Acknowledged writes that the primary does not have, and that were not counted before.
    fn newly_lost(&mut self) -> Result<u64> {
        let lost = missing(self.lab.primary()?.address(), &self.expected(|_| true))?;
        let known = self.known_lost.len();
        self.known_lost.extend(lost);
        Ok((self.known_lost.len() - known) as u64)
    }

    fn expected(&self, wanted: impl Fn(&&Ack) -> bool) -> Vec<Expected> {
        let record = self.writer.record().lock();
        let expect = |ack: &Ack| Expected { key: key(RUN, ack.number), value: Some(ack.number.to_string()) };
        record.acks.iter().filter(wanted).map(expect).collect()
    }
}
