//! What a link says to a Redis.

use super::Link;
use backstay_model::{Action, Address, CLOSED, ClientKind, Command, RedisSpec};

/// Who it is comes first: health is only ever of a known process.
pub(super) const HELLO: [Command; 5] =
    [Command::Identify, Command::WriteGuard, Command::Info, Command::Ping, Command::Sentinels];
/// Where it stands, closed or not.
pub(super) const LOOK: [Command; 2] = [Command::WriteGuard, Command::Info];
/// The clients that a fence and a demotion throw out.
const CLIENTS: [Command; 2] =
    [Command::DisconnectClients(ClientKind::Normal), Command::DisconnectClients(ClientKind::PubSub)];

/// What an order sends, and in which order on the wire.
pub(super) fn commands(link: &Link, redis: &RedisSpec, action: &Action) -> Vec<Command> {
    match action {
        Action::Promote => promotion(link),
        Action::Fence => fence(link),
        Action::Freeze => vec![Command::Replicate(Address::nowhere()), Command::Identify, Command::Info],
        Action::Open => [&[Command::SetWriteGuard(redis.min_replicas_to_write)], &LOOK[..]].concat(),
        Action::Pause { duration } => [&[Command::PauseWrites(*duration)], &LOOK[..]].concat(),
        Action::Resume => [&[Command::ResumeWrites], &LOOK[..]].concat(),
        Action::Canary => vec![Command::Canary(redis.canary_key.clone())],
        Action::Follow { primary, disconnect, .. } => {
            let clients = if *disconnect { &CLIENTS[..] } else { &[] };
            [&[Command::Replicate(primary.clone())], clients, &LOOK[..]].concat()
        }
    }
}

/// What makes the guard work where it is switched off by `min-replicas-max-lag 0`.
fn guard_in_force(link: &Link) -> Vec<Command> {
    if link.guard_ignored { vec![Command::EnableWriteGuard] } else { Vec::new() }
}

fn fence(link: &Link) -> Vec<Command> {
    let close = vec![Command::SetWriteGuard(CLOSED)];
    let look = vec![Command::Identify, Command::WriteGuard, Command::Info];
    [guard_in_force(link), close, CLIENTS.to_vec(), look].concat()
}

/// Closed first, so that one that runs late accepts nothing; everybody else thrown out first, so that no command
/// of a deposed leader, still unread on its connection, runs after the promotion. All or nothing: where closing is
/// refused there is no promotion.
fn promotion(link: &Link) -> Vec<Command> {
    let begin = vec![Command::Begin, Command::DisconnectClients(ClientKind::Normal)];
    let close = vec![Command::SetWriteGuard(CLOSED), Command::ReplicateNoOne];
    let look = vec![Command::Commit, Command::WriteGuard, Command::Info];
    [begin, guard_in_force(link), close, look].concat()
}
