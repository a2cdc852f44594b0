//! Somebody else's server at an address of the service: a replica of a primary that is in no file, with data that is
//! not the group's. Nobody here may touch it.

use super::World;
use crate::instance::Instance;
use crate::redis::Redis;
use backstay_model::Address;

impl World {
    /// The process is replaced by a stranger's.
    pub(crate) fn replace_by_stranger(&mut self, server: usize) {
        self.kill_server(server);
        self.runs += 1;
        let address = self.spec.services[0].instances[server].address.clone();
        let owner = Address { host: "10.9.9.9".into(), port: 6379 };
        self.servers[server].process = Some(Instance::Redis(Redis::stranger(address, self.runs, owner)));
        self.servers[server].disturbed = self.now;
        self.trace.line(self.now, "stranger", || self.servers[server].name.to_string());
    }

    /// Strangers are gone, and the service's own instances start again in their places, empty.
    pub(crate) fn remove_strangers(&mut self) {
        for server in 0..self.servers.len() {
            if self.servers[server].redis().is_some_and(|redis| redis.stranger) {
                self.kill_server(server);
                self.start_server(server, true);
            }
        }
    }

    pub(crate) fn stranger_touched(&mut self, server: usize) {
        // What an operator chose is the operator's to give away.
        if self.checkers.decided.contains(&self.servers[server].name) {
            return;
        }
        let what = format!("{} belongs to somebody else and was told what to be", self.servers[server].name);
        self.violate("strangers are left alone", what);
    }
}
