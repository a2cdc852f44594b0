//! Where the hosts of instances are, looked up beside the one who asks: all at once, and again now and then. A resolver
//! that fails or hangs takes nothing away of what was known before.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an answer counts: a host may come back elsewhere.
const REFRESH: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
pub(super) struct Whereabouts(Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>);

impl Whereabouts {
    /// Of those among these that are names, for as long as `tasks` lives.
    pub(super) fn watch<R>(
        hosts: BTreeSet<String>,
        look_up: impl Fn(String) -> R + Clone + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) -> Self
    where
        R: Future<Output = io::Result<Vec<IpAddr>>> + Send,
    {
        let all = Self::default();
        for host in hosts.into_iter().filter(|host| host.parse::<IpAddr>().is_err()) {
            let (all, look_up) = (all.clone(), look_up.clone());
            tasks.spawn(async move {
                loop {
                    if let Ok(found) = look_up(host.clone()).await
                        && !found.is_empty()
                    {
                        all.known().insert(host.clone(), found);
                    }
                    sleep(REFRESH).await;
                }
            });
        }
        all
    }

    /// Where this host was seen last. Nothing: it is not known yet.
    pub(super) fn of(&self, host: &str) -> Vec<IpAddr> {
        match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip.to_canonical()],
            Err(_) => self.known().get(host).cloned().unwrap_or_default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Vec<IpAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the system.
pub(super) async fn resolve(host: String) -> io::Result<Vec<IpAddr>> {
    let found = lookup_host((host.as_str(), 0)).await?;
    Ok(found.map(|found| found.ip().to_canonical()).collect::<BTreeSet<_>>().into_iter().collect())
}
