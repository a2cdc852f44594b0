//! Every Redis command and what a gateway does with it. A command that is not here is sent on as a write: it may come
//! from a module or from a newer Redis.

use crate::family::Family;

/// What a gateway does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Sent on; may be sent again when its reply was lost.
    Read,
    /// Sent on, at most once.
    Write,
    /// May wait on the server for as long as its timeout says.
    Blocking(TimeoutAt),
    /// Waits only with the word `BLOCK`; is a write or not.
    BlockOption {
        /// Whether it changes anything when it does not wait.
        write: bool,
    },
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Subscribe(Channels),
    Unsubscribe(Channels),
    Monitor,
    Wait,
    Select,
    Hello,
    Auth,
    Reset,
    Quit,
    Client,
    /// Sent on as this kind of command if its second word is one of these; refused otherwise.
    Limited {
        /// The allowed second words, in lower case.
        allowed: &'static [&'static str],
        /// Whether they change anything.
        write: bool,
    },
    Refused,
}

impl Class {
    /// Whether the command may change data.
    pub(crate) const fn may_write(self) -> bool {
        matches!(
            self,
            Self::Write
                | Self::Blocking(_)
                | Self::BlockOption { write: true }
                | Self::Limited { write: true, .. }
        )
    }
}

/// Where a blocking command's timeout stands among its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeoutAt {
    First,
    Last,
}

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channels {
    Named,
    Patterns,
    Shards,
}

use Class::{Read, Refused, Write};

/// Without `GETUSER` and `LIST`: they show the hashes of passwords.
const ACL: &[&str] = &["cat", "dryrun", "genpass", "help", "users", "whoami"];
const CLUSTER: &[&str] = &[
    "countkeysinslot",
    "getkeysinslot",
    "help",
    "info",
    "keyslot",
    "links",
    "myid",
    "myshardid",
    "nodes",
    "replicas",
    "shards",
    "slaves",
    "slots",
];

const COMMANDS: &[(&str, Class)] = &[
    ("acl", Class::Limited { allowed: ACL, write: false }),
    ("append", Write),
    ("asking", Refused),
    ("auth", Class::Auth),
    ("bgrewriteaof", Write),
    ("bgsave", Write),
    ("bitcount", Read),
    ("bitfield", Write),
    ("bitfield_ro", Read),
    ("bitop", Write),
    ("bitpos", Read),
    ("blmove", Class::Blocking(TimeoutAt::Last)),
    ("blmpop", Class::Blocking(TimeoutAt::First)),
    ("blpop", Class::Blocking(TimeoutAt::Last)),
    ("brpop", Class::Blocking(TimeoutAt::Last)),
    ("brpoplpush", Class::Blocking(TimeoutAt::Last)),
    ("bzmpop", Class::Blocking(TimeoutAt::First)),
    ("bzpopmax", Class::Blocking(TimeoutAt::Last)),
    ("bzpopmin", Class::Blocking(TimeoutAt::Last)),
    ("client", Class::Client),
    ("cluster", Class::Limited { allowed: CLUSTER, write: false }),
    ("command", Read),
    ("config", Class::Limited { allowed: &["get", "help", "resetstat"], write: true }),
    ("copy", Write),
    ("dbsize", Read),
    ("debug", Refused),
    ("decr", Write),
    ("decrby", Write),
    ("del", Write),
    ("discard", Class::Discard),
    ("dump", Read),
    ("echo", Read),
    ("eval", Write),
    ("eval_ro", Read),
    ("evalsha", Write),
    ("evalsha_ro", Read),
    ("exec", Class::Exec),
    ("exists", Read),
    ("expire", Write),
    ("expireat", Write),
    ("expiretime", Read),
    ("failover", Refused),
    ("fcall", Write),
    ("fcall_ro", Read),
    ("flushall", Write),
    ("flushdb", Write),
    // `KILL` would stand behind what it is to end, on the same connection.
    (
        "function",
        Class::Limited {
            allowed: &["delete", "dump", "flush", "help", "list", "load", "restore", "stats"],
            write: true,
        },
    ),
    ("geoadd", Write),
    ("geodist", Read),
    ("geohash", Read),
    ("geopos", Read),
    ("georadius", Write),
    ("georadius_ro", Read),
    ("georadiusbymember", Write),
    ("georadiusbymember_ro", Read),
    ("geosearch", Read),
    ("geosearchstore", Write),
    ("get", Read),
    ("getbit", Read),
    ("getdel", Write),
    ("getex", Write),
    ("getrange", Read),
    ("getset", Write),
    ("hdel", Write),
    ("hello", Class::Hello),
    ("hexists", Read),
    ("hget", Read),
    ("hgetall", Read),
    ("hincrby", Write),
    ("hincrbyfloat", Write),
    ("hkeys", Read),
    ("hlen", Read),
    ("hmget", Read),
    ("hmset", Write),
    // Here and at `post` Redis hangs up: a browser was made to speak to it.
    ("host:", Refused),
    ("hrandfield", Read),
    ("hscan", Read),
    ("hset", Write),
    ("hsetnx", Write),
    ("hstrlen", Read),
    ("hvals", Read),
    ("incr", Write),
    ("incrby", Write),
    ("incrbyfloat", Write),
    ("info", Read),
    ("keys", Read),
    ("lastsave", Read),
    ("latency", Write),
    ("lcs", Read),
    ("lindex", Read),
    ("linsert", Write),
    ("llen", Read),
    ("lmove", Write),
    ("lmpop", Write),
    ("lolwut", Read),
    ("lpop", Write),
    ("lpos", Read),
    ("lpush", Write),
    ("lpushx", Write),
    ("lrange", Read),
    ("lrem", Write),
    ("lset", Write),
    ("ltrim", Write),
    ("memory", Write),
    ("mget", Read),
    ("migrate", Write),
    ("module", Class::Limited { allowed: &["help", "list"], write: false }),
    ("monitor", Class::Monitor),
    ("move", Write),
    ("mset", Write),
    ("msetnx", Write),
    ("multi", Class::Multi),
    ("object", Read),
    ("persist", Write),
    ("pexpire", Write),
    ("pexpireat", Write),
    ("pexpiretime", Read),
    ("pfadd", Write),
    ("pfcount", Read),
    ("pfdebug", Write),
    ("pfmerge", Write),
    ("pfselftest", Write),
    ("ping", Read),
    ("post", Refused),
    ("psetex", Write),
    ("psubscribe", Class::Subscribe(Channels::Patterns)),
    ("psync", Refused),
    ("pttl", Read),
    ("publish", Write),
    ("pubsub", Read),
    ("punsubscribe", Class::Unsubscribe(Channels::Patterns)),
    ("quit", Class::Quit),
    ("randomkey", Read),
    ("readonly", Refused),
    ("readwrite", Refused),
    ("rename", Write),
    ("renamenx", Write),
    ("replconf", Refused),
    ("replicaof", Refused),
    ("reset", Class::Reset),
    ("restore", Write),
    ("restore-asking", Refused),
    ("role", Read),
    ("rpop", Write),
    ("rpoplpush", Write),
    ("rpush", Write),
    ("rpushx", Write),
    ("sadd", Write),
    ("save", Write),
    ("scan", Read),
    ("scard", Read),
    ("script", Class::Limited { allowed: &["exists", "flush", "help", "load"], write: true }),
    ("sdiff", Read),
    ("sdiffstore", Write),
    ("select", Class::Select),
    ("set", Write),
    ("setbit", Write),
    ("setex", Write),
    ("setnx", Write),
    ("setrange", Write),
    ("shutdown", Refused),
    ("sinter", Read),
    ("sintercard", Read),
    ("sinterstore", Write),
    ("sismember", Read),
    ("slaveof", Refused),
    ("slowlog", Write),
    ("smembers", Read),
    ("smismember", Read),
    ("smove", Write),
    ("sort", Write),
    ("sort_ro", Read),
    ("spop", Write),
    ("spublish", Write),
    ("srandmember", Read),
    ("srem", Write),
    ("sscan", Read),
    ("ssubscribe", Class::Subscribe(Channels::Shards)),
    ("strlen", Read),
    ("subscribe", Class::Subscribe(Channels::Named)),
    ("substr", Read),
    ("sunion", Read),
    ("sunionstore", Write),
    ("sunsubscribe", Class::Unsubscribe(Channels::Shards)),
    ("swapdb", Write),
    ("sync", Refused),
    ("time", Read),
    ("touch", Read),
    ("ttl", Read),
    ("type", Read),
    ("unlink", Write),
    ("unsubscribe", Class::Unsubscribe(Channels::Named)),
    ("unwatch", Class::Unwatch),
    ("wait", Class::Wait),
    ("waitaof", Class::Wait),
    ("watch", Class::Watch),
    ("xack", Write),
    ("xadd", Write),
    ("xautoclaim", Write),
    ("xclaim", Write),
    ("xdel", Write),
    ("xgroup", Write),
    ("xinfo", Read),
    ("xlen", Read),
    ("xpending", Read),
    ("xrange", Read),
    ("xread", Class::BlockOption { write: false }),
    ("xreadgroup", Class::BlockOption { write: true }),
    ("xrevrange", Read),
    ("xsetid", Write),
    ("xtrim", Write),
    ("zadd", Write),
    ("zcard", Read),
    ("zcount", Read),
    ("zdiff", Read),
    ("zdiffstore", Write),
    ("zincrby", Write),
    ("zinter", Read),
    ("zintercard", Read),
    ("zinterstore", Write),
    ("zlexcount", Read),
    ("zmpop", Write),
    ("zmscore", Read),
    ("zpopmax", Write),
    ("zpopmin", Write),
    ("zrandmember", Read),
    ("zrange", Read),
    ("zrangebylex", Read),
    ("zrangebyscore", Read),
    ("zrangestore", Write),
    ("zrank", Read),
    ("zrem", Write),
    ("zremrangebylex", Write),
    ("zremrangebyrank", Write),
    ("zremrangebyscore", Write),
    ("zrevrange", Read),
    ("zrevrangebylex", Read),
    ("zrevrangebyscore", Read),
    ("zrevrank", Read),
    ("zscan", Read),
    ("zscore", Read),
    ("zunion", Read),
    ("zunionstore", Write),
];

/// Four slots per command: a name is found at its first slot, or the next.
const SLOTS: usize = 1024;
/// Numbers of `COMMANDS`, counted from one; zero is an empty slot.
static TABLE: [u16; SLOTS] = table();

const fn slot(name: &[u8]) -> usize {
    let mut hash: u32 = name.len() as u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ (name[at] | 0x20) as u32).wrapping_mul(0x9E37_79B1);
        at += 1;
    }
    (hash >> 22) as usize
}

const fn table() -> [u16; SLOTS] {
    let mut table = [0; SLOTS];
    let mut number = 0;
    while number < COMMANDS.len() {
        let mut at = slot(COMMANDS[number].0.as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        number += 1;
        table[at] = number as u16;
    }
    table
}

/// The family of each of `COMMANDS`.
static FAMILIES: [Family; COMMANDS.len()] = families();

const fn families() -> [Family; COMMANDS.len()] {
    let mut families = [Family::Other; COMMANDS.len()];
    let mut number = 0;
    while number < COMMANDS.len() {
        families[number] = Family::of(COMMANDS[number].0);
        number += 1;
    }
    families
}

/// What to do with the command of this name, in whatever case it is written.
#[inline]
pub(crate) fn class(name: &[u8]) -> Class {
    kind(name).0
}

/// What to do with the command of this name, and what it is about.
#[inline]
pub(crate) fn kind(name: &[u8]) -> (Class, Family) {
    let unknown = (Write, Family::Other);
    if name.len() > 32 {
        return unknown;
    }
    let mut at = slot(name);
    loop {
        let Some(number) = (TABLE[at] as usize).checked_sub(1) else {
            return unknown;
        };
        let (known, class) = COMMANDS[number];
        if known.len() == name.len() && known.as_bytes().eq_ignore_ascii_case(name) {
            return (class, FAMILIES[number]);
        }
        at = (at + 1) % SLOTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_in_any_case() {
        assert_eq!(class(b"GET"), Read);
        assert_eq!(class(b"get"), Read);
        assert_eq!(class(b"ZrAnGeByScOrE"), Read);
        assert_eq!(class(b"Replicaof"), Refused);
    }

    #[test]
    fn a_command_that_nobody_knows_is_a_write() {
        for name in [&b""[..], b"GETT", b"\x00\xff", b"json.set", &[b'a'; 100]] {
            assert_eq!(class(name), Write, "{name:?}");
        }
    }

    #[test]
    fn every_command_is_found_again() {
        for (name, expected) in COMMANDS {
            assert_eq!(class(name.as_bytes()), *expected, "{name}");
        }
    }
}

#[cfg(test)]
mod oracle {
    use super::*;
    use backstay_lab::load::connection::{Reply, items, text};
    use backstay_lab::servers::ports::Ports;
    use backstay_lab::servers::redis::{Boot, RedisServer};

    /// What a server says of its commands.
    fn commands_of_a_server() -> Vec<Reply> {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::open().unwrap();
        let port = ports.claim().unwrap();
        let server = RedisServer { name: "oracle".to_owned(), port, folder: folder.path().to_owned() };
        server.write_configuration(Boot::Open).unwrap();
        let process = server.start().unwrap();
        server.await_answer(process).unwrap();
        let reply = server.ask(&["COMMAND"]).unwrap();
        let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
        let commands = items(&reply).unwrap();
        assert!(commands.len() > 200);
        commands.to_vec()
    }

    #[test]
    fn every_command_is_counted_in_one_of_the_categories_that_the_installed_server_puts_it_in() {
        use crate::family::{Family, key_at};
        let without = [Family::Server, Family::Other];
        let data: Vec<_> = Family::ALL[..Family::Keyspace as usize].iter().map(|it| it.word()).collect();
        for command in commands_of_a_server() {
            let fields = items(&command).unwrap();
            let (name, first_key) = (text(&fields[0]), &fields[3]);
            let categories: Vec<String> = items(&fields[6]).unwrap().iter().map(text).collect();
            let is_in = |word: &str| categories.iter().any(|it| it.trim_start_matches('@') == word);
            let family = kind(name.as_bytes()).1;
            // Redis 7.0 does not say of `wait` that it does.
            let parts = ["client", "function", "object", "pubsub", "script", "wait", "xgroup", "xinfo"];
            if without.contains(&family) {
                assert!(!data.iter().any(|word| is_in(word)), "{name} is about data: {categories:?}");
            } else if !parts.contains(&&*name) && !name.starts_with("sort") {
                // The categories of the others are those of their second words.
                assert!(is_in(family.word()), "{name} is none of {family:?}: {categories:?}");
            }
            if let Some(at) = key_at(&name, family) {
                assert_eq!(*first_key, Reply::Integer(at as i64), "the first key of {name}");
            }
        }
    }

    #[test]
    fn every_command_of_the_installed_server_is_known_as_the_read_or_write_that_it_is() {
        for command in commands_of_a_server() {
            let fields = items(&command).unwrap();
            let name = text(&fields[0]);
            let flags: Vec<String> = items(&fields[2]).unwrap().iter().map(text).collect();
            let has = |flag: &str| flags.iter().any(|it| it == flag);
            assert!(COMMANDS.iter().any(|(known, _)| *known == name), "{name} is not known");
            let class = class(name.as_bytes());
            if has("write") {
                assert_ne!(class, Read, "{name} writes");
            }
            if has("readonly") {
                assert!(matches!(class, Read | Class::BlockOption { write: false }), "{name} only reads");
            }
            if has("blocking") {
                assert!(matches!(class, Class::Blocking(_) | Class::BlockOption { .. }), "{name} blocks");
            }
        }
    }
}
