//! How a world begins: with empty instances for which controllers choose a first primary, or with a group that already
//! runs and is taken over; with files that protect a boot, or without.

use super::{Server, World};
use crate::instance::Instance;
use crate::redis::{Redis, WriteId};
use crate::scenario::{FaultKind, Founding};
use backstay_model::{Address, Durability, Preference};
use std::time::Duration;

/// How many writes a running group took before controllers came.
const WRITES_BEFORE: u64 = 20;

impl World {
    /// All instances as they are when the first controller comes.
    pub(crate) fn found(&mut self) {
        for (index, instance) in self.spec.services[0].instances.clone().into_iter().enumerate() {
            self.runs += 1;
            let process = if self.scenario.mariadb.is_some() {
                Instance::MariaDb(self.new_mariadb(index, self.scenario.protected))
            } else {
                Instance::Redis(Redis::start(instance.address, self.runs, self.boots_as(index), None))
            };
            self.servers.push(Server::new(instance.name, process));
        }
        if let Founding::Running { primary } = self.scenario.founding {
            let before: Vec<WriteId> = (0..WRITES_BEFORE).map(|_| self.checkers.next_write()).collect();
            self.checkers.acknowledged_before(&before);
            let address = self.spec.services[0].instances[primary].address.clone();
            for server in 0..self.servers.len() {
                let Some(process) = &mut self.servers[server].process else {
                    continue;
                };
                process.runs_as((server != primary).then(|| address.clone()));
                if server == primary {
                    process.holds(&before);
                } else {
                    let reach = self.reach(server, 0);
                    self.schedule(Duration::from_millis(1), reach);
                }
            }
        }
        self.name_world();
    }

    /// Whom the configuration file makes an instance follow when it starts.
    pub(crate) fn boots_as(&self, server: usize) -> Option<Address> {
        match self.scenario.founding {
            _ if self.scenario.protected => Some(Address::nowhere()),
            Founding::Running { primary } if primary != server => {
                Some(self.spec.services[0].instances[primary].address.clone())
            }
            _ => None,
        }
    }

    fn name_world(&mut self) {
        let scenario = &self.scenario;
        let service = &self.spec.services[0];
        let traits = [
            ("founded empty", scenario.founding == Founding::Empty),
            ("founded running", scenario.founding != Founding::Empty),
            ("unprotected boot", !scenario.protected),
            (
                "priorities differ",
                service.instances.iter().any(|one| one.priority != service.instances[0].priority),
            ),
            ("zone preferred", service.preference != Preference::default()),
            ("one instance", scenario.instances == 1),
            ("two instances", scenario.instances == 2),
            ("one controller", scenario.controllers == 1),
            ("two controllers", scenario.controllers == 2),
            ("no stale data served", scenario.serves_no_stale_data),
            ("files take time to load", scenario.loads),
            ("clocks skewed", scenario.skewed_clocks),
            ("gateways", scenario.gateways > 0),
            ("MariaDB, async", scenario.mariadb == Some(Durability::Async)),
            ("MariaDB, majority", scenario.mariadb == Some(Durability::Majority)),
            ("all faults known before", scenario.kinds.iter().all(|kind| FaultKind::FIRST.contains(kind))),
        ];
        for (name, _) in traits.into_iter().filter(|(_, holds)| *holds) {
            self.coverage.world(name);
        }
    }
}
