//! A lab of real servers, and the few words in which the failovers on it are told.

use super::terminal::Terminal;
use super::{Outcome, run};
use backstay_lab::load::checker::{Expected, missing};
use backstay_lab::load::connection::{is_ok, items, text};
use backstay_lab::load::light::{LightWriter, key};
use backstay_lab::load::record::Ack;
use backstay_lab::servers::process::Process;
use backstay_lab::servers::redis::{RedisServer, Role};
use backstay_lab::wait::{poll_every, wait_until};
use backstay_lab::{Options, ScopedLab, admin};
use backstay_model::{ClusterStatus, FailoverRecord, ServiceStatus};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a busy machine: nothing here measures.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long something that must not happen is looked for.
pub(crate) const A_WHILE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
/// The `min-replicas-to-write` of an instance that Backstay closed.
const CLOSED: u64 = 1_000_000;

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_until(what, LIMIT, look).unwrap()
}

/// Looks for a while for what must not happen.
pub(crate) fn never(look: impl FnMut() -> Option<String>) {
    if let Some(wrong) = poll_every(LOOK, A_WHILE, look) {
        panic!("{wrong}");
    }
}

/// A lab that ends with the test.
pub(crate) struct Group {
    lab: ScopedLab,
    temporary: TempDir,
}

impl Deref for Group {
    type Target = ScopedLab;

    fn deref(&self) -> &ScopedLab {
        &self.lab
    }
}

impl Group {
    /// Three controllers, three instances, one of them the primary.
    pub(crate) fn up() -> Self {
        Self::of(3, 3)
    }

    /// So many controllers and instances.
    pub(crate) fn of(controllers: usize, redis: usize) -> Self {
        Self::with(Options { controllers, redis, ..Options::default() })
    }

    /// As `up`, with controllers that this program runs.
    pub(crate) fn by(program: &Path) -> Self {
        Self::with(Options { backstay: Some(program.to_owned()), ..Options::default() })
    }

    /// As these options say, run by the program that was built here unless they name another.
    pub(crate) fn with(mut options: Options) -> Self {
        options.backstay.get_or_insert_with(|| PathBuf::from(env!("CARGO_BIN_EXE_backstay")));
        options.ready_limit = LIMIT;
        let redis = options.redis;
        let group = Self { lab: ScopedLab::up(&options).unwrap(), temporary: tempfile::tempdir().unwrap() };
        if redis > 1 {
            group.await_healthy(LIMIT).unwrap();
        }
        group
    }

    /// Runs `backstay` with these words and the group's configuration.
    pub(crate) fn backstay(&self, words: &[&str]) -> Outcome {
        let file = self.config();
        let config = ["--config", file.to_str().unwrap()];
        run(self.temporary.path(), &[words, &config].concat())
    }

    /// Runs it on a terminal.
    pub(crate) fn on_terminal(&self, words: &[&str]) -> Terminal {
        let file = self.config();
        let config = ["--config", file.to_str().unwrap()];
        Terminal::run(self.temporary.path(), &[words, &config].concat())
    }

    /// What a command that must succeed says.
    pub(crate) fn told(&self, words: &[&str]) -> String {
        let outcome = self.backstay(words);
        assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:?}");
        outcome.stdout
    }

    /// The file that all controllers read.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir().join("backstay.toml")
    }

    /// What `config check` says about it.
    pub(crate) fn checked(&self) -> String {
        let file = self.config();
        let outcome = run(self.temporary.path(), &["config", "check", file.to_str().unwrap()]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.stdout
    }

    /// The admin socket of the controller called `name`.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        let controllers = self.state().unwrap().controllers;
        let found = controllers.into_iter().find(|member| member.server.name == name);
        found.unwrap().server.admin
    }

    /// What one controller says.
    pub(crate) fn status_of(&self, controller: &str) -> Option<ClusterStatus> {
        admin::status(&self.socket(controller)).ok()
    }

    /// Who leads.
    pub(crate) fn await_leader(&self) -> String {
        until("a leader", || self.leader().ok().flatten())
    }

    /// The service as a controller in touch with a quorum sees it.
    pub(crate) fn service(&self) -> Option<ServiceStatus> {
        let status = self.cluster_status().ok().filter(|status| status.quorum)?;
        status.services.into_iter().next()
    }

    /// Its epoch.
    pub(crate) fn epoch(&self) -> u64 {
        until("an epoch", || self.service()).epoch.0
    }

    /// The sentence of this problem, if it is shown.
    pub(crate) fn problem(&self, code: &str) -> Option<String> {
        let found = self.service()?.problems.into_iter().find(|it| it.code == code);
        found.map(|problem| problem.sentence)
    }

    /// Every failover, as the leader knows them.
    pub(crate) fn history(&self) -> Option<Vec<FailoverRecord>> {
        let leader = self.leader().ok().flatten()?;
        admin::history(&self.socket(&leader)).ok()
    }

    /// The same, as one controller knows them.
    pub(crate) fn history_of(&self, controller: &str) -> Option<Vec<FailoverRecord>> {
        admin::history(&self.socket(controller)).ok()
    }

    /// The primary that the controllers name.
    pub(crate) fn named_primary(&self) -> RedisServer {
        let name = until("a primary", || self.service()?.primary);
        self.instance(name.as_str()).unwrap()
    }

    /// Every other instance.
    pub(crate) fn others(&self, than: &RedisServer) -> Vec<RedisServer> {
        let mut instances = self.instances().unwrap();
        instances.retain(|instance| instance.name != than.name);
        instances
    }

    /// Waits until a failover after `epoch` has ended with a write.
    pub(crate) fn await_failover(&self, epoch: u64) -> FailoverRecord {
        until("the end of a failover", || {
            let service = self.service().filter(|service| service.phase == "stable")?;
            let last = self.history()?.pop()?;
            let ended = last.epoch.0 > epoch && last.epoch == service.epoch;
            (ended && last.moments.first_write.is_some()).then_some(last)
        })
    }

    /// The instances that take writes now.
    pub(crate) fn writable(&self) -> Vec<String> {
        let mut instances = self.instances().unwrap();
        instances.retain(|it| matches!(it.role(), Ok(Role::Primary { .. })) && guard(it) < Some(CLOSED));
        instances.into_iter().map(|instance| instance.name).collect()
    }

    /// The process that the server called `name` last was.
    pub(crate) fn process(&self, name: &str) -> Process {
        let state = self.state().unwrap();
        let found = state.processes().into_iter().find(|(of, _)| *of == name);
        found.unwrap().1
    }

    /// A client that writes until it is stopped.
    pub(crate) fn writer(&self) -> LightWriter {
        let writer = LightWriter::start(self.client().unwrap(), "t");
        until("the first hundred writes", || (writer.record().lock().acks.len() >= 100).then_some(()));
        writer
    }

    /// Stops the client: the primary has everything that was ever acknowledged.
    pub(crate) fn expect_all_written(&self, writer: LightWriter) {
        assert_acknowledged(&self.named_primary(), &writer.stop().acks);
    }
}

/// Waits until somebody else than `old` acknowledged a write after `since`.
pub(crate) fn await_writes_elsewhere(writer: &LightWriter, old: SocketAddr, since: Instant) {
    until("a write through another primary", || writer.record().lock().first_elsewhere(old, since));
}

/// Every write that was acknowledged before this call is on `server`, with its value.
pub(crate) fn assert_acknowledged(server: &RedisServer, acks: &[Ack]) {
    let expect = |ack: &Ack| Expected { key: key("t", ack.number), value: Some(ack.number.to_string()) };
    let expected: Vec<_> = acks.iter().map(expect).collect();
    let lost = missing(server.address(), &expected).unwrap();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged writes are not on {}, as {:?}",
        lost.len(),
        expected.len(),
        server.name,
        &lost[..lost.len().min(3)]
    );
}

/// Its `min-replicas-to-write`, if it answers.
pub(crate) fn guard(server: &RedisServer) -> Option<u64> {
    let reply = server.ask(&["CONFIG", "GET", "min-replicas-to-write"]).ok()?;
    text(items(&reply)?.get(1)?).parse().ok()
}

/// A field of its `INFO`.
pub(crate) fn info(server: &RedisServer, field: &str) -> String {
    server.info(field).unwrap().unwrap_or_default()
}

/// One command that must be answered with OK.
pub(crate) fn ok(server: &RedisServer, request: &[&str]) {
    let reply = server.ask(request).unwrap();
    assert!(is_ok(&reply), "{request:?} to {}: {reply:?}", server.name);
}

/// Writes `count` keys with this prefix.
pub(crate) fn fill(server: &RedisServer, prefix: &str, count: usize) {
    let mut link = server.connect().unwrap();
    for number in 0..count {
        let reply = link.call(&["SET", &format!("{prefix}:{number}"), "value"]).unwrap();
        assert!(is_ok(&reply), "{reply:?}");
    }
}

/// How many of the keys with this prefix it holds.
pub(crate) fn count(server: &RedisServer, prefix: &str, count: usize) -> usize {
    let wanted: Vec<_> = (0..count)
        .map(|number| Expected { key: format!("{prefix}:{number}"), value: Some("value".to_owned()) })
        .collect();
    count - missing(server.address(), &wanted).unwrap().len()
}

/// Whether it follows `primary` with a link that is up.
pub(crate) fn follows(replica: &RedisServer, primary: &RedisServer) -> bool {
    let role = replica.role();
    matches!(role, Ok(Role::Replica { of, linked: true, .. }) if of == primary.port)
}

/// Whether it takes itself for a primary.
pub(crate) fn is_primary(server: &RedisServer) -> bool {
    matches!(server.role(), Ok(Role::Primary { .. }))
}
