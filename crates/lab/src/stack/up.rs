//! Bringing a lab up: folder, ports, files, processes, and the wait until all of it answers. The state file is written
//! before each process counts on it, so a lab that fails half-way can be taken down like any other.

use crate::admin;
use crate::error::{LabError, Result, file_error};
use crate::servers::agent::AgentServer;
use crate::servers::controller::{ControllerServer, Join, find_backstay};
use crate::servers::gateway::{GatewayServer, SqlPorts};
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::process::Liveness;
use crate::servers::redis::{self, Boot, RedisServer, log_tail};
use crate::stack::down::take_down;
use crate::stack::health::group_fault;
use crate::stack::lab::point_to_latest;
use crate::stack::options::Options;
use crate::stack::state::{Folder, LabState, Member, STATE_FILE, VIEW_FILE, write_json};
use crate::stack::view::LabView;
use crate::stack::{certificates, configuration, databases};
use crate::wait::poll_until;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// `sun_path` without its closing zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// Brings a lab up, or leaves nothing.
pub(crate) fn bring_up(options: &Options) -> Result<(PathBuf, Ports)> {
    options.check()?;
    redis::program()?;
    let backstay = match options.controllers {
        0 => None,
        _ => Some(find_backstay(options.backstay.clone())?),
    };
    let (dir, folder) = make_dir(options.dir.as_deref())?;
    let mut ports = Ports::open()?;
    let prepared = prepare(options, LabState::new(folder, backstay, &options.service), &dir, &mut ports);
    let state = prepared.inspect_err(|_| {
        if folder != Folder::Found {
            // It holds something, or never came to be: nothing to remove.
            let _ = fs::remove_dir(&dir);
        }
    })?;
    nursery::note_paths(match folder {
        Folder::Own => vec![dir.clone()],
        Folder::Made | Folder::Found => state.own_paths(&dir),
    });
    match start(options, &dir, state) {
        Ok(()) => Ok((dir, ports)),
        Err(error) => {
            // The first error is the one that says something.
            let _ = take_down(&dir);
            Err(error)
        }
    }
}

fn make_dir(wanted: Option<&Path>) -> Result<(PathBuf, Folder)> {
    let Some(wanted) = wanted else {
        let made = tempfile::Builder::new().prefix("backstay-lab-").tempdir();
        let made = made.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        return Ok((made.keep(), Folder::Own));
    };
    let made = !wanted.exists();
    fs::create_dir_all(wanted).map_err(file_error("create", wanted))?;
    if made {
        // Admin sockets and data are nobody else's business.
        fs::set_permissions(wanted, fs::Permissions::from_mode(0o700))
            .map_err(file_error("protect", wanted))?;
    }
    let dir = wanted.canonicalize().map_err(file_error("find", wanted))?;
    Ok((dir, if made { Folder::Made } else { Folder::Found }))
}

/// Claims ports, checks that nothing is in the way, and writes the state file.
fn prepare(options: &Options, mut state: LabState, dir: &Path, ports: &mut Ports) -> Result<LabState> {
    for name in options.redis_names() {
        state.instances.push(Member::new(RedisServer {
            folder: dir.join(&name),
            name,
            port: ports.claim()?,
        }));
    }
    state.databases = databases::plan(options, dir, ports)?;
    for member in state.databases.iter().filter(|_| options.agents) {
        let agent = AgentServer::new(member.server.clone(), ports.claim()?, dir);
        state.agents.push(Member::new(agent));
    }
    for name in options.controller_names() {
        state.controllers.push(Member::new(ControllerServer {
            peer: ports.claim()?,
            sentinel: ports.claim()?,
            admin: dir.join(format!("{name}.sock")),
            remote_admin: if options.tls { Some(ports.claim()?) } else { None },
            state: dir.join(&name),
            log: dir.join(format!("{name}.log")),
            name,
        }));
    }
    for name in options.gateway_names() {
        state.gateways.push(Member::new(GatewayServer {
            primary: ports.claim()?,
            reader: ports.claim()?,
            sql: match options.mariadb {
                0 => None,
                _ => Some(SqlPorts { primary: ports.claim()?, reader: ports.claim()? }),
            },
            log: dir.join(format!("{name}.log")),
            name,
        }));
    }
    check_paths(&state, dir)?;
    state.save(dir)?;
    Ok(state)
}

fn check_paths(state: &LabState, dir: &Path) -> Result<()> {
    if dir.join(STATE_FILE).exists() {
        return Err(LabError::Options(format!(
            "there is a lab in {} already. Take it down first with `backstay lab down --dir {0}`, or choose another folder.",
            dir.display()
        )));
    }
    if let Some(taken) = state.own_paths(dir).iter().find(|path| path.exists()) {
        return Err(LabError::Options(format!(
            "{} exists already and the lab would overwrite it. Choose an empty folder with --dir, or leave --dir out.",
            taken.display()
        )));
    }
    let admin = state.controllers.iter().map(|member| member.server.admin.clone());
    let sql = state.databases.iter().map(|member| member.server.socket());
    let longest = admin.chain(sql).map(|path| path.as_os_str().len()).max();
    if longest.is_some_and(|length| length > SOCKET_PATH_MAX) {
        return Err(LabError::Options(format!(
            "the folder's name {} is too long: a Unix socket's path has at most {SOCKET_PATH_MAX} bytes. \
             Choose a shorter --dir, or leave it out.",
            dir.display()
        )));
    }
    if dir.to_str().is_none_or(|name| name.contains(['"', '\\', '\n'])) {
        return Err(LabError::Options(format!(
            "the folder's name {} cannot be written into the servers' configuration. Choose one of plain letters with --dir.",
            dir.display()
        )));
    }
    Ok(())
}

fn start(options: &Options, dir: &Path, mut state: LabState) -> Result<()> {
    for member in &mut state.instances {
        member.server.write_configuration(Boot::Protected)?;
        member.process = Some(member.server.start()?);
    }
    databases::start(dir, &mut state)?;
    state.save(dir)?;
    for member in &state.instances {
        if let Some(process) = member.process {
            member.server.await_answer(process)?;
        }
    }
    databases::form(options, &state)?;
    start_controllers(options, dir, &mut state)?;
    write_json(&dir.join(VIEW_FILE), &LabView::of(dir, &state))?;
    if options.remember { point_to_latest(dir) } else { Ok(()) }
}

fn start_controllers(options: &Options, dir: &Path, state: &mut LabState) -> Result<()> {
    let Some(backstay) = state.backstay.clone() else {
        return Ok(());
    };
    let controllers: Vec<_> = state.controllers.iter().map(|member| member.server.clone()).collect();
    let instances: Vec<_> = state.instances.iter().map(|member| member.server.clone()).collect();
    let gateways: Vec<_> = state.gateways.iter().map(|member| member.server.clone()).collect();
    let file = dir.join(configuration::FILE);
    let databases: Vec<_> = state.databases.iter().map(|member| member.server.clone()).collect();
    let agents: Vec<_> = state.agents.iter().map(|member| member.server.clone()).collect();
    let servers = configuration::Servers {
        controllers: &controllers,
        instances: &instances,
        databases: &databases,
        agents: &agents,
        gateways: &gateways,
    };
    let text = configuration::text(options, dir, &servers);
    fs::write(&file, text).map_err(file_error("write", &file))?;
    if options.tls {
        certificates::make(&backstay, dir, &file, &controllers, &gateways, &agents)?;
    }
    for member in &mut state.controllers {
        member.process = Some(member.server.start(&backstay, &file, Join::Bootstrap)?);
    }
    for member in &mut state.agents {
        member.process = Some(member.server.start(&backstay, &file)?);
    }
    for member in &mut state.gateways {
        member.process = Some(member.server.start(&backstay, &file)?);
    }
    state.save(dir)?;
    await_primary(options, state)?;
    for member in &state.gateways {
        if let Some(process) = member.process {
            member.server.await_port(process)?;
        }
    }
    await_stream(options, &instances)
}

/// Waits until every replica receives what the primary is sent: before that, a fault would meet a group that never was
/// in step.
fn await_stream(options: &Options, instances: &[RedisServer]) -> Result<()> {
    let mut complaint = None;
    let whole = poll_until(options.ready_limit, || {
        complaint = group_fault(instances);
        complaint.is_none().then_some(())
    });
    whole.ok_or_else(|| LabError::Deadline {
        what: "that every replica follows the primary".to_owned(),
        waited: options.ready_limit,
        hint: format!("What is wrong: {}.", complaint.unwrap_or_default()),
    })
}

/// Whether it knows a primary of every service. The Sentinel port knows those of Redis alone.
fn names_primaries(options: &Options, controller: &ControllerServer) -> bool {
    if controller.primary(&options.service).is_none() {
        return false;
    }
    options.mariadb == 0
        || admin::status(&controller.admin).is_ok_and(|status| {
            let orders = status.services.iter().find(|service| service.name.as_str() == databases::SERVICE);
            orders.is_some_and(|orders| orders.primary.is_some())
        })
}

/// Waits until every controller names a primary; gives up as soon as one has ended.
fn await_primary(options: &Options, state: &LabState) -> Result<()> {
    let outcome = poll_until(options.ready_limit, || {
        for member in &state.controllers {
            if member.liveness() == Liveness::Gone {
                return Some(Err(LabError::Answer {
                    from: format!("controller {}", member.server.name),
                    what: format!("it ended while it was starting. {}", log_tail(&member.server.log)),
                }));
            }
        }
        state.controllers.iter().all(|member| names_primaries(options, &member.server)).then_some(Ok(()))
    });
    outcome.unwrap_or_else(|| {
        let silent = state.controllers.iter().find(|member| !names_primaries(options, &member.server));
        let hint = silent.map(|member| log_tail(&member.server.log)).unwrap_or_default();
        let also =
            if options.mariadb > 0 { format!(" and of '{}'", databases::SERVICE) } else { String::new() };
        Err(LabError::Deadline {
            what: format!("that every controller names a primary of '{}'{also}", options.service),
            waited: options.ready_limit,
            hint,
        })
    })
}
