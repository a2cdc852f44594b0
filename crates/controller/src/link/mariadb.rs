//! What a link says to a MariaDB. It may be told everything that a Redis is told; a few things have other names there,
//! and depend on what the instance was last seen to be.

use super::Link;
use backstay_model::{Action, Address, ClientKind, Command, Role, Sql};
use std::time::Duration;

/// Who it is comes first: health is only ever of a known process.
pub(super) const HELLO: [Command; 3] = [Command::Identify, Command::Info, Command::Ping];
/// Where it stands, closed or not.
pub(super) const LOOK: [Command; 1] = [Command::Info];
/// How long an order may take until its silence counts: to stop receiving from a primary that hangs takes a second,
/// and so does to find that a lock is held (both seen).
pub(super) const SLOW_ORDER: Duration = Duration::from_millis(1500);
const CLIENTS: Command = Command::DisconnectClients(ClientKind::Normal);

/// What an order sends, and in which order on the wire. Nothing, while it is not known what the instance is.
pub(super) fn commands(link: &Link, action: &Action) -> Vec<Command> {
    let Some(seen) = &link.seen else {
        return Vec::new();
    };
    let is_replica = matches!(seen.role, Role::Replica { .. });
    match action {
        Action::Promote if is_replica => vec![
            Command::Sql(Sql::Ascend { replid: seen.replid.clone(), offset: seen.offset }),
            Command::Identify,
            Command::Info,
        ],
        // A commit that waits for an acknowledgement holds the lock that closing needs, until its client is gone; and
        // who came in between is a client, too.
        Action::Fence => vec![CLIENTS, Command::Sql(Sql::Close), CLIENTS, Command::Identify, Command::Info],
        // What was closed stays closed; whoever waits for a paused write was told that there is none.
        Action::Promote | Action::Resume => LOOK.to_vec(),
        // Never applying, neither stopped nor started: with both threads stopped, START SLAVE of one throws away what was
        // received (seen), and what was last seen of them may be as old as another controller's freeze.
        Action::Freeze if is_replica => {
            vec![Command::Sql(Sql::StopReceiving), Command::Identify, Command::Info]
        }
        Action::Freeze => {
            let demote = Sql::Demote { primary: Address::nowhere(), acker: false };
            vec![Command::Sql(demote), Command::Identify, Command::Info]
        }
        Action::Open if is_replica => LOOK.to_vec(),
        Action::Open => vec![Command::Sql(Sql::Open), Command::Info],
        Action::Pause { .. } => vec![Command::Sql(Sql::Close), Command::Info],
        // On a connection of its own: it may wait for an acknowledgement.
        Action::Canary => Vec::new(),
        Action::Follow { primary, disconnect, acker } => {
            let (primary, acker) = (primary.clone(), *acker);
            let follow =
                if is_replica { Sql::Follow { primary, acker } } else { Sql::Demote { primary, acker } };
            let clients = if *disconnect { vec![CLIENTS] } else { Vec::new() };
            [vec![Command::Sql(follow)], clients, LOOK.to_vec()].concat()
        }
    }
}
