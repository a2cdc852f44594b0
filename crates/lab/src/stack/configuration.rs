//! The lab's `backstay.toml`, the same for all its controllers.

use crate::servers::agent::AgentServer;
use crate::servers::controller::ControllerServer;
use crate::servers::gateway::{GatewayServer, PRIMARY, READER, SQL_PRIMARY, SQL_READER};
use crate::servers::mariadb::MariaDbServer;
use crate::servers::redis::RedisServer;
use crate::stack::mariadb::{CONTROLLER_USER, REPLICATION_USER};
use crate::stack::options::Options;
use crate::stack::{certificates, databases};
use backstay_model::EngineKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Its name in the lab's folder.
pub const FILE: &str = "backstay.toml";

/// Whom it names.
pub struct Servers<'a> {
    /// The controllers.
    pub controllers: &'a [ControllerServer],
    /// The Redis instances.
    pub instances: &'a [RedisServer],
    /// The MariaDB instances, if any.
    pub databases: &'a [MariaDbServer],
    /// The agents of those, if any.
    pub agents: &'a [AgentServer],
    /// The gateways beside the controllers.
    pub gateways: &'a [GatewayServer],
}

/// The text of the file.
pub fn text(options: &Options, dir: &Path, servers: &Servers<'_>) -> String {
    let mut lines = vec![
        "# Written by the lab. Every node reads the same file.".to_owned(),
        "cluster = \"lab\"".to_owned(),
    ];
    if options.tls {
        let path = |name: &str| quoted_path(&dir.join(certificates::FOLDER).join(name));
        lines.extend([
            String::new(),
            "[tls]".to_owned(),
            format!("authority = {}", path("authority.pem")),
            format!("certificate = {}", path("{node}.pem")),
            format!("key = {}", path("{node}.key")),
        ]);
    }
    servers.controllers.iter().for_each(|one| controller(one, &mut lines));
    let redis = servers.instances.iter().map(|instance| (&*instance.name, instance.address(), None));
    service(options, EngineKind::Redis, &options.service, redis, &mut lines);
    if !servers.databases.is_empty() {
        let mariadb = servers.databases.iter().map(|instance| {
            let agent = servers.agents.iter().find(|agent| agent.instance.name == instance.name);
            (&*instance.name, instance.address(), agent.map(AgentServer::address))
        });
        service(options, EngineKind::MariaDb, databases::SERVICE, mariadb, &mut lines);
        let password = quoted_path(&dir.join(databases::PASSWORD_FILE));
        lines.extend([
            format!("durability = \"{}\"", options.durability.word()),
            format!("username = {}", quoted(CONTROLLER_USER)),
            format!("password_file = {password}"),
            format!("replication_username = {}", quoted(REPLICATION_USER)),
            format!("replication_password_file = {password}"),
        ]);
    }
    // The first gateway's; the others are told theirs.
    if let Some(gateway) = servers.gateways.first() {
        let of_redis = [(PRIMARY, gateway.address()), (READER, gateway.reader_address())];
        endpoints(&options.service, of_redis, &mut lines);
        if let Some([primary, reader]) = gateway.sql_addresses() {
            endpoints(databases::SERVICE, [(SQL_PRIMARY, primary), (SQL_READER, reader)], &mut lines);
        }
    }
    lines.join("\n") + "\n"
}

fn controller(controller: &ControllerServer, lines: &mut Vec<String>) {
    lines.extend([
        String::new(),
        "[[controllers]]".to_owned(),
        format!("name = {}", quoted(&controller.name)),
        format!("address = \"{}\"", controller.peer_address()),
        format!("sentinel = \"{}\"", controller.sentinel_address()),
        format!("admin = {}", quoted_path(&controller.admin)),
        format!("state = {}", quoted_path(&controller.state)),
    ]);
    lines.extend(controller.remote_admin.map(|port| format!("admin_address = \"127.0.0.1:{port}\"")));
}

/// What services of all engines have.
fn service<'a>(
    options: &Options,
    engine: EngineKind,
    name: &str,
    instances: impl Iterator<Item = (&'a str, SocketAddr, Option<SocketAddr>)>,
    lines: &mut Vec<String>,
) {
    lines.extend([
        String::new(),
        format!("[[{}]]", engine.word()),
        format!("name = {}", quoted(name)),
        format!("down_after = {}", duration(options.down_after)),
    ]);
    let optional = [("probe_interval", options.probe_interval), ("cooldown", options.cooldown)];
    for (key, value) in optional {
        lines.extend(value.map(|value| format!("{key} = {}", duration(value))));
    }
    lines.push("instances = [".to_owned());
    lines.extend(instances.map(|(name, address, agent)| {
        let agent = agent.map_or_else(String::new, |agent| format!(", agent = \"{agent}\""));
        format!("  {{ name = {}, address = \"{address}\", priority = 100{agent} }},", quoted(name))
    }));
    lines.push("]".to_owned());
}

/// One for reads and writes, one for reads.
fn endpoints(service: &str, [primary, reader]: [(&str, SocketAddr); 2], lines: &mut Vec<String>) {
    for ((name, address), role) in [(primary, "primary"), (reader, "reader")] {
        lines.extend([
            String::new(),
            "[[endpoints]]".to_owned(),
            format!("name = \"{name}\""),
            format!("service = {}", quoted(service)),
            format!("role = \"{role}\""),
            format!("listen = \"{address}\""),
        ]);
    }
}

fn duration(duration: Duration) -> String {
    format!("\"{}ms\"", duration.as_millis())
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A TOML basic string takes the escapes of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::gateway::SqlPorts;
    use backstay_config::Config;
    use backstay_model::Durability;

    #[test]
    fn the_lab_writes_a_configuration_that_a_controller_takes_without_a_warning() {
        let controllers = ["a", "b", "c"].into_iter().zip(14_000..).map(|(name, peer)| ControllerServer {
            name: name.to_owned(),
            peer,
            sentinel: peer + 100,
            admin: format!("/tmp/lab/{name}.sock").into(),
            remote_admin: Some(peer + 200),
            state: format!("/tmp/lab/{name}").into(),
            log: format!("/tmp/lab/{name}.log").into(),
        });
        let instances = ["r1", "r2"].into_iter().zip(15_000..).map(|(name, port)| RedisServer {
            name: name.to_owned(),
            port,
            folder: format!("/tmp/lab/{name}").into(),
        });
        let gateways = ["g1", "g2"].into_iter().zip(16_000..).map(|(name, primary)| GatewayServer {
            name: name.to_owned(),
            primary,
            reader: primary + 100,
            sql: Some(SqlPorts { primary: primary + 200, reader: primary + 300 }),
            log: format!("/tmp/lab/{name}.log").into(),
        });
        let databases = ["m1", "m2", "m3"].into_iter().zip(17_000..).map(|(name, port)| MariaDbServer {
            name: name.to_owned(),
            port,
            server_id: 1,
            folder: format!("/tmp/lab/{name}").into(),
        });
        let databases: Vec<_> = databases.collect();
        let agents = databases.iter().zip(18_000..);
        let agents = agents.map(|(one, port)| AgentServer::new(one.clone(), port, Path::new("/tmp/lab")));
        let options = Options {
            probe_interval: Some(Duration::from_millis(50)),
            cooldown: Some(Duration::ZERO),
            tls: true,
            durability: Durability::Majority,
            ..Options::default()
        };
        let servers = Servers {
            controllers: &controllers.collect::<Vec<_>>(),
            instances: &instances.collect::<Vec<_>>(),
            databases: &databases,
            agents: &agents.collect::<Vec<_>>(),
            gateways: &gateways.collect::<Vec<_>>(),
        };
        let text = text(&options, Path::new("/tmp/lab"), &servers);
        let config = Config::parse(FILE, &text).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.spec.services[0].instances.len(), 2);
        assert_eq!(config.spec.services[0].down_after, Duration::from_millis(500));
        assert_eq!(config.nodes.len(), 3);
        let orders = &config.spec.services[1];
        assert!(orders.instances.iter().all(|instance| instance.agent.is_some()));
        assert_eq!(orders.engine.mariadb().unwrap().durability, Durability::Majority);
        assert_eq!(
            config.credentials(&orders.name).unwrap().replication_user().unwrap().username,
            REPLICATION_USER
        );
        let services: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.service.as_str()).collect();
        assert_eq!(services, ["mymaster", "mymaster", "orders", "orders"]);
        assert!(config.tls.is_some() && config.nodes[0].admin_address.is_some());
    }
}
