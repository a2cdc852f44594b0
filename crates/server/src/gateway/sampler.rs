//! Looks at a service's primary, as a client of it, so that the failsafe has something to go by (safety, section 2.6): who
//! it is, whether it calls itself a primary, and how far the replicas of the file have acknowledged. Nothing is decided here.

use super::settings::GatewayError;
use super::whereabouts::Whereabouts;
use crate::clock;
use crate::conversation::{Server, ServerError};
use crate::secret::Login;
use backstay_config::{Config, Credentials};
use backstay_lease::Sample;
use backstay_model::{Address, Failsafe, InstanceName, RunId, ServiceName};
use backstay_wire::redis::{acknowledged, run_id};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);
/// How long a look may take, a new connection included.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long after a complaint it may be made again, once it was over, and how long after it another one may be made.
const SAME_AGAIN: Duration = Duration::from_secs(60);
const ANOTHER: Duration = Duration::from_secs(10);
/// How many samples may wait.
const SAMPLES_MAX: usize = 16;

/// What the samplers find.
pub(super) type Samples = mpsc::Receiver<(ServiceName, Sample)>;
/// Whom they look at, by service; nobody if that is `None`.
pub(super) type Aims = BTreeMap<ServiceName, watch::Sender<Option<Address>>>;

/// One service's.
pub(super) struct Sampler {
    service: ServiceName,
    login: Login,
    instances: Vec<(InstanceName, Address)>,
    /// Where the instances are: in an outage that the failsafe is for there may be nobody to ask.
    whereabouts: Whereabouts,
    open: Option<Open>,
    complaint: Option<Complaint>,
}

/// What was complained of last, so that it is said once, and what comes and goes is not said all the time.
struct Complaint {
    reason: String,
    said: Instant,
    is_over: bool,
}

/// A connection.
struct Open {
    address: Address,
    run_id: RunId,
    server: Server,
}

impl Complaint {
    /// Whether this may be said behind it now.
    fn may_precede(&self, reason: &str, now: Instant) -> bool {
        let pause = if self.reason == reason { SAME_AGAIN } else { ANOTHER };
        (self.is_over || self.reason != reason) && now.duration_since(self.said) >= pause
    }
}

impl Sampler {
    /// One for each service that wants it and that this gateway serves.
    pub(super) fn all(config: &Config) -> Result<Vec<Self>, GatewayError> {
        let wants = config.spec.services.iter().filter(|it| it.failsafe == Failsafe::RiskTwoPrimaries);
        let mut samplers = Vec::new();
        for service in wants {
            let Some(credentials) = credentials(config, &service.name) else {
                continue; // It has no endpoint.
            };
            let instances = service.instances.iter().map(|it| (it.name.clone(), it.address.clone()));
            samplers.push(Self {
                service: service.name.clone(),
                login: Login::new(credentials)?,
                instances: instances.collect(),
                whereabouts: Whereabouts::default(),
                open: None,
                complaint: None,
            });
        }
        Ok(samplers)
    }

    /// Whose primary it looks at.
    pub(super) const fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Starts them all. `look_up` finds the addresses of a host, and may take as long as it likes.
    pub(super) fn spawn<R>(
        all: Vec<Self>,
        look_up: impl Fn(String) -> R + Clone + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) -> (Aims, Samples)
    where
        R: Future<Output = io::Result<Vec<IpAddr>>> + Send,
    {
        let (found, samples) = mpsc::channel(SAMPLES_MAX);
        let mut aims = Aims::new();
        let hosts = all.iter().flat_map(|it| it.instances.iter().map(|it| it.1.host.to_string())).collect();
        let whereabouts = Whereabouts::watch(hosts, look_up, tasks);
        for mut sampler in all {
            sampler.whereabouts = whereabouts.clone();
            let (aim, aimed) = watch::channel(None);
            aims.insert(sampler.service.clone(), aim);
            tasks.spawn(sampler.run(aimed, found.clone()));
        }
        (aims, samples)
    }

    async fn run(
        mut self,
        aim: watch::Receiver<Option<Address>>,
        found: mpsc::Sender<(ServiceName, Sample)>,
    ) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let primary = aim.borrow().clone();
            let Some(primary) = primary else {
                self.open = None;
                continue;
            };
            // What was asked and not answered in time would be answered late: such a connection is of no more use.
            let open = self.open.take().filter(|open| open.address == primary);
            let looked = timeout(PATIENCE, self.look(&primary, open)).await;
            let late = |_| Err(ServerError::Unreachable(format!("did not answer within {PATIENCE:?}")));
            match looked.unwrap_or_else(late) {
                Ok((open, sample)) => {
                    self.open = Some(open);
                    if let Some(complaint) = &mut self.complaint {
                        complaint.is_over = true;
                    }
                    if found.send((self.service.clone(), sample)).await.is_err() {
                        return;
                    }
                }
                Err(error) => self.complain(&primary, &error),
            }
        }
    }

    async fn look(&mut self, primary: &Address, open: Option<Open>) -> Result<(Open, Sample), ServerError> {
        let mut open = if let Some(open) = open { open } else { self.connect(primary).await? };
        let asked = clock::time();
        let text = open.server.text(&["INFO", "replication"]).await?;
        let replicas = acknowledged(text.as_bytes());
        let is_primary = replicas.is_some();
        let ours = replicas.into_iter().flatten();
        let ours = ours.filter_map(|(address, offset)| Some((self.instance(&address)?.clone(), offset)));
        let (address, run_id) = (open.address.clone(), open.run_id.clone());
        let sample = Sample { asked, address, run_id, is_primary, acknowledged: ours.collect() };
        Ok((open, sample))
    }

    async fn connect(&mut self, primary: &Address) -> Result<Open, ServerError> {
        self.login.refresh();
        let ips = self.whereabouts.of(&primary.host);
        let mut server = Server::connect_among(primary, &ips, &self.login).await?;
        let text = server.text(&["INFO", "server"]).await?;
        let senseless = || ServerError::Refused("answers INFO without saying who it is".to_owned());
        let run_id = run_id(text.as_bytes()).ok_or_else(senseless)?;
        Ok(Open { address: primary.clone(), run_id, server })
    }

    /// The instance of the file that listens there: a replica tells its port, and the primary sees its IP address, unless
    /// the replica announces another one.
    fn instance(&self, seen: &Address) -> Option<&InstanceName> {
        let ip = seen.host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let is = |(_, address): &&(_, Address)| {
            address.port == seen.port
                && (address.host == seen.host
                    || ip.is_some_and(|ip| self.whereabouts.of(&address.host).contains(&ip)))
        };
        self.instances.iter().find(is).map(|it| &it.0)
    }

    fn complain(&mut self, primary: &Address, error: &ServerError) {
        let (reason, now) = (error.to_string(), Instant::now());
        if self.complaint.as_ref().is_some_and(|before| !before.may_precede(&reason, now)) {
            return;
        }
        tracing::warn!(
            "the failsafe of {} has nothing to go by: {primary} {reason}. It needs the right to ask INFO",
            self.service
        );
        self.complaint = Some(Complaint { reason, said: now, is_over: false });
    }
}

/// As whom this gateway's clients speak to the service's servers; `None`: it has no clients of that service.
fn credentials(config: &Config, service: &ServiceName) -> Option<Credentials> {
    let endpoint = config.endpoints.iter().find(|endpoint| endpoint.service == *service)?;
    let known = config.credentials(service).cloned().unwrap_or_default();
    Some(match (&endpoint.server_username, &endpoint.server_password) {
        // As the data plane does: Backstay's own user is not for it.
        (None, None) if known.username.is_none() => known,
        (user, password) => Credentials { username: user.clone(), password: password.clone(), ..known },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_complained_of_once_a_minute() {
        let said = Instant::now();
        let complaint = |is_over| Complaint { reason: "hangs".into(), said, is_over };
        let (goes_on, is_over) = (complaint(false), complaint(true));
        assert!(!is_over.may_precede("hangs", said) && !is_over.may_precede("refuses", said));
        let later = said + ANOTHER;
        assert!(!is_over.may_precede("hangs", later) && is_over.may_precede("refuses", later));
        let much_later = said + SAME_AGAIN;
        assert!(is_over.may_precede("hangs", much_later) && !goes_on.may_precede("hangs", much_later));
    }
}
