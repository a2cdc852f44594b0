//! The file that is written. Pure.

use super::find::Found;
use super::{MariaDbWish, OWN_USER, REPLICATION_USER};
use backstay_model::MariaDbSpec;
use std::fmt::Write as _;
use std::path::Path;

/// The first controllers' names, and the ports of their addresses on loopback.
const CONTROLLERS: [(&str, u16); 3] = [("a", 7601), ("b", 7602), ("c", 7603)];

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            // Writing to a string cannot fail.
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

pub(super) fn file(wish: &MariaDbWish, group: &Found, spec: &MariaDbSpec, secrets: [&Path; 2]) -> String {
    let [own, replication] = secrets.map(|path| quoted(&path.display().to_string()));
    let mut text = String::from(
        "# Written by `backstay adopt`. From here on it is yours: see examples/backstay.toml for every setting.\n\
         # Three controllers on one machine are for a trial. For three machines give each its address, and certificates:\n\
         # see docs/guide/install.md and docs/guide/certificates.md.\n",
    );
    let _ = writeln!(text, "cluster = {}\n", quoted(wish.service.as_str()));
    for (name, port) in CONTROLLERS {
        let _ = writeln!(
            text,
            "[[controllers]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nsentinel = \"off\"\n"
        );
    }
    let _ = writeln!(
        text,
        "[[mariadb]]\nname = {}\ndurability = \"{}\"\nusername = \"{OWN_USER}\"\npassword_file = {own}\n\
         replication_username = \"{REPLICATION_USER}\"\nreplication_password_file = {replication}",
        quoted(wish.service.as_str()),
        spec.durability.word(),
    );
    if spec.events {
        text.push_str("events = true\n");
    }
    text.push_str("instances = [\n");
    for seen in &group.seen {
        let (name, address) = (seen.spec.name.as_str(), seen.spec.address.to_string());
        let _ = writeln!(text, "  {{ name = {}, address = {} }},", quoted(name), quoted(&address));
    }
    text.push_str("]\n");
    text
}
