//! The checked configuration, and how a text becomes one: read everything, check everything, then either all mistakes
//! or a value. Secrets are named here, never held.

use crate::controllers::ControllerDraft;
use crate::digest::{cluster_digest, service_digest};
use crate::endpoints::{Endpoint, EndpointDraft};
use crate::engines::words;
use crate::finding::{ConfigErrors, Finding, Findings};
use crate::section::{At, Section};
use crate::service_tls::ServiceTls;
use crate::services::{Password, ServiceDraft, password};
use crate::tls::{Tls, TlsDraft};
use crate::{check, values};
use backstay_model::{Address, ClusterName, ClusterSpec, Digest, EngineKind, NodeName, ServiceName, nearest};
use miette::Diagnostic;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use toml::de::DeTable;

/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What decisions need.
    pub spec: ClusterSpec,
    /// Digest of the cluster's name and its controllers, compared between nodes as the services' digests are.
    pub cluster_digest: Digest,
    /// What each controller's process needs, in the order of the file.
    pub nodes: Vec<NodeSettings>,
    /// How to log in to each service's instances.
    pub credentials: BTreeMap<ServiceName, Credentials>,
    /// Where gateways take clients.
    pub endpoints: Vec<Endpoint>,
    /// The password that clients of the Sentinel port must give, if any.
    pub sentinel_password: Option<SecretSource>,
    /// Whether the file says that Sentinel clients of other machines need no password.
    pub sentinel_auth_none: bool,
    /// Where certificates are; without them nothing is encrypted, and everything listens on loopback.
    pub tls: Option<Tls>,
    /// What works, but not as well as the operator may think.
    pub warnings: Vec<Finding>,
    /// What messages call the file.
    pub file_name: String,
}

/// What one controller's process needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeSettings {
    /// Its name.
    pub name: NodeName,
    /// Where it listens for its peers.
    pub peer: Address,
    /// Where it listens for Sentinel clients, unless that is off.
    pub sentinel: Option<Address>,
    /// The Unix socket of the admin API.
    pub admin: PathBuf,
    /// Where the admin API also answers over TLS, if it does.
    pub admin_address: Option<Address>,
    /// The folder of its state.
    pub state: PathBuf,
    /// Whether its process runs a gateway, too.
    pub gateway: bool,
}

/// How to reach and log in to a service's instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// The user; Redis' default user if there is none. MariaDB always has one.
    pub username: Option<String>,
    /// Where the password is; no login without one.
    pub password: Option<SecretSource>,
    /// How to talk TLS; in the clear if there is none.
    pub tls: Option<ServiceTls>,
    /// As whom replicas log in at the primary, if the file says so. MariaDB alone.
    pub replication: Option<ReplicationUser>,
}

/// As whom a MariaDB's replicas log in at the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicationUser {
    /// The user.
    pub username: String,
    /// Where the password is.
    pub password: SecretSource,
}

impl Credentials {
    /// As whom replicas log in at the primary: Backstay's own user if the file names no other. Redis' replicas know that
    /// themselves, so `None` there unless there is such a user.
    pub fn replication_user(&self) -> Option<ReplicationUser> {
        let own =
            || Some(ReplicationUser { username: self.username.clone()?, password: self.password.clone()? });
        self.replication.clone().or_else(own)
    }
}

/// Where a secret is read at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A file that holds it, and nothing else but a final line break.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// The file does not know the node. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
#[error("{file_name} has no controller called '{name}'")]
#[diagnostic(help("{help}"))]
pub struct UnknownNode {
    file_name: String,
    name: NodeName,
    help: String,
}

impl Config {
    /// Reads a file's text; `file_name` is what messages call it.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let mut findings = Findings::new(file_name, text);
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file has {} bytes, more than a configuration can need", text.len());
            findings.error(&(0..0), message, format!("Keep it under {FILE_BYTES_MAX} bytes."));
            return Err(findings.finish_failed());
        }
        let (table, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let span = error.span().unwrap_or(0..0);
            findings.error(
                &span,
                error.message().trim_end(),
                "The file is not TOML here; nothing else was checked.",
            );
        }
        if findings.has_errors() {
            // What was recovered would only bring mistakes that the user did not make.
            return Err(findings.finish_failed());
        }
        let file = File::read(Section::new(table.get_ref(), 0..0, "the file"), &mut findings);
        check::all(&file, &mut findings);
        let warnings = findings.finish()?;
        Ok(file.into_config(file_name, warnings))
    }

    /// What the controller called `name` needs.
    pub fn node(&self, name: &NodeName) -> Result<&NodeSettings, UnknownNode> {
        self.nodes.iter().find(|node| node.name == *name).ok_or_else(|| {
            let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            let meant = nearest(name.as_str(), names.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("Did you mean '{meant}'? "));
            UnknownNode {
                file_name: self.file_name.clone(),
                name: name.clone(),
                help: format!("{meant}It has these: {}.", names.join(", ")),
            }
        })
    }

    /// How to log in to the instances of `service`; `None` if the file does not have the service.
    pub fn credentials(&self, service: &ServiceName) -> Option<&Credentials> {
        self.credentials.get(service)
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// The file as it was read: whatever is `None` was missing or wrong, and that was noted.
pub(crate) struct File {
    pub(crate) cluster: Option<At<String>>,
    pub(crate) controllers: Vec<ControllerDraft>,
    pub(crate) services: Vec<ServiceDraft>,
    pub(crate) endpoints: Vec<EndpointDraft>,
    sentinel_password: Option<SecretSource>,
    /// Whether the file names a source of the password, right or wrong.
    pub(crate) has_sentinel_password: bool,
    pub(crate) sentinel_auth_none: Option<At<()>>,
    pub(crate) tls: Option<TlsDraft>,
    settled_tls: Option<Tls>,
}

impl File {
    fn read(mut top: Section<'_>, findings: &mut Findings) -> Self {
        let cluster = top.required("cluster", findings, "shop", values::name);
        let example = "[[controllers]]";
        top.require("controllers", findings, format!("Write {example} for each, with name and address."));
        let controllers = top.tables("controllers", findings, "a controller", example);
        if controllers.as_ref().is_some_and(Vec::is_empty) {
            let help = format!("Write {example} for each, with name and address.");
            findings.error(&top.key_span("controllers"), "there are no controllers", help);
        }
        let redis = services(EngineKind::Redis, &mut top, findings);
        let mariadb = services(EngineKind::MariaDb, &mut top, findings);
        let mysql = services(EngineKind::MySql, &mut top, findings);
        let example = "[[endpoints]]";
        let endpoints = top.tables("endpoints", findings, "an endpoint", example);
        let controllers = controllers.unwrap_or_default().into_iter();
        let sections = redis.into_iter().chain(mariadb).chain(mysql);
        let controllers = controllers.map(|section| ControllerDraft::read(section, findings)).collect();
        let services: Vec<_> =
            sections.map(|(kind, section)| ServiceDraft::read(kind, section, findings)).collect();
        let endpoints = endpoints.unwrap_or_default().into_iter();
        let engine = |name: &ServiceName| {
            let named = |it: &&ServiceDraft| it.name.as_ref().is_some_and(|at| at.value == *name);
            services.iter().find(named).map(|it| it.engine.kind())
        };
        let endpoints = endpoints.map(|section| EndpointDraft::read(section, engine, findings)).collect();
        let sentinel_password = password(&mut top, findings, &Password::SENTINEL).map(|source| source.value);
        let has_sentinel_password = top.has("sentinel_password_file") || top.has("sentinel_password_env");
        let sentinel_auth_none = top.optional("sentinel_auth", findings, |text| {
            values::no_auth(text, "sentinel_password_file or sentinel_password_env")
        });
        let tls = top.table("tls", findings, "[tls]").map(|section| TlsDraft::read(section, findings));
        let settled_tls = tls.as_ref().and_then(|tls| tls.settings(findings));
        top.finish(findings);
        Self {
            cluster,
            controllers,
            services,
            endpoints,
            sentinel_password,
            has_sentinel_password,
            sentinel_auth_none,
            tls,
            settled_tls,
        }
    }

    /// Nothing is missing if there was no error.
    fn into_config(self, file_name: &str, warnings: Vec<Finding>) -> Config {
        let cluster = ClusterName::from(self.cluster.map_or_else(String::new, |cluster| cluster.value));
        let controllers: Vec<_> = self.controllers.iter().filter_map(ControllerDraft::spec).collect();
        let mut credentials = BTreeMap::new();
        let mut services = Vec::new();
        for draft in &self.services {
            if let Some(mut spec) = draft.spec() {
                let login = draft.credentials();
                spec.digest = service_digest(&spec, &login);
                credentials.insert(spec.name.clone(), login);
                services.push(spec);
            }
        }
        Config {
            cluster_digest: cluster_digest(&cluster, &controllers),
            nodes: self.controllers.iter().filter_map(ControllerDraft::node).collect(),
            spec: ClusterSpec { cluster, controllers, services },
            credentials,
            endpoints: self.endpoints.iter().filter_map(EndpointDraft::endpoint).collect(),
            sentinel_password: self.sentinel_password,
            sentinel_auth_none: self.sentinel_auth_none.is_some(),
            tls: self.settled_tls,
            warnings,
            file_name: file_name.to_owned(),
        }
    }
}

/// The sections of one kind.
fn services<'a>(
    kind: EngineKind,
    top: &mut Section<'a>,
    findings: &mut Findings,
) -> Vec<(EngineKind, Section<'a>)> {
    let example = format!("[[{}]]", kind.word());
    let sections = top.tables(kind.word(), findings, words(kind).service, &example);
    sections.unwrap_or_default().into_iter().map(|section| (kind, section)).collect()
}
