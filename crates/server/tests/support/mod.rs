//! A cluster on private ports: controllers in this process, Redis servers as children, everything in one folder. Waits
//! for conditions, never for time.

#![allow(dead_code, reason = "not every test file uses every word of the vocabulary")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

pub(crate) mod admin;
pub(crate) mod certificates;
pub(crate) mod redis;
pub(crate) mod redis_certificates;

use backstay_config::Config;
use backstay_lab::servers::ports::Ports;
use backstay_model::{ClusterStatus, ServiceStatus};
use backstay_server::{RunError, run};
use certificates::Certificates;
use redis::Redis;
use std::fmt::Write as _;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long any condition may take. Generous: the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const SERVICE: &str = "orders";

/// One controller's files, and its task while it runs.
pub(crate) struct Controller {
    pub(crate) name: String,
    pub(crate) admin: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) peer: u16,
    /// Where it serves clients with a certificate, if the cluster has certificates.
    pub(crate) remote_admin: u16,
    running: Option<Running>,
}

pub(crate) struct Running {
    task: JoinHandle<Result<(), RunError>>,
    stop: oneshot::Sender<()>,
}

/// Some controllers and the Redis servers that they watch.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) name: String,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) instances: Vec<Redis>,
    /// Lines for the service's section of the file.
    pub(crate) extra: String,
    /// With these, everything is encrypted.
    pub(crate) certificates: Option<Certificates>,
    /// The whole file, if it is not what the rest says.
    pub(crate) file: Option<String>,
}

impl Cluster {
    /// Nothing runs yet but the Redis servers.
    pub(crate) fn new(controllers: &[&str], instances: &[&str]) -> Self {
        // What the controllers say is shown if the test fails, or with RUST_LOG set and --nocapture.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let folder = tempfile::Builder::new().prefix("bs").tempdir().unwrap();
        let controllers = controllers.iter().map(|name| Controller {
            name: (*name).to_owned(),
            admin: folder.path().join(format!("{name}.sock")),
            state: folder.path().join(name),
            peer: free_port(),
            remote_admin: free_port(),
            running: None,
        });
        let controllers = controllers.collect();
        let instances = instances.iter().map(|name| Redis::start(folder.path(), name, &[]));
        let instances = instances.collect();
        Self {
            folder,
            name: "test".to_owned(),
            controllers,
            instances,
            extra: String::new(),
            certificates: None,
            file: None,
        }
    }

    /// As `new`, with certificates for each controller.
    pub(crate) fn encrypted(controllers: &[&str], instances: &[&str]) -> Self {
        let mut cluster = Self::new(controllers, instances);
        let certificates = Certificates::new(&cluster.folder.path().join("certificates"), &cluster.name);
        for name in controllers {
            certificates.node(name, 365);
        }
        cluster.certificates = Some(certificates);
        cluster
    }

    /// Three controllers and three servers, all running, with a primary.
    pub(crate) async fn with_primary() -> Self {
        let mut cluster = Self::new(&["a", "b", "c"], &["r1", "r2", "r3"]);
        cluster.start_all();
        cluster.wait_for_primary().await;
        cluster
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("cluster = \"{}\"\n", self.name);
        text += &self.certificates.as_ref().map_or_else(String::new, Certificates::section);
        for it in &self.controllers {
            let _ = write!(
                text,
                "[[controllers]]\nname = \"{}\"\naddress = \"127.0.0.1:{}\"\nsentinel = \"off\"\nadmin = \"{}\"\n\
                 state = \"{}\"\n",
                it.name,
                it.peer,
                it.admin.display(),
                it.state.display()
            );
            if self.certificates.is_some() {
                let _ = writeln!(text, "admin_address = \"127.0.0.1:{}\"", it.remote_admin);
            }
        }
        if self.instances.is_empty() {
            return text;
        }
        let _ = write!(
            text,
            "[[redis]]\nname = \"{SERVICE}\"\ndown_after = \"500ms\"\ncooldown = \"0s\"\n{}\ninstances = [\n",
            self.extra
        );
        for it in &self.instances {
            let _ = writeln!(text, "{{ name = \"{}\", address = \"127.0.0.1:{}\" }},", it.name, it.port);
        }
        text + "]\n"
    }

    pub(crate) fn config(&self) -> Config {
        let text = self.file.clone().unwrap_or_else(|| self.text());
        Config::parse("backstay.toml", &text).map_err(|errors| format!("{:?}", errors.notes())).unwrap()
    }

    pub(crate) fn start_all(&mut self) {
        for index in 0..self.controllers.len() {
            self.start(index, true);
        }
    }

    pub(crate) fn start(&mut self, index: usize, bootstrap: bool) {
        let (stop, stopped) = oneshot::channel();
        let node = self.controllers[index].name.as_str().into();
        let shutdown = async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let task = tokio::spawn(run(self.config(), node, bootstrap, shutdown));
        self.controllers[index].running = Some(Running { task, stop });
    }

    /// As far as one process can be several: everything that the controller holds is dropped where it stands.
    pub(crate) async fn kill(&mut self, index: usize) {
        if let Some(running) = self.controllers[index].running.take() {
            running.task.abort();
            let _ = running.task.await;
        }
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(&mut self, index: usize) -> Result<(), RunError> {
        let running = self.controllers[index].running.take().unwrap();
        let _ = running.stop.send(());
        within(running.task).await.unwrap()
    }

    /// Why it ended by itself.
    pub(crate) async fn ended(&mut self, index: usize) -> Result<(), RunError> {
        let running = self.controllers[index].running.take().unwrap();
        let ended = within(running.task).await.unwrap();
        drop(running.stop);
        ended
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&self, index: usize) -> bool {
        self.controllers[index].running.as_ref().is_some_and(|running| running.task.is_finished())
    }

    /// Takes the running controller's task away, to start another one in its place.
    pub(crate) fn take(&mut self, index: usize) -> Option<Running> {
        self.controllers[index].running.take()
    }

    /// See `take`.
    pub(crate) fn put_back(&mut self, index: usize, running: Option<Running>) {
        self.controllers[index].running = running;
    }

    /// What controller `index` sees.
    pub(crate) async fn status(&self, index: usize) -> Option<ClusterStatus> {
        admin::get_as(&self.controllers[index].admin, "/v1/status?local=true").await
    }

    /// The leader's place, once everybody who answers agrees.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let mut leaders = Vec::new();
        for (index, controller) in self.controllers.iter().enumerate() {
            if controller.running.is_some() {
                leaders.push(self.status(index).await?.leader?);
            }
        }
        leaders.dedup();
        let [leader] = leaders.as_slice() else {
            return None;
        };
        let is_leader = |it: &Controller| it.name == leader.as_str() && it.running.is_some();
        self.controllers.iter().position(is_leader)
    }

    pub(crate) async fn wait_for_leader(&self) -> usize {
        until("one leader", async || self.leader().await).await
    }

    /// The service as the leader sees it.
    pub(crate) async fn service(&self) -> Option<ServiceStatus> {
        let leader = self.leader().await?;
        let status = self.status(leader).await?;
        status.services.into_iter().next()
    }

    /// The settled primary.
    pub(crate) async fn primary(&self) -> Option<String> {
        let service = self.service().await?;
        let in_sync = service.instances.iter().filter(|it| it.in_sync).count();
        (service.phase == "stable" && in_sync >= 2)
            .then(|| service.primary.map(|name| name.to_string()))
            .flatten()
    }

    pub(crate) async fn wait_for_primary(&self) -> String {
        until("a primary with a replica in step", async || self.primary().await).await
    }

    pub(crate) fn redis(&mut self, name: &str) -> &mut Redis {
        self.instances.iter_mut().find(|it| it.name == name).unwrap()
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The future's outcome, in time.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("took too long")
}

/// A port that no other test has, nor any lab, nor somebody's outgoing connection.
pub(crate) fn free_port() -> u16 {
    static PORTS: Mutex<Option<Ports>> = Mutex::new(None);
    let mut ports = PORTS.lock().unwrap();
    ports.get_or_insert_with(|| Ports::open().unwrap()).claim().unwrap()
}
