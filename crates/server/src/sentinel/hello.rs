//! `HELLO`: which protocol, who are you, who am I.

use super::auth::log_in;
use super::client::is_plain_name;
use super::errors::error;
use super::session::Session;
use backstay_wire::resp::{Protocol, Value};

/// The version of Redis whose Sentinel this port resembles.
pub(super) const REDIS_VERSION: &str = "7.2.0";

const NOT_TRUSTED: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                           <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                           RESP protocol version at the same time";

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Changes nothing if any part of it is wrong.
pub(super) fn hello(session: &mut Session, arguments: &[Vec<u8>]) -> Value {
    let wish = match Wish::parse(arguments) {
        Ok(wish) => wish,
        Err(refusal) => return refusal,
    };
    if let Some((user, password)) = wish.login
        && let Err(refusal) = log_in(session, user, password)
    {
        return refusal;
    }
    if !session.trusted {
        return error(NOT_TRUSTED);
    }
    if let Some(name) = wish.name {
        session.set_name(name);
    }
    session.protocol = wish.protocol.unwrap_or(session.protocol);
    greeting(session)
}

#[derive(Default)]
struct Wish<'a> {
    protocol: Option<Protocol>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Wish<'a> {
    fn parse(arguments: &'a [Vec<u8>]) -> Result<Self, Value> {
        let mut wish = Self::default();
        let Some((version, mut options)) = arguments.split_first() else {
            return Ok(wish);
        };
        let version = std::str::from_utf8(version).ok().and_then(|text| text.parse::<i64>().ok());
        wish.protocol = match version {
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return Err(error("NOPROTO unsupported protocol version")),
            None => return Err(error("ERR Protocol version is not an integer or out of range")),
        };
        while let Some((option, rest)) = options.split_first() {
            options = match (option.to_ascii_uppercase().as_slice(), rest) {
                (b"AUTH", [user, password, rest @ ..]) => {
                    wish.login = Some((user, password));
                    rest
                }
                (b"SETNAME", [name, rest @ ..]) if is_plain_name(name) => {
                    wish.name = Some(name);
                    rest
                }
                (b"SETNAME", [_, ..]) => return Err(super::client::bad_name()),
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(error(format!("ERR Syntax error in HELLO option '{option}'")));
                }
            };
        }
        Ok(wish)
    }
}

fn greeting(session: &Session) -> Value {
    let protocol = match session.protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let pairs = [
        ("server", Value::bulk("redis")),
        ("version", Value::bulk(REDIS_VERSION)),
        ("proto", Value::Integer(protocol)),
        ("id", Value::Integer(session.id() as i64)),
        ("mode", Value::bulk("sentinel")),
        ("modules", Value::Array(Vec::new())),
    ];
    Value::Map(pairs.map(|(name, value)| (Value::bulk(name), value)).into())
}
