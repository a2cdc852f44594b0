//! Three controllers that watch the fakes, in a temporary folder. Dropping this ends them.

use crate::admin;
use crate::error::{LabError, Result, file_error};
use crate::fakes::Fakes;
use crate::servers::controller::{ControllerServer, Join};
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::process::{Liveness, Process};
use crate::servers::redis::log_tail;
use crate::servers::usage::Usage;
use crate::wait::poll_every;
use backstay_model::{ClusterStatus, FailoverRecord, ServiceStatus};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// The pause between two looks: a status of a thousand services is not free.
const LOOK: Duration = Duration::from_secs(1);
/// How long the controllers may take to tell what became of the groups.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Cluster {
    members: Vec<(ControllerServer, Process)>,
    dir: PathBuf,
}

impl Cluster {
    pub(super) fn start(backstay: &Path, fakes: &Fakes, ports: &mut Ports) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("backstay-scale-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?.keep();
        nursery::note_paths(vec![dir.clone()]);
        let mut cluster = Self { members: Vec::new(), dir };
        let mut servers = Vec::new();
        for name in NAMES {
            servers.push(ControllerServer {
                remote_admin: None,
                name: name.to_owned(),
                peer: ports.claim()?,
                sentinel: ports.claim()?,
                admin: cluster.dir.join(format!("{name}.sock")),
                state: cluster.dir.join(name),
                log: cluster.dir.join(format!("{name}.log")),
            });
        }
        let file = cluster.dir.join("backstay.toml");
        fs::write(&file, configuration(&servers, fakes)).map_err(file_error("write", &file))?;
        for server in servers {
            let process = server.start(backstay, &file, Join::Bootstrap)?;
            cluster.members.push((server, process));
        }
        Ok(cluster)
    }

    /// Waits until every service has a primary and no problem, as all controllers see it.
    pub(super) fn await_calm(&self, limit: Duration) -> Result<()> {
        let mut hint = String::new();
        let calm = poll_every(LOOK, limit, || self.look(&mut hint).transpose());
        calm.unwrap_or_else(|| {
            Err(LabError::Deadline { what: "that all groups are in step".to_owned(), waited: limit, hint })
        })
    }

    /// Whether all is calm; if not, why, in `hint`.
    fn look(&self, hint: &mut String) -> Result<Option<()>> {
        for (server, process) in &self.members {
            if process.liveness() == Liveness::Gone {
                return Err(LabError::Answer {
                    from: format!("controller {}", server.name),
                    what: format!("it ended. {}", log_tail(&server.log)),
                });
            }
            match status(server) {
                Ok(status) => {
                    let busy = status.services.iter().filter(|service| !is_calm(service)).count();
                    if busy > 0 || !status.quorum {
                        *hint = format!(
                            "On {}, {busy} services are not: {}",
                            server.name,
                            first_trouble(&status)
                        );
                        return Ok(None);
                    }
                }
                Err(error) => {
                    *hint = error.to_string();
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    pub(super) fn usage(&self) -> Result<Vec<(String, Usage)>> {
        let usage = |(server, process): &(ControllerServer, Process)| {
            let usage = Usage::of(*process).ok_or_else(|| LabError::Answer {
                from: format!("controller {}", server.name),
                what: format!("it ended. {}", log_tail(&server.log)),
            })?;
            Ok((server.name.clone(), usage))
        };
        self.members.iter().map(usage).collect()
    }

    /// Every group that lost its primary was failed over, no other one was, and each has exactly one primary that takes
    /// writes. An overloaded machine may have needed more than one plan for a group. Returns all failovers.
    pub(super) fn check(&self, fakes: &Fakes, lost: &[usize]) -> Result<Vec<FailoverRecord>> {
        let mut wrong = String::new();
        let right = poll_every(LOOK, CHECK_LIMIT, || {
            let (found, history) = self.wrong(fakes, lost)?;
            wrong = found;
            wrong.is_empty().then_some(history)
        });
        right.ok_or_else(|| LabError::Deadline {
            what: "that every group is what it should be".to_owned(),
            waited: CHECK_LIMIT,
            hint: wrong,
        })
    }

    /// What is not as it should be (empty: nothing), and all failovers. None: nobody can be asked now.
    fn wrong(&self, fakes: &Fakes, lost: &[usize]) -> Option<(String, Vec<FailoverRecord>)> {
        let (server, _) = self.members.first()?;
        let status = status(server).ok()?;
        let history =
            admin::get_within::<Vec<FailoverRecord>>(ANSWER_LIMIT, &server.admin, "/v1/history").ok()?;
        let open: Vec<usize> = fakes.groups().map(|group| group.open_primaries()).collect();
        for (number, open) in open.into_iter().enumerate() {
            let name = service(number);
            let failovers = history.iter().filter(|record| record.service.as_str() == name).count();
            let ended = status.services.iter().any(|service| {
                service.name.as_str() == name && service.phase == "stable" && service.primary.is_some()
            });
            let wanted = lost.contains(&number);
            if open != 1 || (failovers > 0) != wanted || !ended {
                let wrong = format!(
                    "{name}: {open} open primaries, {failovers} failovers, and its primary was {}.",
                    if wanted { "lost" } else { "not lost" }
                );
                return Some((wrong, history));
            }
        }
        Some((String::new(), history))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (server, process) in self.members.drain(..) {
            if let Err(error) = server.end(process) {
                eprintln!("controller {} could not be ended: {error}", server.name);
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} could not be removed: {error}", self.dir.display());
        }
    }
}

fn status(server: &ControllerServer) -> Result<ClusterStatus> {
    admin::get_within(ANSWER_LIMIT, &server.admin, "/v1/status")
}

fn is_calm(service: &ServiceStatus) -> bool {
    service.phase == "stable"
        && service.problems.is_empty()
        && service.instances.iter().all(|one| one.in_sync)
}

fn first_trouble(status: &ClusterStatus) -> String {
    let Some(service) = status.services.iter().find(|service| !is_calm(service)) else {
        return "it has no quorum.".to_owned();
    };
    let problem = service.problems.first().map(|problem| format!("{problem:?}")).unwrap_or_default();
    format!("{} is {}. {problem}", service.name, service.phase)
}

fn service(number: usize) -> String {
    format!("g{number:04}")
}

/// What an operator writes who is content with every default.
fn configuration(controllers: &[ControllerServer], fakes: &Fakes) -> String {
    let mut text = "# Written by the benchmark.\ncluster = \"scale\"\n".to_owned();
    // Writing to a string cannot fail.
    for one in controllers {
        let _ = write!(
            text,
            "\n[[controllers]]\nname = \"{}\"\naddress = \"{}\"\nsentinel = \"{}\"\nadmin = \"{}\"\nstate = \"{}\"\n",
            one.name,
            one.peer_address(),
            one.sentinel_address(),
            one.admin.display(),
            one.state.display()
        );
    }
    for (number, group) in fakes.groups().enumerate() {
        let _ = write!(text, "\n[[redis]]\nname = \"{}\"\ninstances = [\n", service(number));
        for (index, address) in group.addresses().enumerate() {
            let _ = writeln!(
                text,
                "  {{ name = \"{}-r{}\", address = \"{address}\" }},",
                service(number),
                index + 1
            );
        }
        text.push_str("]\n");
    }
    text
}
