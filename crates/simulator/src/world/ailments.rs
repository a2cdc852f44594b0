//! Instances that answer and cannot serve: they load their file, run a script that does not end, or cannot save.

use super::{Event, World};
use backstay_model::{Fault as Ailment, RunId};

impl World {
    /// From now on the process answers with this error.
    pub(crate) fn ail(&mut self, server: usize, ailment: Ailment) {
        if let Some(redis) = self.servers[server].redis_mut()
            && redis.ailment.is_none()
        {
            redis.ailment = Some(ailment);
            self.servers[server].disturbed = self.now;
            self.trace.line(self.now, "ails", || format!("{}: it {ailment}", self.servers[server].name));
        }
    }

    /// What is busy or cannot save serves again. What loads goes on loading.
    pub(crate) fn recover_all(&mut self) {
        for server in 0..self.servers.len() {
            let ailment = self.servers[server].redis().and_then(|redis| redis.ailment);
            if ailment.is_some_and(|ailment| ailment != Ailment::Loading) {
                self.recover(server);
            }
        }
    }

    fn recover(&mut self, server: usize) {
        let Some(redis) = self.servers[server].redis_mut() else {
            return;
        };
        if redis.ailment.take().is_some() {
            self.servers[server].disturbed = self.now;
            self.trace.line(self.now, "recovers", || self.servers[server].name.to_string());
            self.replay_held(server);
        }
    }

    /// A process that was just started has a file to read first.
    pub(crate) fn load(&mut self, server: usize) {
        let Some(run) = self.servers[server].redis().map(|redis| redis.run_id.clone()) else {
            return;
        };
        let takes = self.random.micros(5_000, 1_500_000);
        self.ail(server, Ailment::Loading);
        self.coverage.fault("loading");
        self.schedule(takes, Event::Loaded { server, run });
    }

    pub(crate) fn loaded(&mut self, server: usize, run: &RunId) {
        let loading = self.servers[server].redis();
        if loading.is_some_and(|redis| redis.run_id == *run && redis.ailment == Some(Ailment::Loading)) {
            self.recover(server);
        }
    }
}
