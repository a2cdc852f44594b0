//! `SENTINEL` and `ROLE`: what clients ask about services.

use super::errors::{error, stopping, unknown_service, unknown_subcommand};
use super::fields;
use super::session::{Facts, Shared};
use backstay_model::{Address, ClusterStatus, ServiceName, ServiceStatus};
use backstay_wire::resp::Value;

const HELP: &[&str] = &[
    "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CKQUORUM <master-name>",
    "    Check if the controllers that are reachable now can agree on a failover.",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    Return the ip and port number of the master with that name.",
    "MASTER <master-name>",
    "    Show the state and info of the specified master.",
    "MASTERS",
    "    Show a list of monitored masters and their state.",
    "MYID",
    "    Return the ID of this controller.",
    "REPLICAS <master-name>",
    "    Show a list of replicas for this master and their state.",
    "SENTINELS <master-name>",
    "    Show a list of the other controllers and their state.",
    "PRIMARY, PRIMARIES, GET-PRIMARY-ADDR-BY-NAME",
    "    The same in Valkey's words.",
    "HELP",
    "    Prints this help.",
];

/// `ROLE`: what this is, and which services it watches.
pub(super) fn role(shared: &Shared) -> Value {
    let names = shared.settings.services.keys();
    let names = names.map(|name| Value::bulk(name.as_str())).collect();
    Value::Array(vec![Value::bulk("sentinel"), Value::Array(names)])
}

/// One `SENTINEL` subcommand; its arity was checked.
pub(super) fn sentinel(shared: &Shared, subcommand: &str, arguments: &[Vec<u8>], facts: &Facts<'_>) -> Value {
    match subcommand {
        "get-master-addr-by-name" | "get-primary-addr-by-name" => address(arguments, facts),
        "myid" => Value::bulk(shared.settings.id_of(&shared.settings.node)),
        "help" => Value::Array(HELP.iter().map(|line| Value::Simple((*line).into())).collect()),
        _ => match facts.picture.as_deref() {
            Some(picture) => look(shared, picture, subcommand, arguments),
            None => stopping(),
        },
    }
}

/// Where the service's primary is; nothing for a service that is unknown or never had one.
fn address(arguments: &[Vec<u8>], facts: &Facts<'_>) -> Value {
    let name = arguments.first().and_then(|name| std::str::from_utf8(name).ok());
    match name.and_then(|name| (facts.address)(&ServiceName::from(name))) {
        Some(Address { host, port }) => {
            Value::Array(vec![Value::bulk(&*host), Value::bulk(port.to_string())])
        }
        None => Value::NullArray,
    }
}

fn look(shared: &Shared, picture: &ClusterStatus, subcommand: &str, arguments: &[Vec<u8>]) -> Value {
    if matches!(subcommand, "masters" | "primaries") {
        let services = picture.services.iter();
        return Value::Array(services.map(|service| fields::primary(shared, picture, service)).collect());
    }
    let named = |service: &&ServiceStatus| {
        arguments.first().is_some_and(|name| name == service.name.as_str().as_bytes())
    };
    let Some(service) = picture.services.iter().find(named) else {
        return unknown_service();
    };
    match subcommand {
        "master" | "primary" => fields::primary(shared, picture, service),
        "replicas" | "slaves" => Value::Array(fields::replicas(shared, service)),
        "sentinels" => Value::Array(fields::sentinels(shared, picture, service)),
        "ckquorum" => quorum(picture),
        _ => unknown_subcommand("sentinel", subcommand.as_bytes()),
    }
}

/// Quorum and majority are the same here.
fn quorum(picture: &ClusterStatus) -> Value {
    let usable = picture.controllers.iter().filter(|controller| controller.connected).count();
    if usable >= fields::majority(picture) && picture.quorum {
        return Value::Simple(format!(
            "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
        ));
    }
    error(format!(
        "NOQUORUM {usable} usable Sentinels. Not enough available Sentinels to reach the specified quorum for this \
         master. Not enough available Sentinels to reach the majority and authorize a failover"
    ))
}
