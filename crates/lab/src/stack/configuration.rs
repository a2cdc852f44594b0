//! The lab's `backstay.toml`, the same for all its controllers.

use crate::servers::controller::ControllerServer;
use crate::servers::gateway::{GatewayServer, PRIMARY, READER};
use crate::servers::redis::RedisServer;
use crate::stack::certificates;
use crate::stack::options::Options;
use std::path::Path;
use std::time::Duration;

/// Its name in the lab's folder.
pub const FILE: &str = "backstay.toml";

/// The text of the file.
pub fn text(
    options: &Options,
    dir: &Path,
    controllers: &[ControllerServer],
    instances: &[RedisServer],
    gateways: &[GatewayServer],
) -> String {
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
    for controller in controllers {
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
    lines.extend([
        String::new(),
        "[[redis]]".to_owned(),
        format!("name = {}", quoted(&options.service)),
        format!("down_after = {}", duration(options.down_after)),
    ]);
    let optional = [("probe_interval", options.probe_interval), ("cooldown", options.cooldown)];
    for (key, value) in optional {
        lines.extend(value.map(|value| format!("{key} = {}", duration(value))));
    }
    lines.push("instances = [".to_owned());
    for instance in instances {
        lines.push(format!(
            "  {{ name = {}, address = \"{}\", priority = 100 }},",
            quoted(&instance.name),
            instance.address()
        ));
    }
    lines.push("]".to_owned());
    // The first gateway's; the others are told theirs.
    if let Some(gateway) = gateways.first() {
        for (name, address) in [(PRIMARY, gateway.address()), (READER, gateway.reader_address())] {
            lines.extend([
                String::new(),
                "[[endpoints]]".to_owned(),
                format!("name = \"{name}\""),
                format!("service = {}", quoted(&options.service)),
                format!("role = \"{name}\""),
                format!("listen = \"{address}\""),
            ]);
        }
    }
    lines.join("\n") + "\n"
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
    use backstay_config::Config;

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
            log: format!("/tmp/lab/{name}.log").into(),
        });
        let options = Options {
            probe_interval: Some(Duration::from_millis(50)),
            cooldown: Some(Duration::ZERO),
            tls: true,
            ..Options::default()
        };
        let text = text(
            &options,
            Path::new("/tmp/lab"),
            &controllers.collect::<Vec<_>>(),
            &instances.collect::<Vec<_>>(),
            &gateways.collect::<Vec<_>>(),
        );
        let config = Config::parse(FILE, &text).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.spec.services[0].instances.len(), 2);
        assert_eq!(config.spec.services[0].down_after, Duration::from_millis(500));
        assert_eq!(config.nodes.len(), 3);
        assert_eq!(config.endpoints.len(), 2);
        assert!(config.tls.is_some() && config.nodes[0].admin_address.is_some());
    }
}
