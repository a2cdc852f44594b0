//! The lab's MariaDB group: `m1` the primary, open, the others its replicas, with the accounts that `stack::mariadb`
//! names. Who watches it, if anybody, comes later.

use crate::error::{Result, file_error};
use crate::servers::mariadb::{self, MariaDbServer, Settings};
use crate::servers::ports::Ports;
use crate::stack::mariadb::{PASSWORD, acknowledge_all, await_same, create_accounts, follow};
use crate::stack::options::Options;
use crate::stack::state::{LabState, Member};
use backstay_model::Durability;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The service's name.
pub const SERVICE: &str = "orders";
/// The file with the password of all its accounts, in the lab's folder.
pub const PASSWORD_FILE: &str = "mariadb.pass";

/// Names them and claims their ports.
pub(super) fn plan(options: &Options, dir: &Path, ports: &mut Ports) -> Result<Vec<Member<MariaDbServer>>> {
    if options.mariadb > 0 {
        mariadb::program()?;
    }
    let numbers = 1_u32..=u32::try_from(options.mariadb).unwrap_or(0);
    let members = numbers.map(|number| {
        let name = format!("m{number}");
        let folder = dir.join(&name);
        Ok(Member::new(MariaDbServer { name, port: ports.claim()?, server_id: number, folder }))
    });
    members.collect()
}

/// Starts them. They may not answer yet.
pub(super) fn start(dir: &Path, state: &mut LabState) -> Result<()> {
    if state.databases.is_empty() {
        return Ok(());
    }
    let path = dir.join(PASSWORD_FILE);
    fs::write(&path, PASSWORD).map_err(file_error("write", &path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(file_error("protect", &path))?;
    for member in &mut state.databases {
        member.server.prepare(&Settings::recipe())?;
        member.process = Some(member.server.start()?);
    }
    Ok(())
}

/// Waits until they answer, and makes a group of them.
pub(super) fn form(options: &Options, state: &LabState) -> Result<()> {
    for member in &state.databases {
        if let Some(process) = member.process {
            member.server.await_answer(process)?;
        }
    }
    let servers: Vec<_> = state.databases.iter().map(|member| &member.server).collect();
    let Some((primary, replicas)) = servers.split_first() else {
        return Ok(());
    };
    create_accounts(primary)?;
    primary.ask("SET GLOBAL read_only=OFF")?;
    for replica in replicas {
        follow(replica, primary)?;
    }
    for replica in replicas {
        await_same(replica, primary)?;
    }
    match options.durability {
        Durability::Async => Ok(()),
        Durability::Majority => acknowledge_all(primary, replicas),
    }
}
