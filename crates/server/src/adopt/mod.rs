//! Making existing servers fit for Backstay: what is there is looked at, what is missing is planned and shown, and only
//! then done, one step at a time, each of them looked at afterwards. Every step can be done again, so a run that was cut
//! short is finished by the next one. It asks no controller, and changes no role.
//!
//! `CONFIG REWRITE` is never used: on a primary it removes the line that makes boot protected, and under a fence it
//! writes the fence into the file (both seen on Redis 7.0.15).

mod error;
mod file;
mod host;
mod look;
mod mariadb;
mod plan;
mod steps;
#[cfg(test)]
mod tests;
mod user;

pub use error::AdoptError;
pub use mariadb::{MariaDbAdoption, MariaDbMember, MariaDbStep, MariaDbWish};
pub use plan::{Change, FilePlan, InstancePlan, Place};

use crate::conversation::{Server, ServerError};
use crate::secret::{Login, Secret};
use backstay_config::{Config, Credentials};
use backstay_model::{Engine, EngineKind, InstanceName, InstanceSpec, RedisSpec, ServiceName, ServiceSpec};
use plan::Wanted;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use user::User;

/// How long the writes are counted.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// The backlog must hold the writes of this many seconds.
const BACKLOG_SECONDS: u64 = 30;
/// The smallest backlog that is left as it is.
const BACKLOG_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// What is to be made fit, and with whose rights.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The service.
    pub service: ServiceName,
    /// Only this instance.
    pub instance: Option<InstanceName>,
    /// Who may change the servers, if that is not whom the file names.
    pub admin: Option<Credentials>,
}

/// What would change, or has changed.
#[derive(Debug, Serialize)]
pub struct Adoption {
    /// The service.
    pub service: ServiceName,
    /// The writes that were seen while it was looked, in bytes of the replication stream per second.
    pub written_bytes_per_second: u64,
    /// The backlog that this calls for.
    pub backlog_bytes_min: u64,
    /// Each instance that was looked at.
    pub instances: Vec<InstancePlan>,
    #[serde(skip)]
    logins: Logins,
    #[serde(skip)]
    user: Option<User>,
}

/// Who may look and change, in the order in which they are tried, and who Backstay will be.
#[derive(Debug)]
struct Logins {
    admin: Vec<Login>,
    own: Login,
}

impl Adoption {
    /// Looks at every instance; changes nothing. Refuses as a whole if one of them cannot be looked at or may not be
    /// changed.
    pub async fn look(config: &Config, wish: &Wish) -> Result<Self, AdoptError> {
        let service = service(config, wish)?;
        let Engine::Redis(redis) = &service.engine else {
            let name = &service.name;
            let (engine, next) = if service.engine.kind() == EngineKind::MySql {
                ("MySQL", "set its servers up by hand, as docs/guide/mysql.md says".to_owned())
            } else {
                let next = format!(
                    "`backstay doctor mariadb {name}` says what its servers lack, each with the statement that mends it. To \
                     make a service of servers that no file names yet: `backstay adopt NAME --mariadb PRIMARY:PORT \
                     --config NEW_FILE`"
                );
                ("MariaDB", next)
            };
            return Err(AdoptError::NoRedis { service: name.clone(), engine, next });
        };
        let instances = instances(service, wish)?;
        let logins = logins(config, service, wish)?;
        let user = user(redis, &logins.own)?;
        let mut seen = look::all(&instances, &logins, user.is_some()).await?;
        look::strangers(service, &seen)?;
        let rate = rate(&mut seen).await?;
        let wanted = Wanted {
            backlog_bytes_min: (rate * BACKLOG_SECONDS).max(BACKLOG_BYTES_MIN),
            sync_at_once: service.parallel_syncs == 1,
            min_replicas_to_write: redis.min_replicas_to_write,
            user: user.as_ref(),
        };
        let plans = seen.iter().map(|seen| plan::plan(seen, &wanted)).collect();
        Ok(Self {
            service: service.name.clone(),
            written_bytes_per_second: rate,
            backlog_bytes_min: wanted.backlog_bytes_min,
            instances: plans,
            logins,
            user,
        })
    }

    /// Whether everything that can be seen is as it should be and there is nothing left to do or say.
    pub fn is_nothing(&self) -> bool {
        self.instances.iter().all(InstancePlan::is_nothing)
    }

    /// Whether there is something that `carry_out` would do.
    pub fn has_steps(&self) -> bool {
        self.instances.iter().any(InstancePlan::has_steps)
    }

    /// Does what is planned. At the first step that fails it stops; what was done until then is marked as done.
    pub async fn carry_out(&mut self) -> Result<(), AdoptError> {
        for plan in &mut self.instances {
            if plan.has_steps() {
                steps::carry_out(plan, &self.logins, self.user.as_ref()).await?;
            }
        }
        Ok(())
    }
}

fn service<'a>(config: &'a Config, wish: &Wish) -> Result<&'a ServiceSpec, AdoptError> {
    let services = &config.spec.services;
    services.iter().find(|service| service.name == wish.service).ok_or_else(|| AdoptError::UnknownService {
        file: config.file_name.clone(),
        name: wish.service.clone(),
        known: list(services.iter().map(|service| service.name.as_str())),
    })
}

fn instances<'a>(service: &'a ServiceSpec, wish: &Wish) -> Result<Vec<&'a InstanceSpec>, AdoptError> {
    let Some(name) = &wish.instance else {
        return Ok(service.instances.iter().collect());
    };
    match service.instance(name) {
        Some(instance) => Ok(vec![instance]),
        None => Err(AdoptError::UnknownInstance {
            service: service.name.clone(),
            name: name.clone(),
            known: list(service.instances.iter().map(|instance| instance.name.as_str())),
        }),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn logins(config: &Config, service: &ServiceSpec, wish: &Wish) -> Result<Logins, AdoptError> {
    let credentials = config.credentials(&service.name).cloned().unwrap_or_default();
    let own = Login::new(credentials.clone())?;
    let nobody = Login::new(Credentials { username: None, password: None, ..credentials.clone() })?;
    let admin = match &wish.admin {
        Some(admin) => vec![Login::new(Credentials { tls: credentials.tls, ..admin.clone() })?],
        // The user may not exist yet, or may not change anything; then a server without a password lets us in.
        None if own.password().is_some() => vec![own.clone(), nobody],
        None => vec![nobody],
    };
    Ok(Logins { admin, own })
}

/// The user that Backstay is to have, if the file names one.
fn user(redis: &RedisSpec, own: &Login) -> Result<Option<User>, AdoptError> {
    let Some((name, password)) = own.username().zip(own.password()) else {
        return Ok(None);
    };
    if redis.canary_key.contains(char::is_whitespace) {
        return Err(AdoptError::KeyUnfit { key: redis.canary_key.clone() });
    }
    Ok(Some(User::new(name, Secret::reveal(password), &redis.canary_key)))
}

/// The most that any of them wrote or received.
async fn rate(seen: &mut [look::Seen]) -> Result<u64, AdoptError> {
    let begun = Instant::now();
    sleep(RATE_WINDOW).await;
    let mut rate = 0.0_f64;
    for seen in seen {
        let offset = look::offset_now(seen).await?;
        let elapsed = begun.elapsed().as_secs_f64().max(RATE_WINDOW.as_secs_f64());
        rate = rate.max(offset.saturating_sub(seen.offset) as f64 / elapsed);
    }
    Ok(rate.ceil() as u64)
}

/// A connection with the first login that may do what is asked.
async fn connect(instance: &InstanceSpec, login: &Login) -> Result<Server, ServerError> {
    Server::connect(&instance.address, login).await
}
