//! Holds the shape of the workspace: which crate may depend on which. Whoever needs another edge changes the table and
//! `docs/architecture.md` with it.

use std::collections::BTreeMap;
use std::process::Command;

/// Every crate of the workspace, and all that it may depend on there.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("config", &["model"]),
    ("controller", &["model"]),
    ("consensus", &["model"]),
    ("node", &["model", "controller", "consensus"]),
    ("lease", &["model"]),
    ("simulator", &["model", "controller", "consensus", "node", "lease"]),
    ("gateway", &["model", "wire", "lease"]),
    ("server", &["model", "wire", "config", "controller", "consensus", "node", "lease", "gateway"]),
    ("lab", &["model", "wire", "config"]),
    ("cli", &["model", "config", "server", "lab"]),
];

/// Crates that touch the world. No pure crate may use what they use to do so.
const WORLDLY: &[&str] = &[
    "mio",
    "tokio",
    "redb",
    "nix",
    "rustix",
    "socket2",
    "hyper",
    "axum",
    "getrandom",
    "tempfile",
    "rustls",
    "tokio-rustls",
    "rcgen",
];
const PURE: &[&str] = &["model", "wire", "config", "controller", "consensus", "node", "lease", "simulator"];

#[test]
fn crates_depend_only_where_the_architecture_says() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for (name, dependencies) in workspace() {
        let Some(edges) = allowed.get(name.as_str()) else {
            panic!("crate '{name}' is not in the table of edges: add it, and to docs/architecture.md");
        };
        for dependency in dependencies.iter().filter_map(|it| it.strip_prefix("backstay-")) {
            assert!(edges.contains(&dependency), "'{name}' must not depend on '{dependency}'");
        }
    }
}

#[test]
fn pure_crates_use_nothing_that_touches_the_world() {
    for (name, dependencies) in workspace().into_iter().filter(|(name, _)| PURE.contains(&name.as_str())) {
        for dependency in &dependencies {
            assert!(
                !WORLDLY.contains(&dependency.as_str()),
                "pure crate '{name}' must not depend on '{dependency}'"
            );
        }
    }
}

/// Each crate's short name and its dependencies, without those of tests.
fn workspace() -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let name = text(&package["name"]).trim_start_matches("backstay-").to_owned();
        let used = package["dependencies"].as_array().unwrap().iter().filter(|it| it["kind"] != "dev");
        (name, used.map(|it| text(&it["name"])).collect())
    });
    packages.collect()
}
