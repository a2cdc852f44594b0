//! What a lab shows to others: the JSON of `lab up --json` and `lab status --json`, and the file `lab.json`.

use crate::servers::mariadb::MariaDbServer;
use crate::servers::process::Liveness;
use crate::servers::redis::{RedisServer, Role};
use crate::stack::databases;
use crate::stack::state::{LabState, Member};
use backstay_model::EngineKind;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A whole lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabView {
    /// Its folder.
    pub dir: PathBuf,
    /// The controllers.
    pub controllers: Vec<ControllerView>,
    /// The services: one of Redis, and one of MariaDB if it has one.
    pub services: Vec<ServiceView>,
    /// The gateways beside the controllers.
    pub gateways: Vec<GatewayView>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// Its name.
    pub name: String,
    /// Its process, if it lives.
    pub pid: Option<i32>,
    /// Whether it lives.
    pub state: Liveness,
    /// Where it takes reads and writes.
    pub primary: SocketAddr,
    /// Where it takes reads.
    pub reader: SocketAddr,
    /// The same for the MariaDB service, if the lab has one.
    #[serde(flatten, default)]
    pub sql: Option<SqlView>,
}

/// Where a gateway takes clients of the MariaDB service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlView {
    /// Reads and writes.
    pub orders: SocketAddr,
    /// Reads.
    pub orders_reader: SocketAddr,
}

/// One controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerView {
    /// Its name.
    pub name: String,
    /// Its process, if it lives.
    pub pid: Option<i32>,
    /// Whether it lives.
    pub state: Liveness,
    /// Where its peers reach it.
    pub peer: SocketAddr,
    /// Its Sentinel port.
    pub sentinel: SocketAddr,
    /// Its admin socket.
    pub admin: PathBuf,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `redis` or `mariadb`.
    pub engine: String,
    /// Its instances.
    pub instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, if it lives.
    pub pid: Option<i32>,
    /// Whether it lives.
    pub state: Liveness,
    /// What it takes itself for.
    pub role: RoleView,
}

/// What an instance takes itself for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleView {
    /// It is a primary, open or closed for writes.
    Primary,
    /// It follows somebody, if only nowhere.
    Replica,
    /// It does not say.
    Unknown,
}

impl LabView {
    /// Looks at every process, and asks every instance that can answer.
    pub fn of(dir: &Path, state: &LabState) -> Self {
        let controllers = state.controllers.iter().map(|member| ControllerView {
            name: member.server.name.clone(),
            pid: pid(member),
            state: member.liveness(),
            peer: member.server.peer_address(),
            sentinel: member.server.sentinel_address(),
            admin: member.server.admin.clone(),
        });
        let redis = ServiceView {
            name: state.service.clone(),
            engine: EngineKind::Redis.word().to_owned(),
            instances: state.instances.iter().map(instance).collect(),
        };
        let mariadb = (!state.databases.is_empty()).then(|| ServiceView {
            name: databases::SERVICE.to_owned(),
            engine: EngineKind::MariaDb.word().to_owned(),
            instances: state.databases.iter().map(database).collect(),
        });
        let gateways = state.gateways.iter().map(|member| GatewayView {
            name: member.server.name.clone(),
            pid: pid(member),
            state: member.liveness(),
            primary: member.server.address(),
            reader: member.server.reader_address(),
            sql: member
                .server
                .sql_addresses()
                .map(|[orders, orders_reader]| SqlView { orders, orders_reader }),
        });
        Self {
            dir: dir.to_path_buf(),
            controllers: controllers.collect(),
            services: std::iter::once(redis).chain(mariadb).collect(),
            gateways: gateways.collect(),
        }
    }
}

fn instance(member: &Member<RedisServer>) -> InstanceView {
    let state = member.liveness();
    let role = match state {
        Liveness::Running => member.server.role().ok(),
        Liveness::Stopped | Liveness::Gone => None,
    };
    InstanceView {
        name: member.server.name.clone(),
        addr: member.server.address(),
        pid: pid(member),
        state,
        role: match role {
            Some(Role::Primary { .. }) => RoleView::Primary,
            Some(Role::Replica { .. }) => RoleView::Replica,
            None => RoleView::Unknown,
        },
    }
}

fn database(member: &Member<MariaDbServer>) -> InstanceView {
    let state = member.liveness();
    let replicates = match state {
        Liveness::Running => member.server.replicates().ok(),
        Liveness::Stopped | Liveness::Gone => None,
    };
    InstanceView {
        name: member.server.name.clone(),
        addr: member.server.address(),
        pid: pid(member),
        state,
        role: match replicates {
            Some(true) => RoleView::Replica,
            Some(false) => RoleView::Primary,
            None => RoleView::Unknown,
        },
    }
}

fn pid<S>(member: &Member<S>) -> Option<i32> {
    let process = member.process?;
    (process.liveness() != Liveness::Gone).then_some(process.pid)
}
