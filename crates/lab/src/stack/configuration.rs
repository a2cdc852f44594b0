//! The lab's `backstay.toml`, the same for all its controllers.

use crate::servers::controller::ControllerServer;
use crate::servers::redis::RedisServer;
use crate::stack::options::Options;
use std::path::Path;
use std::time::Duration;

/// Its name in the lab's folder.
pub const FILE: &str = "backstay.toml";

/// The text of the file.
pub fn text(options: &Options, controllers: &[ControllerServer], instances: &[RedisServer]) -> String {
    let mut lines = vec![
        "# Written by the lab. Every node reads the same file.".to_owned(),
        "cluster = \"lab\"".to_owned(),
    ];
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
    }
    lines.extend([
        String::new(),
        "[[redis]]".to_owned(),
        format!("name = {}", quoted(&options.service)),
        format!("down_after = {}", duration(options.down_after)),
    ]);
    let optional = [
        ("probe_interval", options.probe_interval),
        ("cooldown", options.cooldown),
    ];
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
