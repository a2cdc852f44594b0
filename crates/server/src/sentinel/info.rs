//! `INFO`: the sections and fields of a Sentinel that monitoring reads. What has no meaning here is left out.

use super::fields;
use super::hello::REDIS_VERSION;
use super::session::Shared;
use backstay_model::{ClusterStatus, ServiceStatus};
use backstay_wire::resp::Value;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

const SECTIONS: [&str; 5] = ["server", "clients", "stats", "cpu", "sentinel"];

/// `INFO [section ...]`.
pub(super) fn info(shared: &Shared, picture: &ClusterStatus, arguments: &[Vec<u8>]) -> Value {
    let wanted: Vec<_> = arguments.iter().map(|name| name.to_ascii_lowercase()).collect();
    let all = wanted.is_empty()
        || wanted.iter().any(|name| matches!(name.as_slice(), b"all" | b"default" | b"everything"));
    let sections =
        SECTIONS.iter().filter(|section| all || wanted.iter().any(|name| name == section.as_bytes()));
    let texts = sections.map(|section| match *section {
        "server" => server(shared),
        "clients" => clients(shared),
        "stats" => stats(shared),
        "cpu" => cpu(),
        _ => sentinel(shared, picture),
    });
    let text = texts.collect::<Vec<_>>().join("\r\n");
    Value::Verbatim(*b"txt", text.into_bytes())
}

struct Lines(String);

impl Lines {
    fn new(title: &str) -> Self {
        Self(format!("# {title}\r\n"))
    }

    fn with(mut self, name: impl Display, value: impl Display) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
        self
    }
}

fn server(shared: &Shared) -> String {
    let uptime_s = shared.started.elapsed().as_secs();
    let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Lines::new("Server")
        .with("redis_version", REDIS_VERSION)
        .with("backstay_version", env!("CARGO_PKG_VERSION"))
        .with("redis_mode", "sentinel")
        .with("os", std::env::consts::OS)
        .with("arch_bits", usize::BITS)
        .with("process_id", std::process::id())
        .with("run_id", &shared.run_id)
        .with("tcp_port", shared.listener.port())
        .with("server_time_usec", unix_us)
        .with("uptime_in_seconds", uptime_s)
        .with("uptime_in_days", uptime_s / 86_400)
        .0
}

fn clients(shared: &Shared) -> String {
    let (connected, subscribers, _) = shared.registry.counts();
    Lines::new("Clients")
        .with("connected_clients", connected)
        .with("cluster_connections", 0)
        .with("maxclients", shared.settings.bounds.connections_max)
        .with("blocked_clients", 0)
        .with("pubsub_clients", subscribers)
        .0
}

fn stats(shared: &Shared) -> String {
    let registry = &shared.registry;
    let (_, _, patterns) = registry.counts();
    Lines::new("Stats")
        .with("total_connections_received", registry.received.load(Ordering::Relaxed))
        .with("total_commands_processed", registry.requests.load(Ordering::Relaxed))
        .with("rejected_connections", registry.rejected.load(Ordering::Relaxed))
        .with("pubsub_patterns", patterns)
        .with("total_error_replies", registry.errors.load(Ordering::Relaxed))
        .0
}

fn cpu() -> String {
    let own = getrusage(UsageWho::RUSAGE_SELF).ok();
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
    let seconds = |time: Option<TimeVal>| {
        let time = time.unwrap_or(TimeVal::new(0, 0));
        format!("{}.{:06}", time.tv_sec(), time.tv_usec())
    };
    Lines::new("CPU")
        .with("used_cpu_sys", seconds(own.map(|usage| usage.system_time())))
        .with("used_cpu_user", seconds(own.map(|usage| usage.user_time())))
        .with("used_cpu_sys_children", seconds(children.map(|usage| usage.system_time())))
        .with("used_cpu_user_children", seconds(children.map(|usage| usage.user_time())))
        .0
}

fn sentinel(shared: &Shared, picture: &ClusterStatus) -> String {
    let head = Lines::new("Sentinel")
        .with("sentinel_masters", picture.services.len())
        .with("sentinel_tilt", 0)
        .with("sentinel_tilt_since_seconds", -1)
        .with("sentinel_running_scripts", 0)
        .with("sentinel_scripts_queue_length", 0)
        .with("sentinel_simulate_failure_flags", 0);
    let services = picture.services.iter().enumerate();
    services
        .fold(head, |lines, (number, service)| {
            lines.with(format_args!("master{number}"), summary(shared, picture, service))
        })
        .0
}

fn summary(shared: &Shared, picture: &ClusterStatus, service: &ServiceStatus) -> String {
    let primary = service.instances.iter().find(|instance| fields::is_primary(service, instance));
    let status = match primary {
        None => "odown",
        Some(_) if shared.news.doubted_ms(&service.name).is_some() => "odown",
        Some(primary) if primary.suspected => "sdown",
        Some(_) => "ok",
    };
    let address = service.address.as_ref().map_or("?:0".into(), ToString::to_string);
    format!(
        "name={},status={status},address={address},slaves={},sentinels={}",
        service.name,
        fields::replica_count(service),
        picture.controllers.len()
    )
}
