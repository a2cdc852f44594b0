//! The configuration in force, defaults included, as a file that reads back to the same. For people and for comparing;
//! comments of the original are not in it.

use crate::config::{Config, SecretSource};
use crate::controllers::SENTINEL_OFF;
use crate::endpoints::{Endpoint, EndpointProtocol, EndpointRole};
use crate::service_tls::ServiceTls;
use crate::values::spelt;
use backstay_model::{ControllerSpec, Engine, ServiceSpec};
use std::fmt::{Display, Write as _};

impl Config {
    /// The configuration in force as TOML.
    pub fn show(&self) -> String {
        let mut out = Toml::default();
        out.text("cluster", &self.spec.cluster);
        out.secret("sentinel_password", self.sentinel_password.as_ref());
        if self.sentinel_auth_none {
            out.text("sentinel_auth", "none");
        }
        if let Some(tls) = &self.tls {
            let (certificate, key) = tls.patterns();
            out.line("\n[tls]");
            out.text("authority", tls.authority.display());
            out.text("certificate", certificate);
            out.text("key", key);
        }
        for controller in &self.spec.controllers {
            self.show_controller(controller, &mut out);
        }
        for service in &self.spec.services {
            self.show_service(service, &mut out);
        }
        for endpoint in &self.endpoints {
            out.endpoint(endpoint);
        }
        out.0
    }

    fn show_controller(&self, controller: &ControllerSpec, out: &mut Toml) {
        out.line("\n[[controllers]]");
        out.text("name", &controller.name);
        out.text("address", &controller.address);
        if let Ok(node) = self.node(&controller.name) {
            match &node.sentinel {
                Some(sentinel) => out.text("sentinel", sentinel),
                None => out.text("sentinel", SENTINEL_OFF),
            }
            out.text("admin", node.admin.display());
            if let Some(address) = &node.admin_address {
                out.text("admin_address", address);
            }
            out.text("state", node.state.display());
            out.line(&format!("gateway = {}", node.gateway));
        }
        out.text_unless_empty("site", &controller.site);
        out.text_unless_empty("zone", &controller.zone);
    }

    fn show_service(&self, service: &ServiceSpec, out: &mut Toml) {
        out.line(&format!("\n[[{}]]", service.engine.word()));
        out.text("name", &service.name);
        out.text("down_after", spelt(service.down_after));
        out.text("probe_interval", spelt(service.probe_interval));
        out.text("drain_wait", spelt(service.drain_wait));
        out.text("cooldown", spelt(service.cooldown));
        out.line(&format!("parallel_syncs = {}", service.parallel_syncs));
        match &service.engine {
            Engine::Redis(redis) => {
                out.text("canary_key", &redis.canary_key);
                out.line(&format!("min_replicas_to_write = {}", redis.min_replicas_to_write));
                out.line(&format!("ignore_sentinels = {}", redis.ignore_sentinels));
            }
            Engine::MariaDb(sql) | Engine::MySql(sql) => {
                out.text("durability", sql.durability.word());
                out.line(&format!("events = {}", sql.events));
                out.text("rebuild", sql.rebuild.word());
            }
        }
        out.text("failsafe", service.failsafe.word());
        if let Some(credentials) = self.credentials(&service.name) {
            out.text_unless_empty("username", credentials.username.as_deref().unwrap_or_default());
            out.secret("password", credentials.password.as_ref());
            if let Some(replication) = &credentials.replication {
                out.text("replication_username", &replication.username);
                out.secret("replication_password", Some(&replication.password));
            }
            if let Some(tls) = &credentials.tls {
                out.line(&format!("tls = {{ {} }}", tls_fields(tls).join(", ")));
            }
        }
        let preference = &service.preference;
        let mut fields = Vec::new();
        fields.extend(preference.site.iter().map(|site| format!("site = {}", quoted(site))));
        fields.extend(preference.zone.iter().map(|zone| format!("zone = {}", quoted(zone))));
        fields.push(format!("max_lag = {}", preference.max_lag_bytes));
        out.line(&format!("preference = {{ {} }}", fields.join(", ")));
        out.line("instances = [");
        for instance in &service.instances {
            let mut fields = vec![
                format!("name = {}", quoted(&instance.name)),
                format!("address = {}", quoted(&instance.address)),
            ];
            for (key, value) in [("site", &instance.site), ("zone", &instance.zone)] {
                if !value.is_empty() {
                    fields.push(format!("{key} = {}", quoted(value)));
                }
            }
            fields.push(format!("priority = {}", instance.priority));
            fields.extend(instance.agent.iter().map(|agent| format!("agent = {}", quoted(agent))));
            out.line(&format!("  {{ {} }},", fields.join(", ")));
        }
        out.line("]");
    }
}

fn tls_fields(tls: &ServiceTls) -> Vec<String> {
    let mut fields = vec![format!("ca = {}", quoted(tls.ca.display()))];
    if let Some(client) = &tls.client {
        fields.push(format!("certificate = {}", quoted(client.certificate.display())));
        fields.push(format!("key = {}", quoted(client.key.display())));
    }
    fields.extend(tls.server_name.iter().map(|name| format!("server_name = {}", quoted(name))));
    fields
}

#[derive(Default)]
struct Toml(String);

impl Toml {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn text(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {}", quoted(value));
    }

    fn text_unless_empty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        self.line("\n[[endpoints]]");
        self.text("name", &endpoint.name);
        self.text("service", &endpoint.service);
        match endpoint.role {
            EndpointRole::Primary => self.text("role", "primary"),
            EndpointRole::Reader { max_lag, otherwise } => {
                self.text("role", "reader");
                self.line(&format!("max_lag = {max_lag}"));
                self.text("otherwise", otherwise.word());
            }
        }
        if let Some(listen) = &endpoint.listen {
            self.text("listen", listen);
        }
        if let Some(socket) = &endpoint.socket {
            self.text("socket", socket.display());
        }
        if endpoint.protocol == EndpointProtocol::Redis {
            self.endpoint_of_redis(endpoint);
        }
        self.line(&format!("proxy_protocol = {}", endpoint.proxy_protocol));
        if endpoint.protocol == EndpointProtocol::Sql {
            self.line(&format!("send_proxy_protocol = {}", endpoint.send_proxy_protocol));
        }
        self.text("hold", spelt(endpoint.hold));
        self.line(&format!("held_max = {}", endpoint.held_max));
        self.line(&format!("clients_max = {}", endpoint.clients_max));
        self.line(&format!("memory_max = {}", endpoint.memory_max));
        self.text("idle_timeout", spelt(endpoint.idle_timeout));
    }

    /// What means nothing where clients log in at the database itself.
    fn endpoint_of_redis(&mut self, endpoint: &Endpoint) {
        let users = endpoint.users.iter().map(|user| {
            let mut fields =
                vec![format!("name = {}", quoted(&user.name)), secret("password", &user.password)];
            let username = user.server_username.iter();
            fields.extend(username.map(|username| format!("server_username = {}", quoted(username))));
            fields.extend(user.server_password.iter().map(|source| secret("server_password", source)));
            format!("{{ {} }}", fields.join(", "))
        });
        let users: Vec<_> = users.collect();
        if users.is_empty() {
            self.text("auth", "none");
        } else {
            self.line(&format!("users = [{}]", users.join(", ")));
        }
        self.text_unless_empty("server_username", endpoint.server_username.as_deref().unwrap_or_default());
        self.secret("server_password", endpoint.server_password.as_ref());
        if let Some(tls) = &endpoint.tls {
            let (certificate, key) = (quoted(tls.certificate.display()), quoted(tls.key.display()));
            self.line(&format!("tls = {{ certificate = {certificate}, key = {key} }}"));
        }
        self.line(&format!("commands_per_second = {}", endpoint.commands_per_second));
        self.line(&format!("unread_max = {}", endpoint.unread_max));
        self.text("slow", spelt(endpoint.slow));
    }

    fn secret(&mut self, key: &str, source: Option<&SecretSource>) {
        if let Some(source) = source {
            self.line(&secret(key, source));
        }
    }
}

fn secret(key: &str, source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("{key}_file = {}", quoted(path.display())),
        SecretSource::Env(name) => format!("{key}_env = {}", quoted(name)),
    }
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}
