//! One controller's link to one instance: when to connect, what to send, what the replies mean. A value-in, value-out
//! machine; whoever owns the socket feeds it and does what it says.
//!
//! There is one connection per link, and everything but a MariaDB's canary goes over it in order. That order carries
//! promises: a fence behind an older unanswered `PING` lets nothing through, a revocation behind a promotion runs with
//! nothing in between, and an `INFO` behind a freeze is what the freeze found (safety, sections 2 and 4).
//!
//! It holds no opinion but its own instance's health, and knows nothing of quorums.

mod mariadb;
mod orders;
mod redis;

use backstay_model::{
    CLOSED, Command, Engine, Epoch, Evidence, Fault, Health, Info, Observation, Order, Replication, Reply,
    Role, RunId, Sentinels, Time,
};
use std::collections::VecDeque;
use std::time::Duration;

/// How long after an answered `PING` a promotion may be sent on the same connection.
const FRESHNESS: Duration = Duration::from_millis(100);
/// The pause between two refused connections: "twice within milliseconds".
const SECOND_TRY: Duration = Duration::from_millis(2);
/// How often a healthy instance is asked for its replication state.
const INFO_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked for its keys: one that was emptied by hand may be taken into the group.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is asked for Sentinels, at the next `INFO`. They say hello every 2 s.
const SENTINELS_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause between two second connections to an instance that is late and accepts them.
const CHECK_PAUSE_MAX: Duration = Duration::from_secs(4);
/// How much later than asked a wakeup may come before the silence is held to be our own.
const LATE: Duration = Duration::from_millis(100);

/// How an instance is watched.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Silence of this length makes it suspect.
    pub down_after: Duration,
    /// The time between two `PING`s to a primary, or to one that is watched closely. One that follows another decides
    /// nothing by its silence and is asked only twice in a `down_after`.
    pub probe_interval: Duration,
    /// What is at the other end.
    pub engine: Engine,
}

/// What happened to the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkInput {
    /// Time passed; call at or before `next_wakeup`.
    Wake,
    /// The connection that `Connect` asked for is open.
    Connected,
    /// It could not be opened.
    ConnectFailed(ConnectFailure),
    /// The open connection ended.
    Closed,
    /// The next reply, in the order of the commands.
    Reply(Reply),
    /// The outcome of a `Check`.
    Checked(Result<(), ConnectFailure>),
    /// The outcome of a `Write`, and the process that it was tried with. None: no connection for it came about.
    Wrote(Option<(RunId, Result<(), Fault>)>),
    /// Do this, unless its deadline has passed.
    Order(Order),
    /// Ask for the replication state this often until then.
    Watch {
        /// How often.
        interval: Duration,
        /// Until when.
        until: Time,
    },
}

/// Why no connection could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The host answered that nobody listens.
    Refused,
    /// No answer, or no way there.
    Unreachable,
    /// The name does not resolve and never did.
    NameUnresolved,
    /// It answered, and there is no TLS with it: up, but useless.
    NoTls(Fault),
}

/// What the owner of the socket must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// Open the connection; answer `Connected` or `ConnectFailed`.
    Connect,
    /// Open a second connection and close it; answer `Checked`.
    Check,
    /// Write the canary on a connection of its own, however long it takes; answer `Wrote`.
    Write,
    /// Write these in one piece.
    Send(Vec<Command>),
    /// Tell the brain.
    Observe(Observation),
}

#[derive(Debug)]
struct Sent {
    command: Command,
    at: Time,
    purpose: Purpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Probe,
    Freeze(Epoch),
    Pause(Epoch),
    Canary,
    Order,
}

#[derive(Debug, PartialEq, Eq)]
enum Connection {
    Waiting { until: Time },
    Connecting,
    Open,
}

/// One link. See the module's head.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    connection: Connection,
    outstanding: VecDeque<Sent>,
    health: Health,
    run_id: Option<RunId>,
    /// What was last seen on this connection.
    seen: Option<Info>,
    /// A `Write` is under way.
    writing: bool,
    write_guard: u64,
    guard_ignored: bool,
    /// The time between two `PING`s while all is well.
    calm_interval: Duration,
    /// The identity said that the data set was still loading, so its key count must be asked for again.
    identity_stale: bool,
    refusals: u32,
    check: Check,
    /// The pause after the next check, unless the last one is long ago.
    check_pause: Duration,
    last_check: Time,
    next_ping: Time,
    next_info: Time,
    next_identity: Time,
    next_sentinels: Time,
    /// What the brain was told of Sentinels on this connection.
    sentinels: Sentinels,
    watch: Option<(Duration, Time)>,
    /// Answered `PING` on this connection.
    last_pong: Option<Time>,
    /// The last sign of life on any connection, or the moment since which silence counts.
    last_sign: Time,
    /// Something was answered on this connection, so the instance has accepted it.
    accepted: bool,
    /// A promotion that waits for a fresh `PONG`.
    waiting_promotion: Option<Order>,
    wakeup: Time,
}

#[derive(Debug, PartialEq, Eq)]
enum Check {
    Idle { next: Time },
    Running,
}

impl Link {
    /// A link that was never connected. Step it with `Wake` at once.
    pub fn new(settings: LinkSettings, now: Time) -> Self {
        Self {
            calm_interval: settings.probe_interval,
            check_pause: settings.probe_interval,
            last_check: Time::ZERO,
            settings,
            connection: Connection::Waiting { until: now },
            outstanding: VecDeque::new(),
            health: Health::Unknown,
            run_id: None,
            seen: None,
            writing: false,
            write_guard: 0,
            guard_ignored: false,
            identity_stale: false,
            refusals: 0,
            check: Check::Idle { next: Time::ZERO },
            next_ping: now,
            next_info: now,
            next_identity: now,
            next_sentinels: now,
            sentinels: Sentinels::Unknown,
            watch: None,
            last_pong: None,
            last_sign: now,
            accepted: false,
            waiting_promotion: None,
            wakeup: now,
        }
    }

    /// The command that the next reply belongs to, for whoever translates bytes.
    pub fn awaiting(&self) -> Option<&Command> {
        self.outstanding.front().map(|sent| &sent.command)
    }

    /// When to call with `Wake` at the latest. Earlier and repeated calls are harmless.
    pub const fn next_wakeup(&self) -> Time {
        self.wakeup
    }

    /// Advances the link to `now` with one input. Outputs must be carried out in order.
    #[must_use]
    pub fn step(&mut self, now: Time, input: LinkInput) -> Vec<LinkOutput> {
        let mut out = Vec::new();
        if now > self.wakeup + LATE {
            // We stood still, so answers may lie unread: silence starts anew.
            self.last_sign = now;
        }
        match input {
            LinkInput::Wake => {}
            LinkInput::Connected => self.connected(now, &mut out),
            LinkInput::ConnectFailed(failure) => self.connect_failed(now, failure, &mut out),
            LinkInput::Closed => self.closed(now),
            LinkInput::Reply(reply) => self.reply(now, reply, &mut out),
            LinkInput::Checked(result) => self.checked(now, result, &mut out),
            LinkInput::Wrote(outcome) => self.wrote(outcome, &mut out),
            LinkInput::Order(order) => self.order(now, order, &mut out),
            LinkInput::Watch { interval, until } => self.watch(now, interval, until),
        }
        self.due(now, &mut out);
        self.judge_silence(now, &mut out);
        self.wakeup = self.earliest_timer(now);
        out
    }

    fn connected(&mut self, now: Time, out: &mut Vec<LinkOutput>) {
        self.connection = Connection::Open;
        self.refusals = 0;
        self.outstanding.clear();
        self.accepted = false;
        self.run_id = None;
        self.seen = None;
        self.last_pong = None;
        self.calm_interval = self.settings.probe_interval;
        self.next_ping = now + self.settings.probe_interval;
        self.next_info = now + INFO_INTERVAL;
        self.next_identity = now + IDENTITY_INTERVAL;
        self.next_sentinels = now + SENTINELS_INTERVAL;
        self.sentinels = Sentinels::Unknown;
        let hello = match self.settings.engine {
            Engine::Redis(_) => redis::HELLO.to_vec(),
            Engine::MariaDb(_) | Engine::MySql(_) => mariadb::HELLO.to_vec(),
        };
        self.send(now, hello, &Purpose::Probe, out);
    }

    fn connect_failed(&mut self, now: Time, failure: ConnectFailure, out: &mut Vec<LinkOutput>) {
        let retry = match failure {
            ConnectFailure::Refused => {
                self.refused(out);
                if self.refusals < 2 { SECOND_TRY } else { self.settings.probe_interval }
            }
            ConnectFailure::Unreachable => self.settings.probe_interval,
            ConnectFailure::NameUnresolved => {
                self.set_health(Health::Useless(Fault::NameUnresolved), out);
                self.settings.probe_interval
            }
            ConnectFailure::NoTls(fault) => {
                self.last_sign = now;
                self.refusals = 0;
                self.set_health(Health::Useless(fault), out);
                self.settings.probe_interval
            }
        };
        self.connection = Connection::Waiting { until: now + retry };
    }

    fn closed(&mut self, now: Time) {
        self.connection = Connection::Waiting { until: now };
        self.outstanding.clear();
        self.accepted = false;
        self.waiting_promotion = None;
        self.last_pong = None;
    }

    fn checked(&mut self, now: Time, result: Result<(), ConnectFailure>, out: &mut Vec<LinkOutput>) {
        let pause = match result {
            Err(ConnectFailure::Refused) => {
                self.refused(out);
                if self.refusals < 2 { SECOND_TRY } else { self.settings.probe_interval }
            }
            Ok(()) => {
                self.refusals = 0;
                self.pause_checks(now)
            }
            Err(_) => self.pause_checks(now),
        };
        self.check = Check::Idle { next: now + pause };
    }

    /// The pause after a check that found nothing: twice as long each time, until none was needed for a while. Second
    /// connections to thousands of instances that are slow, perhaps because this machine is, would keep them slow.
    fn pause_checks(&mut self, now: Time) -> Duration {
        let forgotten = now.since(self.last_check) > CHECK_PAUSE_MAX * 2;
        let shortest = self.settings.probe_interval;
        let pause = if forgotten { shortest } else { self.check_pause };
        self.check_pause = (pause * 2).min(CHECK_PAUSE_MAX.max(shortest));
        self.last_check = now;
        pause
    }

    /// Nobody listens. Twice is hard evidence: while one is refused, nobody answers on another connection either,
    /// or an answer will take the suspicion back at once.
    fn refused(&mut self, out: &mut Vec<LinkOutput>) {
        self.refusals += 1;
        if self.refusals >= 2 {
            self.set_health(Health::Down(Evidence::Refused), out);
        }
    }

    fn reply(&mut self, now: Time, reply: Reply, out: &mut Vec<LinkOutput>) {
        let Some(sent) = self.outstanding.pop_front() else {
            return; // A reply to nothing: the owner closes such a connection.
        };
        self.last_sign = now;
        self.accepted = true;
        self.refusals = 0;
        match (reply, sent.purpose) {
            // One that lost its primary and serves no stale data answers this, and is as alive as any.
            (Reply::Pong | Reply::Refused(Fault::PrimaryLost), _) if sent.command == Command::Ping => {
                self.last_pong = Some(now);
                self.set_health(Health::Up, out);
                if self.identity_stale {
                    self.identity_stale = false;
                    self.send(now, vec![Command::Identify], &Purpose::Probe, out);
                }
                self.release_promotion(now, out);
            }
            (Reply::Identity(identity), _) => {
                self.run_id = Some(identity.run_id.clone());
                self.identity_stale = identity.loading;
                out.push(LinkOutput::Observe(Observation::Identity(identity)));
            }
            (Reply::WriteGuard { replicas, max_lag }, _) => {
                // Without a bound on lag Redis ignores the guard.
                self.guard_ignored = max_lag == 0;
                self.write_guard = if max_lag == 0 { 0 } else { replicas };
            }
            (Reply::Info(info), purpose) => self.observe_info(info, &purpose, out),
            (Reply::Done, Purpose::Canary) => {
                if let Some(run_id) = self.run_id.clone() {
                    out.push(LinkOutput::Observe(Observation::CanaryAcknowledged { run_id }));
                }
            }
            (Reply::Sentinels(count), _) => self.observe_sentinels(Sentinels::Seen(count), out),
            // Whether Sentinels can be seen says nothing about the instance's health.
            (Reply::Refused(fault), _) if sent.command == Command::Sentinels => {
                if fault == Fault::NoPermission {
                    self.observe_sentinels(Sentinels::Hidden, out);
                }
            }
            (Reply::Pong | Reply::Done, _) => {}
            (Reply::Refused(fault), Purpose::Probe) => self.set_health(Health::Useless(fault), out),
            (Reply::Refused(fault), purpose) => {
                if matches!(purpose, Purpose::Pause(_)) {
                    // What stands behind it found nothing paused.
                    let behind = self.outstanding.iter_mut().filter(|sent| sent.purpose == purpose);
                    behind.for_each(|sent| sent.purpose = Purpose::Order);
                }
                out.push(LinkOutput::Observe(Observation::OrderRefused { fault }));
            }
        }
    }

    fn wrote(&mut self, outcome: Option<(RunId, Result<(), Fault>)>, out: &mut Vec<LinkOutput>) {
        self.writing = false;
        out.extend(outcome.map(|(run_id, result)| {
            LinkOutput::Observe(match result {
                Ok(()) => Observation::CanaryAcknowledged { run_id },
                Err(fault) => Observation::OrderRefused { fault },
            })
        }));
    }

    fn observe_info(&mut self, info: Info, purpose: &Purpose, out: &mut Vec<LinkOutput>) {
        let Some(run_id) = self.run_id.clone() else {
            return;
        };
        self.seen = Some(info.clone());
        let follows = matches!(info.role, Role::Replica { link_up: true, syncing: false, .. });
        let twice = self.settings.down_after / 2;
        self.calm_interval = self.settings.probe_interval.max(if follows { twice } else { Duration::ZERO });
        let replication = Replication {
            run_id,
            role: info.role,
            replid: info.replid,
            previous: info.previous,
            offset: info.offset,
            closed: info.closed || self.write_guard >= CLOSED,
            sql: info.sql,
        };
        out.push(LinkOutput::Observe(match *purpose {
            Purpose::Freeze(epoch) => Observation::Frozen { epoch, replication },
            Purpose::Pause(epoch) => Observation::Paused { epoch, replication },
            _ => Observation::Replication(replication),
        }));
    }

    fn observe_sentinels(&mut self, sentinels: Sentinels, out: &mut Vec<LinkOutput>) {
        if self.sentinels != sentinels {
            self.sentinels = sentinels;
            out.push(LinkOutput::Observe(Observation::Sentinels(sentinels)));
        }
    }

    fn watch(&mut self, now: Time, interval: Duration, until: Time) {
        self.watch = Some((interval, until));
        self.next_info = self.next_info.min(now + interval);
        self.next_ping = self.next_ping.min(now + self.settings.probe_interval);
    }

    /// Whatever is due: connecting, the next `PING` unless one is unanswered, the next `INFO` likewise, a check.
    fn due(&mut self, now: Time, out: &mut Vec<LinkOutput>) {
        if let Connection::Waiting { until } = self.connection
            && now >= until
        {
            self.connection = Connection::Connecting;
            out.push(LinkOutput::Connect);
        }
        if self.connection == Connection::Open {
            if now >= self.next_ping && !self.awaits(&Command::Ping) {
                self.next_ping = now + self.ping_interval(now);
                self.send(now, vec![Command::Ping], &Purpose::Probe, out);
            }
            if now >= self.next_info && !self.awaits(&Command::Info) {
                let interval = self.info_interval(now);
                self.next_info = now + interval;
                let (mut look, is_redis) = match self.settings.engine {
                    Engine::Redis(_) => (redis::LOOK.to_vec(), true),
                    Engine::MariaDb(_) | Engine::MySql(_) => (mariadb::LOOK.to_vec(), false),
                };
                if is_redis && now >= self.next_sentinels && !self.awaits(&Command::Sentinels) {
                    self.next_sentinels = now + SENTINELS_INTERVAL;
                    look.push(Command::Sentinels);
                }
                self.send(now, look, &Purpose::Probe, out);
            }
            if now >= self.next_identity && !self.awaits(&Command::Identify) {
                self.next_identity = now + IDENTITY_INTERVAL;
                self.send(now, vec![Command::Identify], &Purpose::Probe, out);
            }
        }
        if let Check::Idle { next } = self.check
            && self.is_late(now)
            && now >= next
        {
            self.check = Check::Running;
            out.push(LinkOutput::Check);
        }
    }

    fn judge_silence(&mut self, now: Time, out: &mut Vec<LinkOutput>) {
        let Some(since) = self.silent_since() else {
            return;
        };
        if self.health == Health::Down(Evidence::Refused) {
            return;
        }
        if now.since(since) >= self.settings.down_after {
            if !matches!(self.health, Health::Useless(Fault::NameUnresolved)) {
                self.set_health(Health::Down(Evidence::Silent), out);
            }
        } else if self.is_late(now) && self.health == Health::Up {
            self.set_health(Health::Late, out);
        }
    }

    /// Since when an answer is owed: the oldest unanswered command, or the loss of the connection.
    fn silent_since(&self) -> Option<Time> {
        match self.connection {
            Connection::Open => {
                let sent = self.outstanding.front()?;
                let is_slow = sent.purpose != Purpose::Probe && self.settings.engine.mariadb().is_some();
                let allowed = if is_slow { mariadb::SLOW_ORDER } else { Duration::ZERO };
                Some(sent.at.max(self.last_sign) + allowed)
            }
            _ => Some(self.last_sign),
        }
    }

    /// An open connection owes an answer for too long.
    fn is_late(&self, now: Time) -> bool {
        self.connection == Connection::Open
            && self.silent_since().is_some_and(|since| now.since(since) >= self.late_after())
    }

    /// At least a probe interval, and a quarter of the silence that makes it suspect: with thousands of links every one
    /// that is late by a moment costs two letters and a second connection.
    fn late_after(&self) -> Duration {
        self.settings.probe_interval.max(self.settings.down_after / 4)
    }

    fn set_health(&mut self, health: Health, out: &mut Vec<LinkOutput>) {
        if self.health != health {
            self.health = health.clone();
            out.push(LinkOutput::Observe(Observation::Health(health)));
        }
    }

    fn awaits(&self, command: &Command) -> bool {
        self.outstanding.iter().any(|sent| sent.command == *command)
    }

    fn send(&mut self, now: Time, commands: Vec<Command>, purpose: &Purpose, out: &mut Vec<LinkOutput>) {
        self.outstanding.extend(commands.iter().map(|command| Sent {
            command: command.clone(),
            at: now,
            purpose: purpose.clone(),
        }));
        out.push(LinkOutput::Send(commands));
    }

    fn ping_interval(&self, now: Time) -> Duration {
        let watched = self.watch.is_some_and(|(_, until)| now < until);
        if watched || self.health != Health::Up { self.settings.probe_interval } else { self.calm_interval }
    }

    fn info_interval(&mut self, now: Time) -> Duration {
        match self.watch {
            Some((interval, until)) if now < until => interval,
            _ => {
                self.watch = None;
                INFO_INTERVAL
            }
        }
    }

    fn earliest_timer(&self, now: Time) -> Time {
        let mut earliest = Time::MAX;
        let mut timer = |at: Time| earliest = earliest.min(at);
        match self.connection {
            Connection::Waiting { until } => timer(until),
            Connection::Connecting => {}
            Connection::Open => {
                if !self.awaits(&Command::Ping) {
                    timer(self.next_ping);
                }
                if !self.awaits(&Command::Info) {
                    timer(self.next_info);
                }
                if !self.awaits(&Command::Identify) {
                    timer(self.next_identity);
                }
            }
        }
        if let Some(since) = self.silent_since() {
            let late = since + self.late_after();
            let down = since + self.settings.down_after;
            if now < late {
                timer(late);
            }
            if now < down {
                timer(down);
            }
            if let Check::Idle { next } = self.check
                && self.connection == Connection::Open
            {
                timer(next.max(late));
            }
        }
        earliest.max(now + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests;
