//! What is wrong with the servers of a MariaDB service, each with the statement that mends it. It logs in as controllers
//! do, asks every instance at the same time, and changes nothing.
//!
//! `look` asks, `checks` is the table of everything that is looked at, `reach` is for those who could not be asked.

pub(crate) mod checks;
pub(crate) mod finding;
mod grants;
mod group;
pub(crate) mod look;
pub(crate) mod reach;
mod rights;
#[cfg(test)]
mod tests;

pub use checks::SET_BY_BACKSTAY;
pub use finding::{Finding, Severity};

use crate::link::line::LineError;
use crate::secret::{Login, LoginError, SecretError};
use crate::tls::TlsError;
use backstay_config::{Config, EndpointRole};
use backstay_model::{Address, EngineKind, InstanceName, MariaDbSpec, ServiceName, ServiceSpec};
use checks::{Group, Patient};
use look::Seen;
use serde::Serialize;
use tokio::task::JoinSet;

/// Everything that was looked at, and what is not as it should be.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Each service.
    pub services: Vec<ServiceExamination>,
    /// What nobody needs to set, because Backstay does.
    pub set_by_backstay: &'static [&'static str],
}

/// One service.
#[derive(Debug, Serialize)]
pub struct ServiceExamination {
    /// Its name.
    pub service: ServiceName,
    /// Its instances, in the order of the file.
    pub instances: Vec<InstanceExamination>,
}

/// One instance.
#[derive(Debug, Serialize)]
pub struct InstanceExamination {
    /// Its name.
    pub instance: InstanceName,
    /// Its address.
    pub address: Address,
    /// Its version; `None`: it could not be looked at.
    pub version: Option<String>,
    /// `primary`, `replica`, or what it is else.
    pub role: Option<&'static str>,
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The file does not have the service.
    #[error("{file} has no service called '{name}'. Its MariaDB services: {known}")]
    UnknownService {
        /// The file.
        file: String,
        /// What was asked for.
        name: ServiceName,
        /// What there is.
        known: String,
    },
    /// It is no MariaDB.
    #[error(
        "the service {service} is a Redis: `backstay adopt {service} --dry-run` says what its servers lack"
    )]
    NoMariaDb {
        /// The service.
        service: ServiceName,
    },
    /// It is a MySQL.
    #[error(
        "the service {service} is a MySQL, and this command examines a MariaDB only, yet: docs/guide/mysql.md says what its \
         servers must be set to"
    )]
    MySql {
        /// The service.
        service: ServiceName,
    },
    /// There is none.
    #[error("{file} has no MariaDB service: write [[mariadb]], see docs/guide/configure.md")]
    NoServices {
        /// The file.
        file: String,
    },
    /// A password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<LoginError> for DoctorError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Secret(error) => Self::Secret(error),
            LoginError::Tls(error) => Self::Tls(error),
        }
    }
}

impl Examination {
    /// Looks at every instance of the MariaDB services, or of this one.
    pub async fn of(config: &Config, service: Option<&ServiceName>) -> Result<Self, DoctorError> {
        let mut services = Vec::new();
        for service in chosen(config, service)? {
            services.push(examine(config, service).await?);
        }
        Ok(Self { services, set_by_backstay: SET_BY_BACKSTAY })
    }

    /// Every finding.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let instances = self.services.iter().flat_map(|service| &service.instances);
        instances.flat_map(|instance| &instance.findings)
    }

    /// How many findings weigh so much.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|finding| finding.severity == severity).count()
    }
}

fn chosen<'a>(
    config: &'a Config,
    wanted: Option<&ServiceName>,
) -> Result<Vec<(&'a ServiceSpec, &'a MariaDbSpec)>, DoctorError> {
    let all = &config.spec.services;
    let mariadb = all.iter().filter(|service| service.engine.kind() == EngineKind::MariaDb);
    let mariadb: Vec<_> = mariadb.filter_map(|service| Some((service, service.engine.mariadb()?))).collect();
    let Some(name) = wanted else {
        let none = mariadb.is_empty();
        let file = || config.file_name.clone();
        return if none { Err(DoctorError::NoServices { file: file() }) } else { Ok(mariadb) };
    };
    if let Some(found) = mariadb.iter().find(|(service, _)| service.name == *name) {
        return Ok(vec![*found]);
    }
    match all.iter().find(|service| service.name == *name).map(|service| service.engine.kind()) {
        Some(EngineKind::Redis) => return Err(DoctorError::NoMariaDb { service: name.clone() }),
        Some(EngineKind::MySql) => return Err(DoctorError::MySql { service: name.clone() }),
        Some(EngineKind::MariaDb) | None => {}
    }
    let known: Vec<_> = mariadb.iter().map(|(service, _)| service.name.as_str()).collect();
    Err(DoctorError::UnknownService {
        file: config.file_name.clone(),
        name: name.clone(),
        known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
    })
}

async fn examine(
    config: &Config,
    (service, spec): (&ServiceSpec, &MariaDbSpec),
) -> Result<ServiceExamination, DoctorError> {
    let credentials = config.credentials(&service.name).cloned().unwrap_or_default();
    let login = Login::new(credentials)?;
    let looked = look_at_all(service, spec, &login).await;
    let settings = login.mariadb_settings(spec.clone());
    let own = |endpoint: &&backstay_config::Endpoint| {
        endpoint.service == service.name && matches!(endpoint.role, EndpointRole::Primary)
    };
    let clients_max =
        config.endpoints.iter().filter(own).map(|it| it.clients_max).reduce(u64::saturating_add);
    let seen: Vec<&Seen> = looked.iter().filter_map(|looked| looked.as_ref().ok()).collect();
    let group = Group {
        service,
        majority: spec.durability == backstay_model::Durability::Majority,
        events: spec.events,
        seen: &seen,
        replicator: &settings.replication.username,
        clients_max,
    };
    let instances = service.instances.iter().zip(&looked).map(|(instance, looked)| {
        let mut findings = match looked {
            Ok(seen) => checks::examine(&Patient { seen, group: &group })
                .into_iter()
                .map(|(check, found)| found.at(&service.name, &instance.name, check.name, check.why))
                .collect(),
            Err(error) => {
                let found = reach::finding(error, &settings.login.username);
                let why = "what cannot be reached from here cannot be watched from here either";
                vec![found.at(&service.name, &instance.name, "reached", why)]
            }
        };
        findings.sort_by_key(|finding| finding.severity);
        let seen = looked.as_ref().ok();
        InstanceExamination {
            instance: instance.name.clone(),
            address: instance.address.clone(),
            version: seen.map(|seen| seen.version.clone()),
            role: seen.map(Seen::role),
            findings,
        }
    });
    Ok(ServiceExamination { service: service.name.clone(), instances: instances.collect() })
}

/// All at the same time, in the order of the file.
async fn look_at_all(
    service: &ServiceSpec,
    spec: &MariaDbSpec,
    login: &Login,
) -> Vec<Result<Seen, LineError>> {
    let mut tasks = JoinSet::new();
    for (place, instance) in service.instances.iter().cloned().enumerate() {
        let (login, spec) = (login.clone(), spec.clone());
        tasks.spawn(async move { (place, look::look(&instance, &login, &spec).await) });
    }
    let lost = || Err(LineError::Ended("it was not looked at to the end".to_owned()));
    let mut looked: Vec<_> = service.instances.iter().map(|_| lost()).collect();
    while let Some(done) = tasks.join_next().await {
        if let Ok((place, seen)) = done {
            looked[place] = seen;
        }
    }
    looked
}
