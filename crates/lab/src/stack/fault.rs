//! Faults: what is done to a server, to see what the others do. Each returns when it has taken effect and names the
//! moment just before it began.

use crate::error::{LabError, Result, file_error};
use crate::servers::agent::AgentServer;
use crate::servers::controller::{ControllerServer, Join};
use crate::servers::gateway::GatewayServer;
use crate::servers::mariadb::MariaDbServer;
use crate::servers::process::{Liveness, Moment, Process};
use crate::servers::redis::{RedisServer, log_tail};
use crate::stack::configuration;
use crate::stack::lab::Lab;
use crate::stack::state::{LabState, Member, VIEW_FILE, write_json};
use crate::stack::view::LabView;
use crate::wait::poll_until;
use backstay_model::hint;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(10);

/// What can be done to an instance, a controller or a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// `kill -9`.
    Kill,
    /// `kill -STOP`: it stands still, its sockets stay open.
    Hang,
    /// `kill -CONT`: it goes on.
    Resume,
    /// It ends in good order (a database writes its data) and starts again; if it is dead, it just starts. One that
    /// hangs cannot end in good order and is killed.
    Restart,
    /// `kill -9`, its data files are removed, and it starts again: an instance without its disk.
    RestartEmpty,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// The moment just before the first signal.
    pub at_unix_ns: u64,
    /// The same moment, to measure from.
    #[serde(skip)]
    pub at: Moment,
}

impl Fault {
    /// Every fault, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Kill, Self::Hang, Self::Resume, Self::Restart, Self::RestartEmpty];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Resume => "resume",
            Self::Restart => "restart",
            Self::RestartEmpty => "restart-empty",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|fault| fault.name()).collect();
            LabError::Options(format!("'{text}' is no fault. There are: {}.", names.join(", ")))
        })
    }
}

/// A server by name, with the process that it last was.
enum Target {
    Controller(ControllerServer, Option<Process>),
    Redis(RedisServer, Option<Process>),
    MariaDb(MariaDbServer, Option<Process>),
    Gateway(GatewayServer, Option<Process>),
    Agent(AgentServer, Option<Process>),
}

impl Lab {
    /// Does `fault` to the server called `name`.
    pub fn fault(&self, fault: Fault, name: &str) -> Result<FaultReport> {
        self.fault_all(fault, &[name])
    }

    /// Does `fault` to several servers at the same time: every signal is sent before any effect is waited for.
    pub fn fault_all(&self, fault: Fault, names: &[&str]) -> Result<FaultReport> {
        let state = self.state()?;
        let targets = names.iter().map(|name| find(&state, name)).collect::<Result<Vec<_>>>()?;
        let at = match fault {
            Fault::Kill => signal_all(&targets, Signal::SIGKILL, Liveness::Gone, fault)?,
            Fault::Hang => signal_all(&targets, Signal::SIGSTOP, Liveness::Stopped, fault)?,
            Fault::Resume => signal_all(&targets, Signal::SIGCONT, Liveness::Running, fault)?,
            Fault::Restart | Fault::RestartEmpty => {
                let at = Moment::now();
                for target in &targets {
                    self.restart(&state, target, fault)?;
                }
                at
            }
        };
        let state = self.state()?;
        write_json(&self.dir().join(VIEW_FILE), &LabView::of(self.dir(), &state))?;
        Ok(FaultReport { at_unix_ns: at.unix_ns, at })
    }

    fn restart(&self, state: &LabState, target: &Target, fault: Fault) -> Result<()> {
        let empty = fault == Fault::RestartEmpty;
        if empty {
            kill(target)?;
        } else {
            end_in_good_order(target)?;
        }
        let file = self.dir().join(configuration::FILE);
        let backstay = state.backstay.as_deref().unwrap_or(Path::new("backstay"));
        match target {
            Target::Redis(server, _) => {
                if empty {
                    server.remove_data()?;
                }
                let process = server.start()?;
                self.note(target.name(), process)?;
                server.await_answer(process)
            }
            Target::MariaDb(server, _) => {
                if empty {
                    server.empty()?;
                }
                let process = server.start()?;
                self.note(target.name(), process)?;
                server.await_answer(process)
            }
            Target::Controller(server, _) => {
                if empty {
                    remove_folder(&server.state)?;
                }
                let process = server.start(backstay, &file, Join::Restart)?;
                self.note(target.name(), process)?;
                await_port(server, process)
            }
            Target::Gateway(server, _) => {
                let process = server.start(backstay, &file)?;
                self.note(target.name(), process)?;
                server.await_port(process)
            }
            Target::Agent(server, _) => self.note(target.name(), server.start(backstay, &file)?),
        }
    }

    fn note(&self, name: &str, process: Process) -> Result<()> {
        LabState::update(self.dir(), |state| state.note(name, process)).map(drop)
    }
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Controller(server, _) => &server.name,
            Self::Redis(server, _) => &server.name,
            Self::MariaDb(server, _) => &server.name,
            Self::Gateway(server, _) => &server.name,
            Self::Agent(server, _) => &server.name,
        }
    }

    fn process(&self) -> Option<Process> {
        match self {
            Self::Controller(_, process)
            | Self::Redis(_, process)
            | Self::MariaDb(_, process)
            | Self::Gateway(_, process)
            | Self::Agent(_, process) => *process,
        }
    }

    fn failed(&self, verb: &'static str) -> impl FnOnce(std::io::Error) -> LabError {
        let name = self.name().to_owned();
        move |source| LabError::Process { verb, name, source }
    }
}

fn find(state: &LabState, name: &str) -> Result<Target> {
    fn named<'a, S>(
        members: &'a [Member<S>],
        name: &str,
        name_of: impl Fn(&S) -> &String,
    ) -> Option<&'a Member<S>> {
        members.iter().find(|member| name_of(&member.server) == name)
    }
    if let Some(member) = named(&state.controllers, name, |server| &server.name) {
        Ok(Target::Controller(member.server.clone(), member.process))
    } else if let Some(member) = named(&state.instances, name, |server| &server.name) {
        Ok(Target::Redis(member.server.clone(), member.process))
    } else if let Some(member) = named(&state.databases, name, |server| &server.name) {
        Ok(Target::MariaDb(member.server.clone(), member.process))
    } else if let Some(member) = named(&state.gateways, name, |server| &server.name) {
        Ok(Target::Gateway(member.server.clone(), member.process))
    } else if let Some(member) = named(&state.agents, name, |server| &server.name) {
        Ok(Target::Agent(member.server.clone(), member.process))
    } else {
        Err(LabError::UnknownName { name: name.to_owned(), hint: hint(name, state.names()) })
    }
}

fn signal_all(targets: &[Target], signal: Signal, wanted: Liveness, fault: Fault) -> Result<Moment> {
    let mut alive = Vec::new();
    for target in targets {
        let process = target.process().filter(|process| process.liveness() != Liveness::Gone);
        let process = process.ok_or_else(|| {
            LabError::Refused(format!(
                "{name} does not run, so '{fault}' can do nothing to it. Start it with `backstay lab fault restart {name}`.",
                name = target.name()
            ))
        })?;
        alive.push((target, process));
    }
    let at = Moment::now();
    for (target, process) in &alive {
        process.signal(signal).map_err(target.failed("signal"))?;
    }
    for (target, process) in &alive {
        process.await_liveness(target.name(), wanted)?;
    }
    Ok(at)
}

fn kill(target: &Target) -> Result<()> {
    let Some(process) = target.process() else {
        return Ok(());
    };
    process.signal(Signal::SIGKILL).map_err(target.failed("kill"))?;
    process.await_liveness(target.name(), Liveness::Gone)
}

fn end_in_good_order(target: &Target) -> Result<()> {
    let Some(process) = target.process() else {
        return Ok(());
    };
    if process.liveness() == Liveness::Running {
        match target {
            // One that does not do it is killed below.
            Target::Redis(server, _) => drop(server.shut_down_saving(process)),
            Target::MariaDb(server, _) => drop(server.end(process)),
            Target::Controller(server, _) => server.end(process)?,
            Target::Gateway(server, _) => server.end(process)?,
            Target::Agent(..) => {}
        }
    }
    kill(target)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file_error("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// A controller has started when its Sentinel port takes connections; what it knows by then is its own business.
fn await_port(server: &ControllerServer, process: Process) -> Result<()> {
    let started = poll_until(START_LIMIT, || {
        let open = std::net::TcpStream::connect(server.sentinel_address()).is_ok();
        let gone = process.liveness() == Liveness::Gone;
        (open || gone).then_some(open)
    });
    match started {
        Some(true) => Ok(()),
        Some(false) => Err(LabError::Answer {
            from: format!("controller {}", server.name),
            what: format!("it ended while it was starting. {}", log_tail(&server.log)),
        }),
        None => Err(LabError::Deadline {
            what: format!("an open Sentinel port of controller {}", server.name),
            waited: START_LIMIT,
            hint: log_tail(&server.log),
        }),
    }
}
