//! Families of commands, as the categories of Redis' ACLs cut them: what is counted is counted by family. The order of
//! the lists below settles commands that Redis counts among several.

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Family {
    String,
    Hash,
    List,
    Set,
    SortedSet,
    Stream,
    Bitmap,
    HyperLogLog,
    Geo,
    Keyspace,
    PubSub,
    Scripting,
    Transaction,
    /// Whatever waits on the server for as long as the client wants.
    Blocking,
    Connection,
    Server,
    /// Of a module or a newer Redis.
    Other,
}

use Family::{
    Bitmap, Blocking, Connection, Geo, Hash, HyperLogLog, Keyspace, List, Other, PubSub, Scripting, Server,
    Set, SortedSet, Stream, String as Strings, Transaction,
};

impl Family {
    pub(crate) const ALL: [Self; 17] = [
        Strings,
        Hash,
        List,
        Set,
        SortedSet,
        Stream,
        Bitmap,
        HyperLogLog,
        Geo,
        Keyspace,
        PubSub,
        Scripting,
        Transaction,
        Blocking,
        Connection,
        Server,
        Other,
    ];

    /// As Redis spells it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Strings => "string",
            Hash => "hash",
            List => "list",
            Set => "set",
            SortedSet => "sortedset",
            Stream => "stream",
            Bitmap => "bitmap",
            HyperLogLog => "hyperloglog",
            Geo => "geo",
            Keyspace => "keyspace",
            PubSub => "pubsub",
            Scripting => "scripting",
            Transaction => "transaction",
            Blocking => "blocking",
            Connection => "connection",
            Server => "server",
            Other => "other",
        }
    }

    /// The family of the command of this name, in lower case. Read when this program is compiled.
    pub(crate) const fn of(name: &str) -> Self {
        let mut list = 0;
        while list < NAMES.len() {
            let (family, names) = NAMES[list];
            let mut at = 0;
            while at < names.len() {
                if same(names[at].as_bytes(), name.as_bytes()) {
                    return family;
                }
                at += 1;
            }
            list += 1;
        }
        panic!("a command without a family")
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

const NAMES: &[(Family, &[&str])] = &[
    (
        Strings,
        &[
            "append",
            "decr",
            "decrby",
            "get",
            "getdel",
            "getex",
            "getrange",
            "getset",
            "incr",
            "incrby",
            "incrbyfloat",
            "lcs",
            "mget",
            "mset",
            "msetnx",
            "psetex",
            "set",
            "setex",
            "setnx",
            "setrange",
            "strlen",
            "substr",
        ],
    ),
    (
        Hash,
        &[
            "hdel",
            "hexists",
            "hget",
            "hgetall",
            "hincrby",
            "hincrbyfloat",
            "hkeys",
            "hlen",
            "hmget",
            "hmset",
            "hrandfield",
            "hscan",
            "hset",
            "hsetnx",
            "hstrlen",
            "hvals",
        ],
    ),
    (
        List,
        &[
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
        ],
    ),
    (
        Set,
        &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
    ),
    (
        SortedSet,
        &[
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
    ),
    (
        Stream,
        &[
            "xack",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
    ),
    (Bitmap, &["bitcount", "bitfield", "bitfield_ro", "bitop", "bitpos", "getbit", "setbit"]),
    (HyperLogLog, &["pfadd", "pfcount", "pfdebug", "pfmerge", "pfselftest"]),
    (
        Geo,
        &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
    ),
    (
        Keyspace,
        &[
            "copy",
            "dbsize",
            "del",
            "dump",
            "exists",
            "expire",
            "expireat",
            "expiretime",
            "flushall",
            "flushdb",
            "keys",
            "migrate",
            "move",
            "object",
            "persist",
            "pexpire",
            "pexpireat",
            "pexpiretime",
            "pttl",
            "randomkey",
            "rename",
            "renamenx",
            "restore",
            "restore-asking",
            "scan",
            "sort",
            "sort_ro",
            "swapdb",
            "touch",
            "ttl",
            "type",
            "unlink",
        ],
    ),
    (
        PubSub,
        &[
            "psubscribe",
            "publish",
            "pubsub",
            "punsubscribe",
            "spublish",
            "ssubscribe",
            "subscribe",
            "sunsubscribe",
            "unsubscribe",
        ],
    ),
    (Scripting, &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "function", "script"]),
    (Transaction, &["discard", "exec", "multi", "unwatch", "watch"]),
    (
        Blocking,
        &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "wait",
            "waitaof",
        ],
    ),
    (
        Connection,
        &[
            "asking",
            "auth",
            "client",
            "command",
            "echo",
            "hello",
            "ping",
            "quit",
            "readonly",
            "readwrite",
            "reset",
            "select",
        ],
    ),
    (
        Server,
        &[
            "acl",
            "bgrewriteaof",
            "bgsave",
            "cluster",
            "config",
            "debug",
            "failover",
            "host:",
            "info",
            "lastsave",
            "latency",
            "lolwut",
            "memory",
            "module",
            "monitor",
            "post",
            "psync",
            "replconf",
            "replicaof",
            "role",
            "save",
            "shutdown",
            "slaveof",
            "slowlog",
            "sync",
            "time",
        ],
    ),
];

/// Commands of families with keys that have none, or none at a fixed place.
const KEYLESS: &[&str] = &[
    "dbsize",
    "flushall",
    "flushdb",
    "keys",
    "lmpop",
    "object",
    "pfselftest",
    "randomkey",
    "scan",
    "sintercard",
    "swapdb",
    "xgroup",
    "xinfo",
    "xread",
    "xreadgroup",
    "zdiff",
    "zinter",
    "zintercard",
    "zmpop",
    "zunion",
];

/// Which word of the command of this name, in lower case, is its first key, if that is known without reading it.
pub(crate) fn key_at(name: &str, family: Family) -> Option<usize> {
    match name {
        "bitop" | "pfdebug" => Some(2),
        "migrate" => Some(3),
        _ if KEYLESS.contains(&name) => None,
        _ => matches!(
            family,
            Strings | Hash | List | Set | SortedSet | Stream | Bitmap | HyperLogLog | Geo | Keyspace
        )
        .then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_at_its_number() {
        for (number, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, number);
        }
    }

    #[test]
    fn keys_are_shown_only_where_a_key_is() {
        let key = |name| key_at(name, Family::of(name));
        assert_eq!((key("get"), key("bitop"), key("hset")), (Some(1), Some(2), Some(1)));
        for without in
            ["auth", "hello", "eval", "ping", "echo", "publish", "keys", "blpop", "zunion", "config"]
        {
            assert_eq!(key(without), None, "{without}");
        }
    }
}
