//! The connections on which controllers write to a MariaDB: one for each write, since it may wait for an acknowledgement.

use super::{Event, Place, SqlEvent, World};
use crate::redis::{ConnectionId, Request, Response};
use backstay_controller::link::LinkInput;
use backstay_model::{Command, Reply, RunId};
use std::time::Duration;

/// How long a canary is waited for.
const CANARY_PATIENCE: Duration = Duration::from_secs(5);

/// Who writes, and to which process.
#[derive(Debug)]
pub(crate) struct Canary {
    node: usize,
    start: u64,
    server: usize,
    run: RunId,
}

impl World {
    /// A controller writes, on a connection of its own.
    pub(super) fn write_canary(&mut self, node: usize, start: u64, server: usize) {
        let by = self.controllers[node].process.as_ref().and_then(|it| it.links[server].obeys.clone());
        let command = Command::Canary(String::new());
        self.check_sent(node, std::slice::from_ref(&command), by.as_ref());
        let (here, there) = (Place::Controller(node), Place::Server(server));
        let open = self.network.passes(here, there) && self.network.passes(there, here);
        let run = self.servers[server].mariadb().filter(|_| open).map(|it| it.run_id.clone());
        let Some(run) = run else {
            let input = Box::new(LinkInput::Wrote(None));
            return self.schedule(
                Duration::from_millis(if open { 1 } else { 500 }),
                Event::Link { node, start, server, connection: None, input },
            );
        };
        let connection = self.open_connection(here, start, server);
        self.canaries.insert(connection, Canary { node, start, server, run });
        self.send_request(connection, vec![Request::Command(command)]);
        self.schedule(CANARY_PATIENCE, Event::Sql(SqlEvent::CanaryOver { connection }));
    }

    /// The write is answered, or its connection ended, or nobody waits for it any more.
    pub(super) fn canary_answered(&mut self, connection: ConnectionId, response: Option<&Response>) {
        let Some(Canary { node, start, server, run }) = self.canaries.remove(&connection) else {
            return;
        };
        self.close_from_client(connection);
        let outcome = match response {
            Some(Response::Reply(Reply::Done)) => Some((run, Ok(()))),
            Some(Response::Reply(Reply::Refused(fault))) => Some((run, Err(*fault))),
            _ => {
                self.coverage.mariadb("canary without an answer");
                None
            }
        };
        let input = Box::new(LinkInput::Wrote(outcome));
        self.schedule(Duration::ZERO, Event::Link { node, start, server, connection: None, input });
    }
}
