//! Digests of what was understood, so that nodes can compare their files: the same for any layout, comment, default
//! spelt out or order of instances, different for anything that means something else. Secrets are not in them.

use crate::config::{Credentials, SecretSource};
use backstay_model::{ClusterName, ControllerSpec, Digest, Engine, Failsafe, RebuildPolicy, ServiceSpec};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Every value with its length in front, so that no two lists of values write the same bytes.
struct Canonical(Sha256);

impl Canonical {
    /// `purpose` keeps digests of different things, or of a later form of the same thing, apart.
    fn new(purpose: &str) -> Self {
        let mut canonical = Self(Sha256::new());
        canonical.text(purpose);
        canonical
    }

    fn text(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn optional(&mut self, text: Option<&String>) {
        self.number(u64::from(text.is_some()));
        self.text(text.map_or("", String::as_str));
    }

    fn secret(&mut self, source: Option<&SecretSource>) {
        self.text(match source {
            None => "none".into(),
            Some(SecretSource::File(path)) => format!("file {}", path.display()),
            Some(SecretSource::Env(name)) => format!("env {name}"),
        });
    }

    fn finish(self) -> Digest {
        let mut hex = String::new();
        for byte in self.0.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Digest::from(hex)
    }
}

/// The digest of one service's section; the digest that `spec` carries is not part of it.
pub(crate) fn service_digest(spec: &ServiceSpec, credentials: &Credentials) -> Digest {
    let mut canonical = Canonical::new(&format!("backstay {} service 1", spec.engine.word()));
    canonical.text(spec.name.as_str());
    for duration in [spec.down_after, spec.probe_interval, spec.drain_wait, spec.cooldown] {
        canonical.number(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
    canonical.number(spec.parallel_syncs as u64);
    match &spec.engine {
        Engine::Redis(redis) => {
            canonical.number(redis.min_replicas_to_write);
            canonical.text(&redis.canary_key);
        }
        Engine::MariaDb(sql) | Engine::MySql(sql) => {
            canonical.text(sql.durability.word());
            canonical.text(if sql.events { "events" } else { "no events" });
        }
    }
    canonical.optional(spec.preference.site.as_ref());
    canonical.optional(spec.preference.zone.as_ref());
    canonical.number(spec.preference.max_lag_bytes);
    canonical.optional(credentials.username.as_ref());
    canonical.secret(credentials.password.as_ref());
    if let Some(tls) = &credentials.tls {
        canonical.text(format!("tls {}", tls.ca.display()));
        for path in tls.client.iter().flat_map(|client| [&client.certificate, &client.key]) {
            canonical.text(path.display().to_string());
        }
        canonical.optional(tls.server_name.as_ref());
    }
    let mut instances: Vec<_> = spec.instances.iter().collect();
    instances.sort_by_key(|instance| &instance.name);
    canonical.number(instances.len() as u64);
    for instance in instances {
        canonical.text(instance.name.as_str());
        canonical.text(instance.address.to_string());
        canonical.text(&instance.site);
        canonical.text(&instance.zone);
        canonical.number(u64::from(instance.priority));
    }
    if spec.engine.redis().is_some_and(|redis| redis.ignore_sentinels) {
        // Left out otherwise: versions that do not know it agree.
        canonical.text("ignore_sentinels");
    }
    if spec.failsafe != Failsafe::Off {
        canonical.text(spec.failsafe.word());
    }
    if spec.engine.mariadb().is_some_and(|mariadb| mariadb.rebuild != RebuildPolicy::Ask) {
        canonical.text("rebuild by itself");
    }
    let mut agents: Vec<_> =
        spec.instances.iter().filter_map(|one| Some((&one.name, one.agent.as_ref()?))).collect();
    agents.sort();
    for (instance, agent) in agents {
        canonical.text(format!("agent of {instance}: {agent}"));
    }
    if let Some(replication) = &credentials.replication {
        canonical.text(format!("replication {}", replication.username));
        canonical.secret(Some(&replication.password));
    }
    canonical.finish()
}

/// The digest of who votes.
pub(crate) fn cluster_digest(cluster: &ClusterName, controllers: &[ControllerSpec]) -> Digest {
    let mut canonical = Canonical::new("backstay cluster 1");
    canonical.text(cluster.as_str());
    let mut controllers: Vec<_> = controllers.iter().collect();
    controllers.sort_by_key(|controller| &controller.name);
    canonical.number(controllers.len() as u64);
    for controller in controllers {
        canonical.text(controller.name.as_str());
        canonical.text(controller.address.to_string());
        canonical.text(&controller.site);
        canonical.text(&controller.zone);
    }
    canonical.finish()
}
