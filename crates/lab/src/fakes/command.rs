//! Requests to replies: the commands that a controller sends, as Redis answers them. One that is not known is refused
//! as Redis refuses it, so that a controller that learns a new one is not fooled.

use super::group::{Group, Role, WriteRefused};
use super::info;
use std::io::Write;
use std::time::Instant;

/// What a request asks for beside its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// Close every other connection of this instance.
    CloseOthers,
}

/// The transaction of a connection: the requests behind a `MULTI`.
#[derive(Debug, Default)]
pub(super) struct Transaction(Option<Vec<Vec<Vec<u8>>>>);

/// Who is asked, and when.
pub(super) struct Asked<'a> {
    pub(super) group: &'a mut Group,
    pub(super) index: usize,
    /// How many other connections the instance has.
    pub(super) others: usize,
    pub(super) now: Instant,
}

impl Asked<'_> {
    /// Answers one request of a connection behind what `out` holds.
    pub(super) fn answer(
        &mut self,
        transaction: &mut Transaction,
        request: Vec<Vec<u8>>,
        out: &mut Vec<u8>,
    ) -> Wanted {
        let verb = request.first().map(|verb| verb.to_ascii_uppercase()).unwrap_or_default();
        match (verb.as_slice(), &mut transaction.0) {
            (b"EXEC", queued @ Some(_)) => {
                let requests = queued.take().unwrap_or_default();
                let _ = write!(out, "*{}\r\n", requests.len());
                let mut wanted = Wanted::Nothing;
                for request in requests {
                    if self.execute(&request, out) == Wanted::CloseOthers {
                        wanted = Wanted::CloseOthers;
                    }
                }
                wanted
            }
            (b"DISCARD", queued @ Some(_)) => {
                *queued = None;
                ok(out)
            }
            (b"EXEC" | b"DISCARD", None) => {
                let verb = String::from_utf8_lossy(&verb).into_owned();
                error(out, &format!("ERR {verb} without MULTI"))
            }
            (b"MULTI", Some(_)) => error(out, "ERR MULTI calls can not be nested"),
            (b"MULTI", queued) => {
                *queued = Some(Vec::new());
                ok(out)
            }
            (b"PING", None) => simple(out, "PONG"),
            (_, Some(requests)) => {
                requests.push(request);
                simple(out, "QUEUED")
            }
            (_, None) => self.execute(&request, out),
        }
    }

    fn execute(&mut self, request: &[Vec<u8>], out: &mut Vec<u8>) -> Wanted {
        let mut words: Vec<String> =
            request.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        if let [verb, rest @ ..] = words.as_mut_slice() {
            verb.make_ascii_uppercase();
            if let (Some(second), "CONFIG" | "CLIENT" | "REPLICAOF" | "SLAVEOF") =
                (rest.first_mut(), verb.as_str())
            {
                second.make_ascii_uppercase();
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (group, index, now) = (&mut *self.group, self.index, self.now);
        match words.as_slice() {
            ["PING"] => simple(out, "PONG"),
            ["INFO"] => bulk(out, &info::everything(group, index, now)),
            ["INFO", section] if section.eq_ignore_ascii_case("replication") => {
                bulk(out, &info::replication(group, index, now))
            }
            ["HELLO", ..] => hello(out),
            ["ROLE"] => self.role(out),
            ["AUTH", ..] => error(
                out,
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ),
            ["CONFIG", "GET", pattern] => config_get(group, index, pattern, out),
            ["CONFIG", "SET", name, value] => config_set(group, index, name, value, out),
            ["REPLICAOF" | "SLAVEOF", "NO", one] if one.eq_ignore_ascii_case("one") => {
                group.promote(index, now);
                ok(out)
            }
            ["REPLICAOF" | "SLAVEOF", host, port] => match port.parse() {
                Ok(port) => {
                    group.follow(index, host, port, now);
                    ok(out)
                }
                Err(_) => error(out, "ERR value is not an integer or out of range"),
            },
            ["CLIENT", "KILL", "TYPE" | "type", kind] => match *kind {
                "normal" => {
                    let _ = write!(out, ":{}\r\n", self.others);
                    Wanted::CloseOthers
                }
                "pubsub" | "replica" | "master" => {
                    out.extend_from_slice(b":0\r\n");
                    Wanted::Nothing
                }
                _ => error(out, &format!("ERR Unknown client type '{kind}'")),
            },
            ["CLIENT", "SETNAME", _] | ["CLIENT", "SETINFO" | "PAUSE" | "UNPAUSE", ..] => ok(out),
            // Nobody subscribes here.
            ["PUBSUB", numsub, channel] if numsub.eq_ignore_ascii_case("numsub") => {
                out.extend_from_slice(b"*2\r\n");
                bulk(out, channel);
                out.extend_from_slice(b":0\r\n");
                Wanted::Nothing
            }
            ["SET", ..] => match group.write(index, now) {
                Ok(()) => ok(out),
                Err(WriteRefused::ReadOnly) => {
                    error(out, "READONLY You can't write against a read only replica.")
                }
                Err(WriteRefused::TooFewReplicas) => {
                    error(out, "NOREPLICAS Not enough good replicas to write.")
                }
            },
            [verb, ..] => error(out, &format!("ERR unknown command '{verb}', with args beginning with: ")),
            [] => Wanted::Nothing,
        }
    }

    fn role(&self, out: &mut Vec<u8>) -> Wanted {
        let offset = self.group.offset(self.index, self.now);
        match &self.group.member(self.index).role {
            Role::Primary { .. } => {
                let replicas = self.group.replicas(self.index);
                let _ = write!(out, "*3\r\n$6\r\nmaster\r\n:{offset}\r\n*{}\r\n", replicas.len());
                for replica in replicas {
                    let address = self.group.member(replica).address;
                    out.extend_from_slice(b"*3\r\n");
                    bulk(out, &address.ip().to_string());
                    bulk(out, &address.port().to_string());
                    bulk(out, &offset.to_string());
                }
            }
            Role::Replica { host, port, link } => {
                out.extend_from_slice(b"*5\r\n$5\r\nslave\r\n");
                bulk(out, host);
                let _ = write!(out, ":{port}\r\n");
                bulk(out, if link.is_some() { "connected" } else { "connect" });
                let _ = write!(out, ":{offset}\r\n");
            }
        }
        Wanted::Nothing
    }
}

fn config_get(group: &Group, index: usize, pattern: &str, out: &mut Vec<u8>) -> Wanted {
    let member = group.member(index);
    let settings = [
        ("min-replicas-max-lag", member.min_replicas_max_lag),
        ("min-replicas-to-write", member.min_replicas_to_write),
    ];
    let wanted = |name: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    let found: Vec<_> = settings.into_iter().filter(|(name, _)| wanted(name)).collect();
    let _ = write!(out, "*{}\r\n", found.len() * 2);
    for (name, value) in found {
        bulk(out, name);
        bulk(out, &value.to_string());
    }
    Wanted::Nothing
}

fn config_set(group: &mut Group, index: usize, name: &str, value: &str, out: &mut Vec<u8>) -> Wanted {
    let member = group.member_mut(index);
    let setting = match name {
        "min-replicas-max-lag" => &mut member.min_replicas_max_lag,
        "min-replicas-to-write" => &mut member.min_replicas_to_write,
        _ => {
            return error(
                out,
                &format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"),
            );
        }
    };
    match value.parse() {
        Ok(value) => {
            *setting = value;
            ok(out)
        }
        Err(_) => error(out, "ERR CONFIG SET failed - argument couldn't be parsed into an integer"),
    }
}

/// The reply in RESP 2; a client that wants RESP 3 is told that it is not spoken.
fn hello(out: &mut Vec<u8>) -> Wanted {
    out.extend_from_slice(b"*4\r\n");
    for word in ["server", "redis", "version", "7.0.15"] {
        bulk(out, word);
    }
    Wanted::Nothing
}

fn ok(out: &mut Vec<u8>) -> Wanted {
    simple(out, "OK")
}

fn simple(out: &mut Vec<u8>, text: &str) -> Wanted {
    let _ = write!(out, "+{text}\r\n");
    Wanted::Nothing
}

fn error(out: &mut Vec<u8>, text: &str) -> Wanted {
    let _ = write!(out, "-{text}\r\n");
    Wanted::Nothing
}

fn bulk(out: &mut Vec<u8>, text: &str) -> Wanted {
    let _ = write!(out, "${}\r\n{text}\r\n", text.len());
    Wanted::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What instance 1 of a new group answers to these lines on one connection.
    fn conversation(lines: &[&str]) -> (String, Vec<Wanted>) {
        let now = Instant::now();
        let mut group = Group::new(0, 6379, now);
        let mut transaction = Transaction::default();
        let (mut out, mut wanted) = (Vec::new(), Vec::new());
        for line in lines {
            let request = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let mut asked = Asked { group: &mut group, index: 1, others: 2, now };
            wanted.push(asked.answer(&mut transaction, request, &mut out));
        }
        (String::from_utf8(out).unwrap(), wanted)
    }

    #[test]
    fn a_promotion_runs_as_one_transaction_and_leaves_the_instance_closed() {
        let (said, wanted) = conversation(&[
            "MULTI",
            "CLIENT KILL TYPE normal",
            "CONFIG SET min-replicas-to-write 1000000",
            "REPLICAOF NO ONE",
            "EXEC",
            "SET key value",
            "CONFIG SET min-replicas-to-write 0",
            "set key value",
        ]);
        let queued = "+QUEUED\r\n".repeat(3);
        assert_eq!(
            said,
            format!(
                "+OK\r\n{queued}*3\r\n:2\r\n+OK\r\n+OK\r\n-NOREPLICAS Not enough good replicas to write.\r\n+OK\r\n+OK\r\n"
            )
        );
        assert_eq!(wanted[4], Wanted::CloseOthers);
    }

    #[test]
    fn a_replica_takes_no_writes_and_nobody_takes_what_it_does_not_know() {
        let (said, _) = conversation(&["SET key value", "FLUSHALL", "CONFIG GET min-replicas-*"]);
        let replies: Vec<&str> = said.split("\r\n").take(3).collect();
        assert_eq!(replies[0], "-READONLY You can't write against a read only replica.");
        assert!(replies[1].starts_with("-ERR unknown command 'FLUSHALL'"), "{said}");
        assert_eq!(replies[2], "*4");
    }
}
