//! The task of a link in front of a real MariaDB: its canaries, and TLS.

#[path = "../../tests/support/redis_certificates.rs"]
mod certificates;

use super::spawn;
use crate::clock;
use crate::driver::Incoming;
use crate::secret::Login;
use backstay_config::{Credentials, SecretSource, ServiceTls};
use backstay_controller::link::LinkInput;
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::servers::ports::user_id;
use backstay_lab::stack::mariadb::{CONTROLLER_USER, MariaDbGroup, PASSWORD};
use backstay_lab::wait::wait_until;
use backstay_model::{
    Action, Address, Digest, Durability, Engine, Epoch, Failsafe, Fault, Health, InstanceSpec, MariaDbSpec,
    Observation, Order, Preference, RunId, ServiceSpec,
};
use certificates::Authority;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(20);

/// A link that runs on a thread of its own, and what it says. It ends when it is dropped.
struct Watched {
    orders: mpsc::Sender<LinkInput>,
    observed: Receiver<Observation>,
    process: Option<RunId>,
    _folder: TempDir,
}

impl Watched {
    fn new(server: &MariaDbServer, tls: Option<ServiceTls>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let login = Login::new(Credentials {
            username: Some(CONTROLLER_USER.to_owned()),
            password: Some(SecretSource::File(password)),
            replication: None,
            tls,
        })
        .unwrap();
        let instance = instance(server);
        let (told, observed) = channel();
        let (started, orders) = channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (incoming, mut seen) = mpsc::channel(64);
                let mut tasks = JoinSet::new();
                let service = service(instance.clone());
                started.send(spawn(&service, &instance, login, 0, incoming, &mut tasks)).unwrap();
                while let Some(Incoming::Observed { observation, .. }) = seen.recv().await {
                    if told.send(observation).is_err() {
                        return;
                    }
                }
            });
        });
        Self { orders: orders.recv().unwrap(), observed, process: None, _folder: folder }
    }

    fn until<T>(&mut self, what: &str, wanted: impl Fn(&Observation) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(observation) = self.observed.recv_timeout(left) else {
                panic!("{what} was not seen");
            };
            if let Observation::Identity(identity) = &observation {
                self.process = Some(identity.run_id.clone());
            }
            if let Some(found) = wanted(&observation) {
                return found;
            }
        }
    }

    fn health(&mut self, health: &Health) {
        self.until(&format!("{health:?}"), |seen| {
            (*seen == Observation::Health(health.clone())).then_some(())
        });
    }

    fn canary(&mut self) {
        let order = Order {
            service: "shop".into(),
            instance: "m1".into(),
            process: self.process.clone(),
            epoch: Epoch(1),
            deadline: clock::time() + LIMIT,
            action: Action::Canary,
        };
        self.orders.blocking_send(LinkInput::Order(order)).unwrap();
    }

    /// What becomes of the canary.
    fn outcome(&mut self) -> Result<RunId, Fault> {
        self.until("an outcome", |seen| match seen {
            Observation::CanaryAcknowledged { run_id } => Some(Ok(run_id.clone())),
            Observation::OrderRefused { fault } => Some(Err(*fault)),
            _ => None,
        })
    }
}

fn instance(server: &MariaDbServer) -> InstanceSpec {
    InstanceSpec {
        name: "m1".into(),
        address: Address { host: "127.0.0.1".into(), port: server.port },
        site: String::new(),
        zone: String::new(),
        priority: 100,
        agent: None,
    }
}

fn service(instance: InstanceSpec) -> ServiceSpec {
    ServiceSpec {
        name: "shop".into(),
        engine: Engine::MariaDb(MariaDbSpec {
            durability: Durability::Majority,
            events: false,
            ..MariaDbSpec::default()
        }),
        instances: vec![instance],
        down_after: Duration::from_secs(1),
        probe_interval: Duration::from_millis(100),
        drain_wait: Duration::from_millis(50),
        cooldown: Duration::from_secs(10),
        parallel_syncs: 1,
        preference: Preference::default(),
        failsafe: Failsafe::Off,
        digest: Digest::from("none"),
    }
}

fn connections(server: &MariaDbServer) -> usize {
    let count =
        format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{CONTROLLER_USER}'");
    server.value(&count).unwrap().parse().unwrap()
}

fn permit_canaries(server: &MariaDbServer) {
    server.ask(&format!("GRANT CREATE, INSERT, DELETE ON backstay.* TO {CONTROLLER_USER}@'%'")).unwrap();
}

#[test]
fn a_canary_that_nobody_acknowledges_holds_nothing_up_and_its_connection_serves_the_next() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    permit_canaries(primary);
    let mut watched = Watched::new(primary, None);
    watched.health(&Health::Up);
    let process = watched.process.clone().unwrap();
    watched.canary();
    assert_eq!(watched.outcome(), Ok(process.clone()));
    assert_eq!(connections(primary), 2);
    replica.ask("STOP SLAVE IO_THREAD").unwrap();
    for _ in 0..2 {
        watched.canary();
        let began = Instant::now();
        // The link goes on meanwhile.
        watched.until("where it stands", |seen| matches!(seen, Observation::Replication(_)).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(watched.outcome(), Err(Fault::Unacknowledged));
    }
    let no_pile = || (connections(primary) == 2).then_some(());
    wait_until("that a write that waits is not joined by another", LIMIT, no_pile).unwrap();
    replica.ask("START SLAVE IO_THREAD").unwrap();
    watched.canary();
    assert_eq!(watched.outcome(), Ok(process.clone()));
    // Killed, as a fence does: the next one has a new connection.
    primary.ask(&format!("KILL USER {CONTROLLER_USER}")).unwrap();
    watched.until("its return", |seen| matches!(seen, Observation::Identity(_)).then_some(()));
    watched.canary();
    assert_eq!(watched.outcome(), Ok(process));
    group.kill("m1").unwrap();
}

/// A file system of a few megabytes for what was in a folder.
struct Small(PathBuf);

impl Small {
    fn instead_of(folder: &Path, room: u64) -> Self {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).unwrap();
        fs::create_dir(folder).unwrap();
        let size = format!("size={room}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder));
        let small = Self(folder.to_owned());
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder));
        small
    }

    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        let block = vec![0; 1 << 20];
        while filler.write_all(&block).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn a_primary_whose_disk_is_full_says_so() {
    if user_id() != 0 {
        eprintln!("not tried: a full disk is a small file system, and only root mounts one");
        return;
    }
    let mut group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap().clone();
    permit_canaries(&primary);
    group.kill("m1").unwrap();
    let small = Small::instead_of(&primary.data(), primary.data_bytes().unwrap() + (40 << 20));
    group.start_again("m1").unwrap();
    primary.ask("SET GLOBAL read_only=OFF").unwrap();
    let mut watched = Watched::new(&primary, None);
    watched.health(&Health::Up);
    let process = watched.process.clone().unwrap();
    watched.canary();
    assert_eq!(watched.outcome(), Ok(process));
    small.fill();
    // A few more still have room in the log's last page.
    let refused = (0..100).find_map(|_| {
        watched.canary();
        watched.outcome().err()
    });
    assert_eq!(refused, Some(Fault::DiskError));
    group.kill("m1").unwrap();
}

#[test]
fn tls_is_asked_for_before_anything_secret_is_said_and_what_is_wrong_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(folder.path(), "stranger");
    let good = authority.pair(folder.path(), "good", "127.0.0.1");
    let old = authority.outdated(folder.path(), "old", "127.0.0.1");
    let with = |pair: &certificates::Pair| {
        Settings::recipe()
            .with("ssl_cert", &pair.certificate.display().to_string())
            .with("ssl_key", &pair.key.display().to_string())
            .with("ssl_ca", &authority.file.display().to_string())
            .with("require_secure_transport", "ON")
    };
    let trusting = |authority: &Authority| {
        Some(ServiceTls { ca: authority.file.clone(), client: None, server_name: None })
    };
    let mut group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap().clone();
    let mut clear = Watched::new(&server, trusting(&authority));
    clear.health(&Health::Useless(Fault::TlsFailed));
    for (pair, authority, expected) in [
        (&good, &stranger, Health::Useless(Fault::CertificateUntrusted)),
        (&old, &authority, Health::Useless(Fault::CertificateOutdated)),
        (&good, &authority, Health::Up),
    ] {
        group.kill("m1").unwrap();
        server.write_settings(&with(pair)).unwrap();
        group.start_again("m1").unwrap();
        let mut watched = Watched::new(&server, trusting(authority));
        watched.health(&expected);
    }
    server.ask("SET GLOBAL read_only=OFF").unwrap();
    permit_canaries(&server);
    let mut watched = Watched::new(&server, trusting(&authority));
    watched.health(&Health::Up);
    watched.canary();
    assert_eq!(watched.outcome(), Ok(watched.process.clone().unwrap()));
    let mut bare = Watched::new(&server, None);
    bare.until("a refusal", |seen| matches!(seen, Observation::Health(Health::Useless(_))).then_some(()));
}
