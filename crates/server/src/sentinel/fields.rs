//! The maps of `SENTINEL MASTER`, `REPLICAS` and `SENTINELS`: Sentinel's fields in Sentinel's order (sentinel.c,
//! `addReplySentinelRedisInstance`). What Backstay does not measure is given the value that a healthy Sentinel shows.

use super::session::Shared;
use backstay_model::{Address, ClusterStatus, ControllerStatus, InstanceStatus, ServiceStatus};
use backstay_wire::resp::Value;
use std::time::Duration;

/// Sentinel's `failover-timeout`. Backstay's steps have deadlines of their own; this is Sentinel's default.
const FAILOVER_TIMEOUT_MS: u64 = 180_000;

/// How many controllers must agree.
pub(super) fn majority(picture: &ClusterStatus) -> usize {
    picture.controllers.len() / 2 + 1
}

/// Whether the instance is where clients of the service are sent.
pub(super) fn is_primary(service: &ServiceStatus, instance: &InstanceStatus) -> bool {
    service.address.as_ref() == Some(&instance.address)
}

/// The service's replicas, as Sentinel counts them: every instance that is not the primary.
fn replicas_of(service: &ServiceStatus) -> impl Iterator<Item = &InstanceStatus> {
    service.instances.iter().filter(|instance| !is_primary(service, instance))
}

/// How many there are.
pub(super) fn replica_count(service: &ServiceStatus) -> usize {
    replicas_of(service).count()
}

/// The map of one service's primary. A service that never had one is shown as down at `?:0`, so that no client takes
/// it for usable.
pub(super) fn primary(shared: &Shared, picture: &ClusterStatus, service: &ServiceStatus) -> Value {
    let instance = service.instances.iter().find(|instance| is_primary(service, instance));
    let failover = match service.phase.as_str() {
        "fencing" => Some("select_slave"),
        "promoting" => Some("wait_promotion"),
        _ => None,
    };
    let doubted_ms = shared.news.doubted_ms(&service.name);
    let down = Down::of(shared, service, instance);
    let is_doubted = doubted_ms.is_some() || instance.is_none();
    let flags = [
        (down.subjectively, "s_down"),
        (is_doubted, "o_down"),
        (true, "master"),
        (down.disconnected, "disconnected"),
        (failover.is_some(), "failover_in_progress"),
    ];
    let terms = shared.settings.services.get(&service.name);
    let mut map = Fields::default();
    map.text("name", service.name.as_str());
    map.place(service.address.as_ref());
    map.text("runid", instance.and_then(|instance| instance.run_id.as_deref()).unwrap_or_default());
    map.text("flags", chosen(&flags));
    map.link(&down, failover);
    if is_doubted {
        map.number("o-down-time", doubted_ms.unwrap_or(0));
    }
    map.number("down-after-milliseconds", down.after_ms);
    map.reported(instance, "master");
    map.number("config-epoch", service.epoch.0);
    map.number("num-slaves", replica_count(service) as u64);
    map.number("num-other-sentinels", picture.controllers.len().saturating_sub(1) as u64);
    map.number("quorum", majority(picture) as u64);
    map.number("failover-timeout", FAILOVER_TIMEOUT_MS);
    map.number("parallel-syncs", terms.map_or(1, |terms| terms.parallel_syncs as u64));
    map.done()
}

/// The maps of a service's replicas.
pub(super) fn replicas(shared: &Shared, service: &ServiceStatus) -> Vec<Value> {
    replicas_of(service).map(|instance| replica(shared, service, instance)).collect()
}

fn replica(shared: &Shared, service: &ServiceStatus, instance: &InstanceStatus) -> Value {
    let down = Down::of(shared, service, Some(instance));
    let flags = [(down.subjectively, "s_down"), (true, "slave"), (down.disconnected, "disconnected")];
    let follows = instance.role == "replica" && !down.subjectively;
    let primary = service.address.as_ref().filter(|_| follows);
    let linked = follows && instance.link_up == Some(true);
    let mut map = Fields::default();
    map.text("name", instance.address.to_string());
    map.place(Some(&instance.address));
    map.text("runid", instance.run_id.as_deref().unwrap_or_default());
    map.text("flags", chosen(&flags));
    map.link(&down, None);
    map.number("down-after-milliseconds", down.after_ms);
    map.reported(Some(instance), "slave");
    map.number("master-link-down-time", 0);
    map.text("master-link-status", if linked { "ok" } else { "err" });
    map.text("master-host", primary.map_or("?", |primary| &*primary.host));
    map.number("master-port", primary.map_or(0, |primary| primary.port.into()));
    map.number("slave-priority", instance.priority.into());
    map.number("slave-repl-offset", instance.offset.map_or(0, |offset| offset.0));
    map.number("replica-announced", 1);
    map.done()
}

/// The maps of the other controllers that have a Sentinel port.
pub(super) fn sentinels(shared: &Shared, picture: &ClusterStatus, service: &ServiceStatus) -> Vec<Value> {
    let others = picture.controllers.iter().filter(|controller| controller.name != shared.settings.node);
    others
        .filter_map(|controller| {
            let port = shared.settings.ports.get(&controller.name)?;
            Some(sentinel(shared, picture, service, controller, port))
        })
        .collect()
}

fn sentinel(
    shared: &Shared,
    picture: &ClusterStatus,
    service: &ServiceStatus,
    controller: &ControllerStatus,
    port: &Address,
) -> Value {
    let id = shared.settings.id_of(&controller.name);
    let down = Down {
        subjectively: !controller.connected,
        disconnected: !controller.connected,
        since_ms: 0,
        after_ms: after_ms(shared, service),
    };
    let flags = [(down.subjectively, "s_down"), (true, "sentinel"), (down.disconnected, "disconnected")];
    let leader = picture.leader.as_ref().map(|leader| shared.settings.id_of(leader));
    let mut map = Fields::default();
    map.text("name", &id);
    map.place(Some(port));
    map.text("runid", &id);
    map.text("flags", chosen(&flags));
    map.link(&down, None);
    map.number("down-after-milliseconds", down.after_ms);
    map.number("last-hello-message", 0);
    map.text("voted-leader", leader.as_deref().unwrap_or("?"));
    map.number("voted-leader-epoch", leader.as_ref().map_or(0, |_| picture.term.0));
    map.done()
}

/// How an instance, or its absence, looks from here.
struct Down {
    subjectively: bool,
    disconnected: bool,
    since_ms: u64,
    after_ms: u64,
}

impl Down {
    fn of(shared: &Shared, service: &ServiceStatus, instance: Option<&InstanceStatus>) -> Self {
        let subjectively = instance.is_none_or(|instance| instance.suspected);
        let since_ms = instance.and_then(|instance| shared.news.suspected_ms(&service.name, &instance.name));
        Self {
            subjectively,
            disconnected: subjectively || instance.is_some_and(|instance| instance.run_id.is_none()),
            since_ms: since_ms.unwrap_or(0),
            after_ms: after_ms(shared, service),
        }
    }

    /// Milliseconds since the last good answer.
    fn silent_ms(&self) -> u64 {
        if self.subjectively { self.since_ms + self.after_ms } else { 0 }
    }
}

fn after_ms(shared: &Shared, service: &ServiceStatus) -> u64 {
    let terms = shared.settings.services.get(&service.name);
    millis(terms.map_or(Duration::ZERO, |terms| terms.down_after))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn chosen(flags: &[(bool, &'static str)]) -> String {
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, flag)| *flag).collect::<Vec<_>>().join(",")
}

/// A map in the making. Sentinel sends every value as a string.
#[derive(Default)]
struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn text(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((Value::bulk(name), Value::bulk(value)));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.text(name, value.to_string());
    }

    fn place(&mut self, address: Option<&Address>) {
        self.text("ip", address.map_or("?", |address| &*address.host));
        self.number("port", address.map_or(0, |address| address.port.into()));
    }

    /// The fields about the connection to the instance, and since when it is down.
    fn link(&mut self, down: &Down, failover: Option<&str>) {
        self.number("link-pending-commands", u64::from(down.subjectively));
        self.number("link-refcount", 1);
        if let Some(state) = failover {
            self.text("failover-state", state);
        }
        self.number("last-ping-sent", down.silent_ms());
        self.number("last-ok-ping-reply", down.silent_ms());
        self.number("last-ping-reply", down.silent_ms());
        if down.subjectively {
            self.number("s-down-time", down.since_ms);
        }
    }

    /// What the instance says of itself; what is expected of it, as long as it has not said anything.
    fn reported(&mut self, instance: Option<&InstanceStatus>, expected: &str) {
        self.number("info-refresh", 0);
        let role = match instance.map(|instance| instance.role.as_str()) {
            Some("primary") => "master",
            Some("replica") => "slave",
            _ => expected,
        };
        self.text("role-reported", role);
        self.number("role-reported-time", 0);
    }

    fn done(self) -> Value {
        Value::Map(self.0)
    }
}
