//! The few words in which the facts are told.

use backstay_lab::load::connection::{Connection, Reply, error_text, is_ok};
use backstay_lab::servers::redis::{RedisServer, Role};
use backstay_lab::wait::wait_until;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// More replicas than anybody has: closed for writes.
pub(crate) const CLOSED: &str = "1000000";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn until(what: &str, look: impl Fn() -> bool) {
    wait_until(what, LIMIT, || look().then_some(())).unwrap();
}

/// One command that must be answered with OK.
pub(crate) fn ok(server: &RedisServer, request: &[&str]) {
    let reply = server.ask(request).unwrap();
    assert!(is_ok(&reply), "{request:?} to {}: {reply:?}", server.name);
}

/// The code of the error that the command is answered with; empty: it is none.
pub(crate) fn error_code(reply: &Reply) -> String {
    let code = error_text(reply).and_then(|text| text.split(' ').next());
    code.unwrap_or_default().to_owned()
}

/// Tells `server` to replicate from `port`.
pub(crate) fn follow(server: &RedisServer, port: u16) {
    ok(server, &["REPLICAOF", "127.0.0.1", &port.to_string()]);
}

/// Writes `count` keys with this prefix.
pub(crate) fn write_keys(server: &RedisServer, prefix: &str, count: usize) {
    let mut link = server.connect().unwrap();
    for number in 0..count {
        let reply = link.call(&["SET", &format!("{prefix}:{number}"), "value"]).unwrap();
        assert!(is_ok(&reply), "{reply:?}");
    }
}

pub(crate) fn key_count(server: &RedisServer) -> i64 {
    backstay_lab::load::checker::key_count(server.address()).unwrap_or(-1)
}

/// How far it is: `master_repl_offset`, or `slave_repl_offset` of a replica.
pub(crate) fn offset(server: &RedisServer) -> i64 {
    let field = match server.role().unwrap() {
        Role::Primary { .. } => "master_repl_offset",
        Role::Replica { .. } => "slave_repl_offset",
    };
    info(server, field).parse().unwrap()
}

pub(crate) fn info(server: &RedisServer, field: &str) -> String {
    server.info(field).unwrap().unwrap_or_default()
}

pub(crate) fn is_primary(server: &RedisServer) -> bool {
    matches!(server.role(), Ok(Role::Primary { .. }))
}

pub(crate) fn is_linked(server: &RedisServer, to: u16) -> bool {
    matches!(server.role(), Ok(Role::Replica { of, linked: true, .. }) if of == to)
}

/// So many open connections, each of which the server has answered once.
pub(crate) fn patient_clients(server: &RedisServer, count: usize) -> Vec<Connection> {
    let connect = |_| {
        let mut link = Connection::open(server.address(), PATIENCE).unwrap();
        link.call(&["PING"]).unwrap();
        link
    };
    (0..count).map(connect).collect()
}

/// Sends one write on each.
pub(crate) fn send_writes(clients: &mut [Connection]) {
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&[&["SET", &format!("patient:{number}"), "value"]]).unwrap();
    }
}

/// How many of the writes were answered with OK.
pub(crate) fn accepted(clients: &mut [Connection]) -> usize {
    clients.iter_mut().filter_map(|client| client.receive().ok()).filter(is_ok).count()
}

/// A forwarder that can hold back what it reads without closing anything: a slow network.
pub(crate) struct SlowNetwork {
    pub(crate) port: u16,
    held: Arc<AtomicBool>,
}

impl SlowNetwork {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&held);
        spawn(move || {
            for inbound in listener.incoming().flatten() {
                let Ok(outbound) = TcpStream::connect(target) else {
                    continue;
                };
                let (from, back) = (inbound.try_clone().unwrap(), outbound.try_clone().unwrap());
                let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
                spawn(move || forward(from, outbound, &one));
                spawn(move || forward(back, inbound, &two));
            }
        });
        Self { port, held }
    }

    /// From now on nothing arrives.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut chunk) {
        while held.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5));
        }
        if count == 0 || to.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}
