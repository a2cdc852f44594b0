//! How MariaDB's programs reach the running instance: as Backstay's own user, by the socket if the agent was told of one.
//! The password goes by the environment, where other users do not see it.

use super::tools::Tool;
use super::trouble::Trouble;
use crate::secret;
use backstay_config::Credentials;
use backstay_model::Address;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(250);
/// How long one statement may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) credentials: Credentials,
    pub(super) address: Address,
    pub(super) socket: Option<PathBuf>,
}

impl Access {
    /// Tells a program how to log in.
    pub(super) fn give(&self, command: &mut Command) -> Result<(), Trouble> {
        if let Some(user) = &self.credentials.username {
            command.arg(format!("--user={user}"));
        }
        if let Some(source) = &self.credentials.password {
            let password = secret::read(source).map_err(|error| Trouble::Impossible(error.to_string()))?;
            command.env("MYSQL_PWD", password.reveal());
        }
        if let Some(socket) = &self.socket {
            command.arg("--protocol=socket").arg(format!("--socket={}", socket.display()));
            return Ok(());
        }
        command.arg("--protocol=tcp");
        command.arg(format!("--host={}", self.address.host)).arg(format!("--port={}", self.address.port));
        if let Some(tls) = &self.credentials.tls {
            command.arg("--ssl").arg(format!("--ssl-ca={}", tls.ca.display()));
            if let Some(client) = &tls.client {
                command.arg(format!("--ssl-cert={}", client.certificate.display()));
                command.arg(format!("--ssl-key={}", client.key.display()));
            }
            // The programs know no other name than the host's.
            if tls.server_name.is_none() {
                command.arg("--ssl-verify-server-cert");
            }
        }
        Ok(())
    }

    /// What the instance answers to a statement: its rows, with tabs between values.
    pub(super) async fn ask(&self, statement: &str, work: &Path) -> Result<String, Trouble> {
        let mut tool = Tool::new("mariadb", work);
        tool.command.arg("--no-defaults");
        self.give(&mut tool.command)?;
        tool.command.args(["--batch", "--skip-column-names", "--raw"]).arg(format!("--execute={statement}"));
        let asked = tokio::time::timeout(ANSWER_LIMIT, tool.output()).await;
        let asked = asked
            .unwrap_or_else(|_| Err(Trouble::Slow { program: "mariadb".to_owned(), limit: ANSWER_LIMIT }));
        asked.map(|rows| rows.trim_end().to_owned()).map_err(|trouble| match trouble {
            Trouble::Tool { said, .. } => Trouble::Refused { statement: statement.to_owned(), said },
            other => other,
        })
    }

    /// Waits until it answers, if only that this user may not log in.
    pub(super) async fn await_answer(&self, limit: Duration, work: &Path) -> Result<(), Trouble> {
        let started = Instant::now();
        while started.elapsed() < limit {
            match self.ask("DO 1", work).await {
                Ok(_) => return Ok(()),
                // The client's own errors begin with 2.
                Err(Trouble::Refused { said, .. }) if said.contains("ERROR 1") => return Ok(()),
                Err(missing @ Trouble::Missing { .. }) => return Err(missing),
                Err(_) => sleep(PAUSE).await,
            }
        }
        Err(Trouble::NotStarting(limit))
    }
}
