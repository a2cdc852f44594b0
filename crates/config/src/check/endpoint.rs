//! What an endpoint means together with the rest of the file: its service is there, it can be reached, and from other
//! machines only by those who prove who they are.

use super::exposure::is_loopback;
use crate::config::File;
use crate::endpoints::{EndpointDraft, EndpointProtocol, EndpointRole, ServerLogin};
use crate::finding::Findings;
use backstay_model::nearest;

/// Notes everything that is wrong or doubtful about the endpoints.
pub(super) fn all(file: &File, findings: &mut Findings) {
    for endpoint in &file.endpoints {
        service(file, endpoint, findings);
        if endpoint.listen.is_none() && endpoint.socket.is_none() {
            let port = match endpoint.protocol {
                EndpointProtocol::Redis => 6390,
                EndpointProtocol::Sql => 3390,
            };
            let help = format!(
                "Add listen = \"127.0.0.1:{port}\", or socket = \"/run/backstay/shop.sock\", or both."
            );
            findings.error(&endpoint.span, "an endpoint listens nowhere", help);
        }
        exposure(endpoint, findings);
        for login in endpoint.server_logins() {
            server_login(login, findings);
        }
    }
    let inside = file.controllers.iter().find_map(|controller| controller.gateway.as_ref());
    if let Some(inside) = inside.filter(|_| file.endpoints.is_empty()) {
        let help = "Write [[endpoints]] with name, service and listen, or leave it out.";
        findings.error(&inside.span, "a gateway without an endpoint serves nobody", help);
    }
}

fn service(file: &File, endpoint: &EndpointDraft, findings: &mut Findings) {
    let Some(wanted) = &endpoint.service else {
        return;
    };
    let names = || file.services.iter().filter_map(|service| Some(service.name.as_ref()?.value.as_str()));
    if names().any(|name| name == wanted.value.as_str()) {
        return;
    }
    let help = match nearest(wanted.value.as_str(), names()) {
        Some(meant) => format!("Did you mean '{meant}'?"),
        None => "Write the name of a [[redis]], [[mariadb]] or [[mysql]] of this file.".to_owned(),
    };
    findings.error(&wanted.span, format!("there is no service called '{}'", wanted.value), help);
}

/// A username alone logs in nobody.
fn server_login(login: &ServerLogin, findings: &mut Findings) {
    if let Some(username) = login.username.as_ref().filter(|_| !login.has_password) {
        let message = "there is a server_username but no password for it";
        let help = "Add server_password_file = \"/path\" or server_password_env = \"NAME\", or leave server_username out.";
        findings.error(&username.span, message, help);
    }
}

fn exposure(endpoint: &EndpointDraft, findings: &mut Findings) {
    let Some(listen) = endpoint.listen.as_ref().filter(|at| !is_loopback(&at.value)) else {
        return;
    };
    if endpoint.has_users || endpoint.auth_none.is_some() || endpoint.protocol == EndpointProtocol::Sql {
        // With SQL the database asks for passwords.
        return;
    }
    let what = match endpoint.role.as_ref().map(|at| at.value) {
        Some(EndpointRole::Reader { .. }) => "read",
        _ => "read and change",
    };
    let message = format!("whoever reaches {} could {what} everything", listen.value);
    let help = "Write users = [ { name = \"app\", password_file = \"/path\" } ], or auth = \"none\" if that is meant.";
    findings.error(&listen.span, message, help);
}
