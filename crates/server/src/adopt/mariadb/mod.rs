//! Making a plain MariaDB primary and its replicas a service: from one address to a file that controllers start with. It
//! finds who follows the primary, has all of them examined as `doctor` does, plans what is missing, and does it one step at
//! a time. It changes no role, restarts nothing, and writes into no file that is there already.
//!
//! What is wanted of a server is the doctor's table: see `crate::doctor`.

mod carry;
mod find;
mod plan;
mod text;

pub use plan::{MariaDbMember, MariaDbStep};

use super::AdoptError;
use crate::doctor::{Finding, reach};
use crate::link::line::LineError;
use crate::secret::Login;
use backstay_config::{Config, Credentials};
use backstay_model::{Address, Durability, Fault, MariaDbSpec, ServiceName};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// As whom Backstay logs in, and as whom replicas do.
pub(super) const OWN_USER: &str = "backstay";
pub(super) const REPLICATION_USER: &str = "backstay_replica";

/// What is to become a service, and with whose rights.
#[derive(Clone, Debug)]
pub struct MariaDbWish {
    /// What the service is to be called.
    pub service: ServiceName,
    /// The primary.
    pub primary: Address,
    /// Replicas that the primary does not know the address of.
    pub replicas: Vec<Address>,
    /// Who may change the servers.
    pub admin: Credentials,
    /// When a commit is acknowledged; left out: `majority` with three servers, else `async`.
    pub durability: Option<Durability>,
    /// From which hosts the new users may log in, as MariaDB writes it.
    pub from_hosts: String,
    /// The file that is to be written.
    pub file: PathBuf,
}

/// What would be done, or was.
#[derive(Debug, Serialize)]
pub struct MariaDbAdoption {
    /// The service.
    pub service: ServiceName,
    /// When its commits will be acknowledged.
    pub durability: &'static str,
    /// The file that is written.
    pub file: PathBuf,
    /// The servers, the primary first.
    pub members: Vec<MariaDbMember>,
    /// What stands in the way: nothing is done as long as there is any.
    pub hindrances: Vec<Finding>,
    /// What is done, in order.
    pub steps: Vec<MariaDbStep>,
    /// What is left to somebody else.
    pub left: Vec<Finding>,
    #[serde(skip)]
    work: Work,
}

/// What the steps need.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) admin: Login,
    pub(super) spec: MariaDbSpec,
    pub(super) own_secret: PathBuf,
    pub(super) replication_secret: PathBuf,
    /// What the file will say.
    pub(super) text: String,
}

impl MariaDbAdoption {
    /// Looks at everything; changes nothing.
    pub async fn look(wish: &MariaDbWish) -> Result<Self, AdoptError> {
        if wish.file.exists() {
            return Err(unfit(format!(
                "  {} exists already\n    next: name another file with --config, or move that one away",
                wish.file.display()
            )));
        }
        let admin = Login::new(wish.admin.clone())?;
        let group = find::find(wish, &admin).await?;
        let durability = wish.durability.unwrap_or(match group.seen.len() {
            3 => Durability::Majority,
            _ => Durability::Async,
        });
        let spec = MariaDbSpec {
            durability,
            events: group.primary().is_on("event_scheduler"),
            ..MariaDbSpec::default()
        };
        let folder = wish.file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let secret = |user: &str| folder.join(format!("{}-{user}.pass", wish.service));
        let (own_secret, replication_secret) = (secret(OWN_USER), secret(REPLICATION_USER));
        let text = text::file(wish, &group, &spec, [own_secret.as_path(), replication_secret.as_path()]);
        let config = Config::parse(&wish.file.display().to_string(), &text)
            .map_err(|error| unfit(format!("  the file that would be written is not right: {error}")))?;
        let work = Work { admin, spec, own_secret, replication_secret, text };
        Ok(plan::plan(wish, &config, &group, work))
    }

    /// Whether nothing stands in the way.
    pub fn is_possible(&self) -> bool {
        self.hindrances.is_empty()
    }

    /// Does what is planned. At the first step that fails it stops; what was done until then is marked as done.
    pub async fn carry_out(&mut self) -> Result<(), AdoptError> {
        if !self.is_possible() {
            return Err(unfit("  something stands in the way, see above".to_owned()));
        }
        carry::carry_out(self).await
    }
}

pub(super) fn unfit(sentence: String) -> AdoptError {
    AdoptError::Unfit(vec![sentence])
}

/// Why a server cannot be looked at, with what to do.
pub(super) fn unreachable(name: &str, address: &Address, error: &LineError, user: &str) -> String {
    let next = match error {
        LineError::LoginRefused(Fault::WrongPassword | Fault::HostRefused, _) => {
            "name an administrator who is let in from here: --admin-user with --admin-password-file or --admin-password-env"
        }
        _ => reach::finding(error, user).advice.unwrap_or("mend that first"),
    };
    format!("  {name} ({address}) {}\n    next: {next}", reach::sentence(error))
}
