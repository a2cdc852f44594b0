//! What listens beyond this machine proves who it talks to. Without certificates everything stays on loopback; the
//! Sentinel port, which knows no certificates, wants a password there.

use crate::config::File;
use crate::finding::{Findings, Span};
use backstay_model::Address;
use std::net::IpAddr;

/// Notes every listener that is more open than it may be.
pub(super) fn all(file: &File, findings: &mut Findings) {
    let instances = file.services.iter().flat_map(|service| &service.instances);
    for agent in instances.filter_map(|instance| instance.agent.as_ref()).filter(|_| file.tls.is_none()) {
        needs_certificates(&agent.value, &agent.span, findings);
    }
    for controller in &file.controllers {
        let peer = controller.address.as_ref().map(|at| (&at.value, &at.span));
        let admin = controller.admin_address.as_ref().map(|at| (&at.value, &at.span));
        let sentinel = controller.sentinel.as_ref();
        let sentinel = sentinel.and_then(|at| Some((at.value.as_ref()?, &at.span)));
        if file.tls.is_none() {
            // A default sentinel has the peer address' host and place.
            let sentinel = sentinel.filter(|_| !controller.sentinel_is_default);
            for (address, span) in [peer, sentinel, admin].into_iter().flatten() {
                needs_certificates(address, span, findings);
            }
            if let Some((address, span)) = admin.filter(|(address, _)| is_loopback(address)) {
                let message = format!("{address} needs certificates, and there is no [tls]");
                findings.error(span, message, CERTIFICATES);
            }
        } else if let Some((address, span)) = sentinel {
            needs_password(file, address, span, findings);
        }
    }
}

const CERTIFICATES: &str = "Make certificates with `backstay cert authority` and `backstay cert node`, and name them in \
     [tls]; without them Backstay listens on loopback only: 127.0.0.1, [::1] or localhost.";

fn needs_certificates(address: &Address, span: &Span, findings: &mut Findings) {
    if !is_loopback(address) {
        let message = format!("{address} is not a loopback address, and there is no [tls]");
        findings.error(span, message, CERTIFICATES);
    }
}

fn needs_password(file: &File, address: &Address, span: &Span, findings: &mut Findings) {
    if is_loopback(address) || file.has_sentinel_password || file.sentinel_auth_none.is_some() {
        return;
    }
    let message = format!("Sentinel clients reach {address} from other machines without a password");
    let help = "Write sentinel_password_file = \"/path\" at the top of the file, or sentinel = \"off\" for this \
                controller, or sentinel_auth = \"none\" at the top if everybody who can reach it may ask it.";
    findings.error(span, message, help);
}

pub(super) fn is_loopback(address: &Address) -> bool {
    let host = address.host.to_ascii_lowercase();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
