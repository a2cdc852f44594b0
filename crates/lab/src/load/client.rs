//! A small Sentinel-aware client, the same for Backstay and for stock Sentinel: one connection, short timeouts, after
//! an error it asks the Sentinel ports in turn where the primary is. It deliberately does not retry a write by itself.

use crate::load::connection::{Connection, Reply, items, text};
use crate::load::record::Failure;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long each socket operation may take.
pub const SOCKET_TIMEOUT: Duration = Duration::from_millis(50);
/// The pause between two tries.
pub const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// A client of one service.
#[derive(Debug)]
pub struct Client {
    sentinels: Vec<SocketAddr>,
    service: String,
    next: usize,
    link: Option<Connection>,
}

impl Client {
    /// A client that asks `sentinels` for the primary of `service`. It connects at the first command.
    pub fn new(sentinels: &[SocketAddr], service: &str) -> Self {
        Self { sentinels: sentinels.to_vec(), service: service.to_owned(), next: 0, link: None }
    }

    /// Sends one command to the primary and waits for the answer. After a failure the connection is closed and the next
    /// call asks for the address again.
    pub fn call(&mut self, request: &[&str]) -> Result<(Reply, SocketAddr), Failure> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect()?,
        };
        let reply = link.call(request).map_err(Failure::Connection)?;
        let peer = link.peer();
        self.link = Some(link);
        Ok((reply, peer))
    }

    /// Closes the connection: the next call asks for the address again.
    pub fn disconnect(&mut self) {
        self.link = None;
    }

    /// A new connection to whom the next Sentinel port calls the primary.
    pub fn connect(&mut self) -> Result<Connection, Failure> {
        let primary = self.primary()?;
        Connection::open(primary, SOCKET_TIMEOUT).map_err(Failure::Connection)
    }

    /// Asks one Sentinel port after the other until one names a primary; begins where the last question ended, so that
    /// one stale answer is not taken again and again.
    pub fn primary(&mut self) -> Result<SocketAddr, Failure> {
        for _ in 0..self.sentinels.len() {
            let sentinel = self.sentinels[self.next % self.sentinels.len()];
            self.next = self.next.wrapping_add(1);
            if let Ok(Some(primary)) = ask(sentinel, &self.service) {
                return Ok(primary);
            }
        }
        Err(Failure::NoPrimary)
    }
}

/// Whom the Sentinel port at `sentinel` calls the primary of `service`.
pub fn ask(sentinel: SocketAddr, service: &str) -> io::Result<Option<SocketAddr>> {
    let mut link = Connection::open(sentinel, SOCKET_TIMEOUT)?;
    let reply = link.call(&["SENTINEL", "get-master-addr-by-name", service])?;
    Ok(parse_address(&reply))
}

fn parse_address(reply: &Reply) -> Option<SocketAddr> {
    let [host, port] = items(reply)? else { return None };
    let host: IpAddr = text(host).parse().ok()?;
    Some(SocketAddr::new(host, text(port).parse().ok()?))
}
