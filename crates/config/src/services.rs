//! `[[redis]]`, `[[mariadb]]` and `[[mysql]]`: one section into one draft, with its defaults and the bounds of every number. What only
//! one of them has, and what settings mean together, is elsewhere.

use crate::config::{Credentials, SecretSource};
use crate::engines::{self, EngineDraft};
use crate::finding::{Findings, Span};
use crate::section::{At, Section};
use crate::service_tls::{self, ServiceTls};
use crate::values;
use backstay_model::{
    Address, Digest, EngineKind, Failsafe, InstanceName, InstanceSpec, Preference, ServiceName, ServiceSpec,
};
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A service as it was read.
pub(crate) struct ServiceDraft {
    pub(crate) span: Span,
    pub(crate) name: Option<At<ServiceName>>,
    pub(crate) instances: Vec<InstanceDraft>,
    /// Whether there is a list at all; if not, that was noted.
    pub(crate) has_instances: bool,
    pub(crate) instances_span: Span,
    pub(crate) down_after: At<Duration>,
    pub(crate) probe_interval: At<Duration>,
    drain_wait: At<Duration>,
    cooldown: At<Duration>,
    parallel_syncs: At<u64>,
    pub(crate) failsafe: At<Failsafe>,
    pub(crate) engine: EngineDraft,
    pub(crate) preference: PreferenceDraft,
    pub(crate) username: Option<At<String>>,
    /// Whether the file gives one, right or wrong.
    pub(crate) has_username: bool,
    pub(crate) password: Option<At<SecretSource>>,
    /// Whether the file names a source of the password, right or wrong.
    pub(crate) has_password: bool,
    tls: Option<ServiceTls>,
}

/// An instance as it was read.
pub(crate) struct InstanceDraft {
    pub(crate) name: Option<At<InstanceName>>,
    pub(crate) address: Option<At<Address>>,
    pub(crate) site: String,
    pub(crate) zone: String,
    pub(crate) priority: At<u64>,
    pub(crate) agent: Option<At<Address>>,
}

/// A preference as it was read.
#[derive(Default)]
pub(crate) struct PreferenceDraft {
    pub(crate) site: Option<At<String>>,
    pub(crate) zone: Option<At<String>>,
    max_lag: u64,
}

impl ServiceDraft {
    pub(crate) fn read(kind: EngineKind, mut section: Section<'_>, findings: &mut Findings) -> Self {
        let s = &mut section;
        let words = engines::words(kind);
        let name = s
            .required("name", findings, words.service_name, values::service_name)
            .map(|name| At { value: ServiceName::from(name.value), span: name.span });
        s.require("instances", findings, format!("Add instances = [ {}, ... ].", words.instance));
        let sections = s.tables("instances", findings, "an instance", words.instance);
        let has_instances = sections.is_some();
        let sections = sections.unwrap_or_default().into_iter();
        let instances = sections.map(|section| InstanceDraft::read(kind, section, findings)).collect();
        let password_settings = Password::SERVICE;
        let draft = Self {
            name,
            instances,
            has_instances,
            instances_span: s.key_span("instances"),
            down_after: s.duration("down_after", findings, ms(1000), ms(20)..=ms(600_000)),
            probe_interval: s.duration("probe_interval", findings, ms(100), ms(10)..=ms(60_000)),
            drain_wait: s.duration("drain_wait", findings, ms(50), ms(0)..=ms(10_000)),
            cooldown: s.duration("cooldown", findings, ms(10_000), ms(0)..=ms(24 * 3_600_000)),
            parallel_syncs: s.number("parallel_syncs", findings, 1, 1..=1000),
            engine: EngineDraft::read(kind, s, findings),
            failsafe: engines::failsafe(kind, s, findings),
            preference: PreferenceDraft::read(s.table("preference", findings, "a preference"), findings),
            username: s.optional("username", findings, values::identifier),
            has_username: s.has("username"),
            has_password: s.has(password_settings.file_key) || s.has(password_settings.env_key),
            password: password(s, findings, &password_settings),
            tls: service_tls::read(
                s.table("tls", findings, "the TLS of a service"),
                words.authority,
                findings,
            ),
            span: s.span.clone(),
        };
        section.finish(findings);
        draft
    }

    /// The service without its digest.
    pub(crate) fn spec(&self) -> Option<ServiceSpec> {
        Some(ServiceSpec {
            name: self.name.as_ref()?.value.clone(),
            engine: self.engine.engine(),
            instances: self.instances.iter().filter_map(InstanceDraft::spec).collect(),
            down_after: self.down_after.value,
            probe_interval: self.probe_interval.value,
            drain_wait: self.drain_wait.value,
            cooldown: self.cooldown.value,
            parallel_syncs: self.parallel_syncs.value as usize,
            preference: Preference {
                site: self.preference.site.as_ref().map(|site| site.value.clone()),
                zone: self.preference.zone.as_ref().map(|zone| zone.value.clone()),
                max_lag_bytes: self.preference.max_lag,
            },
            failsafe: self.failsafe.value,
            digest: Digest::from(""),
        })
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            username: self.username.as_ref().map(|username| username.value.clone()),
            password: self.password.as_ref().map(|password| password.value.clone()),
            tls: self.tls.clone(),
            replication: self.engine.replication(),
        }
    }
}

impl InstanceDraft {
    fn read(kind: EngineKind, mut section: Section<'_>, findings: &mut Findings) -> Self {
        let s = &mut section;
        let draft = Self {
            name: s
                .required("name", findings, "r1", values::name)
                .map(|name| At { value: InstanceName::from(name.value), span: name.span }),
            address: s.required("address", findings, engines::words(kind).address, values::address),
            site: place(s, "site", findings).map_or_else(String::new, |site| site.value),
            zone: place(s, "zone", findings).map_or_else(String::new, |zone| zone.value),
            // The default and the range are Redis' own for `replica-priority`.
            priority: s.number("priority", findings, 100, 0..=2_147_483_647),
            agent: engines::agent(kind, s, findings),
        };
        section.finish(findings);
        draft
    }

    fn spec(&self) -> Option<InstanceSpec> {
        Some(InstanceSpec {
            name: self.name.as_ref()?.value.clone(),
            address: self.address.as_ref()?.value.clone(),
            site: self.site.clone(),
            zone: self.zone.clone(),
            priority: self.priority.value as u32,
            agent: self.agent.as_ref().map(|agent| agent.value.clone()),
        })
    }
}

impl PreferenceDraft {
    fn read(section: Option<Section<'_>>, findings: &mut Findings) -> Self {
        let Some(mut section) = section else {
            return Self::default();
        };
        let draft = Self {
            site: place(&mut section, "site", findings),
            zone: place(&mut section, "zone", findings),
            max_lag: section.number("max_lag", findings, 0, 0..=1 << 40).value,
        };
        section.finish(findings);
        draft
    }
}

fn place(section: &mut Section<'_>, key: &'static str, findings: &mut Findings) -> Option<At<String>> {
    section.optional(key, findings, values::place)
}

/// The two settings of which one says where a password is.
pub(crate) struct Password {
    file_key: &'static str,
    env_key: &'static str,
}

impl Password {
    pub(crate) const SENTINEL: Self =
        Self { file_key: "sentinel_password_file", env_key: "sentinel_password_env" };
    pub(crate) const ENDPOINT_SERVER: Self =
        Self { file_key: "server_password_file", env_key: "server_password_env" };
    pub(crate) const REPLICATION: Self =
        Self { file_key: "replication_password_file", env_key: "replication_password_env" };
    pub(crate) const SERVICE: Self = Self { file_key: "password_file", env_key: "password_env" };
}

/// Where a password is, if one is wanted.
pub(crate) fn password(
    section: &mut Section<'_>,
    findings: &mut Findings,
    settings: &Password,
) -> Option<At<SecretSource>> {
    let file = section.optional(settings.file_key, findings, values::path);
    let env = section.optional(settings.env_key, findings, values::identifier);
    if let (Some(file), Some(env)) = (&file, &env) {
        let message = format!("both {} and {} are given", settings.file_key, settings.env_key);
        findings.error(&env.span, message, "Leave one of them out.").also(file.span.clone(), "and here");
    }
    let file = file.map(|file| At { value: SecretSource::File(file.value), span: file.span });
    let env = env.map(|env| At { value: SecretSource::Env(env.value), span: env.span });
    file.or(env)
}
