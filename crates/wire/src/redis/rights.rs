//! What an ACL user needs so that every command of `encode_command` is allowed. A test holds the two together.

/// The rules, beside the password and the canary key (`~key`).
pub const RIGHTS: &[&str] = &[
    "+ping",
    "+info",
    "+config|get",
    "+config|set",
    "+client|kill",
    "+client|pause",
    "+client|unpause",
    "+pubsub|numsub",
    "+replicaof",
    "+multi",
    "+exec",
    "+set",
];

#[cfg(test)]
mod tests {
    use super::RIGHTS;
    use crate::redis::encode_command;
    use crate::resp::{Limits, RequestDecoder};
    use backstay_model::{Address, ClientKind, Command};
    use std::collections::BTreeSet;

    /// One of each. The match makes whoever adds a command come here.
    fn every_command() -> Vec<Command> {
        let all = vec![
            Command::Ping,
            Command::Identify,
            Command::Info,
            Command::WriteGuard,
            Command::SetWriteGuard(0),
            Command::EnableWriteGuard,
            Command::Begin,
            Command::Commit,
            Command::DisconnectClients(ClientKind::Normal),
            Command::Replicate(Address::nowhere()),
            Command::ReplicateNoOne,
            Command::Canary("key".to_owned()),
            Command::PauseWrites(std::time::Duration::ZERO),
            Command::ResumeWrites,
            Command::Sentinels,
        ];
        for command in &all {
            match command {
                Command::Ping
                | Command::Identify
                | Command::Info
                | Command::WriteGuard
                | Command::SetWriteGuard(_)
                | Command::EnableWriteGuard
                | Command::Begin
                | Command::Commit
                | Command::DisconnectClients(_)
                | Command::Replicate(_)
                | Command::ReplicateNoOne
                | Command::PauseWrites(_)
                | Command::ResumeWrites
                | Command::Sentinels
                | Command::Canary(_)
                // Never sent to a Redis.
                | Command::Sql(_) => {}
            }
        }
        all
    }

    #[test]
    fn the_rights_are_those_that_the_commands_need_and_no_others() {
        let mut needed = BTreeSet::new();
        for command in every_command() {
            let mut bytes = Vec::new();
            encode_command(&mut bytes, &command);
            let mut decoder = RequestDecoder::new(Limits::default());
            decoder.feed(&bytes).unwrap();
            let words = decoder.next().unwrap().unwrap();
            let word = |at: usize| String::from_utf8_lossy(&words[at]).to_lowercase();
            let name = word(0);
            needed.insert(match name.as_str() {
                "config" | "client" | "pubsub" => format!("+{name}|{}", word(1)),
                _ => format!("+{name}"),
            });
        }
        let given: BTreeSet<String> = RIGHTS.iter().map(|right| (*right).to_owned()).collect();
        assert_eq!(given, needed);
    }
}
