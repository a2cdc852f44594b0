//! MySQL 8's words, where they are not MariaDB's: another language of replication, sets of transactions instead of one
//! position, and no blocks. Not yet tried on a real server.

mod gtids;
mod info;
mod script;
mod statements;

pub(super) use info::{identity, replication, version};
pub(super) use script::{Next, Script};
pub(super) use statements::{IDENTITY, SETUP, info};

use super::Settings;
use super::statements::Following;
use backstay_model::{ClientKind, Command, Fault, Sql};
use script::{MISSING, Step};

/// What an order is, in steps. `following`: what the instance said of itself last.
pub(super) fn script(settings: &Settings, command: &Command, following: &Following) -> Result<Script, Fault> {
    let is_secret = matches!(command, Command::Sql(Sql::Follow { .. } | Sql::Demote { .. }));
    let steps = match command {
        Command::DisconnectClients(ClientKind::Normal) => vec![Step::Disconnect],
        Command::Canary(_) => statements::canary(),
        Command::Sql(Sql::Close) => statements::close(),
        Command::Sql(Sql::Open) => statements::open(settings),
        Command::Sql(Sql::Delay) => statements::delay(),
        Command::Sql(Sql::StopReceiving) => statements::stop_receiving(),
        Command::Sql(Sql::Follow { primary, acker }) => {
            statements::follow(settings, primary, *acker, following)
        }
        Command::Sql(Sql::Demote { primary, acker }) => statements::demote(settings, primary, *acker),
        Command::Sql(Sql::Ascend { replid, offset }) => {
            statements::ascend(settings, replid, *offset).ok_or(Fault::Unsuitable)?
        }
        // What only a Redis is told would change nothing.
        _ => return Err(Fault::OtherError),
    };
    Ok(Script::new(steps, is_secret))
}

/// The table of canaries is not there yet, or not on this replica: what was asked for before it is answered all the same.
pub(super) fn is_missing_canary(code: u16) -> bool {
    MISSING.contains(&code)
}
