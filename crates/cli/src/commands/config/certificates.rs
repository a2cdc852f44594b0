//! What `[tls]` names, looked at before a controller does: of one controller, or of those whose files are on this machine.

use crate::failure::Failure;
use backstay_config::{Config, Tls, TlsSetting};
use backstay_model::NodeName;
use backstay_server::tls::{Files, Identity, TlsError};

/// Finds what would stop a start.
pub(super) fn check(config: &Config, node: Option<&NodeName>) -> Result<(), Failure> {
    let node = node.map(|name| config.node(name)).transpose()?;
    let Some(tls) = &config.tls else {
        return Ok(());
    };
    let authority = Files { authority: tls.authority.clone(), own: None };
    authority.read().map_err(|error| shown(tls, TlsSetting::Authority, &error))?;
    let mut here: Vec<_> = match node {
        Some(node) => vec![&node.name],
        None => config.nodes.iter().map(|node| &node.name).collect(),
    };
    if node.is_none() {
        // Another machine's are not here.
        here.retain(|name| tls.certificate(name).exists() || tls.key(name).exists());
    }
    for name in &here {
        check_node(config, tls, name)?;
    }
    if here.is_empty() {
        let missing: Vec<_> =
            config.nodes.iter().map(|node| tls.certificate(&node.name).display().to_string()).collect();
        let message =
            format!("no controller's certificate is on this machine: {} not found", missing.join(", "));
        let help = "Put the one of this machine's controller there (`backstay cert node` makes it), or correct the path.";
        return Err(tls.mistake(TlsSetting::Certificate, &message, help).into());
    }
    Ok(())
}

fn check_node(config: &Config, tls: &Tls, name: &NodeName) -> Result<(), Failure> {
    let (certificate, key) = (tls.certificate(name), tls.key(name));
    let files = Files { authority: tls.authority.clone(), own: Some((certificate.clone(), key.clone())) };
    let me = Identity::Node { cluster: config.spec.cluster.clone(), name: name.clone() };
    files.check(&me).map_err(|error| {
        let setting = match error.path() {
            path if path == key => TlsSetting::Key,
            path if path == certificate => TlsSetting::Certificate,
            _ => TlsSetting::Authority,
        };
        shown(tls, setting, &error)
    })
}

fn shown(tls: &Tls, setting: TlsSetting, error: &TlsError) -> Failure {
    let sentence = error.to_string();
    let (message, help) = sentence.rsplit_once(". ").unwrap_or((&sentence, ""));
    tls.mistake(setting, message, &format!("{help}.")).into()
}
