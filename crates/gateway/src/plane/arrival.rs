//! Clients behind a load balancer, from the connection to the end of the header that says who they are.

use super::socket::NoHeader;
use super::{Plane, find, now, take};
use crate::core::Key;
use crate::settings::Endpoint;
use backstay_model::{Epoch, ServiceName, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// How long the header may take: a load balancer sends it at once.
const HEADER_MAX: Duration = Duration::from_secs(5);
/// How often it is told what was wrong with one: whoever reaches the port could fill the log.
const TOLD_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Arrivals {
    /// By endpoint: there is a load balancer in front of it.
    proxied: Vec<bool>,
    /// Until when headers must be whole, in this order.
    until: VecDeque<(Time, Key)>,
    told_at: Option<Time>,
    /// How many were turned away since.
    untold: u64,
}

impl Arrivals {
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        let proxied = endpoints.iter().map(|endpoint| endpoint.proxy_protocol).collect();
        Self { proxied, until: VecDeque::new(), told_at: None, untold: 0 }
    }

    pub(crate) fn are_proxied(&self, endpoint: usize) -> bool {
        self.proxied[endpoint]
    }

    /// The client came now.
    pub(crate) fn expect(&mut self, key: Key, header: bool) {
        if header {
            self.until.push_back((now() + HEADER_MAX, key));
        }
    }

    /// The next one whose header is late. `waits`: whether it is still waited for.
    pub(crate) fn late(&mut self, mut waits: impl FnMut(Key) -> bool) -> Option<Key> {
        while let Some((until, key)) = self.until.front().copied() {
            let waits = waits(key);
            if waits && now() < until {
                return None;
            }
            self.until.pop_front();
            if waits {
                return Some(key);
            }
        }
        None
    }

    /// Says why somebody is turned away.
    pub(crate) fn tell(&mut self, endpoint: &str, from: &str, why: &NoHeader) {
        if matches!(why, NoHeader::Empty) {
            tracing::debug!(endpoint, from, "a connection is closed: {why}");
        } else if let Some(others) = self.tells() {
            tracing::warn!(endpoint, from, others, "a connection is closed: {why}");
        }
    }

    /// It is to be told. Then this many were not since the last time.
    fn tells(&mut self) -> Option<u64> {
        let now = now();
        if self.told_at.is_some_and(|at| now < at + TOLD_EVERY) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    /// Reads on in the client's header. True: all of it has come.
    pub(super) fn introduce(&mut self, key: Key) -> bool {
        let Some(socket) = find(&mut self.clients, key) else {
            return false;
        };
        match socket.read_header() {
            Ok(Some(claim)) => {
                if let Some(client) = claim.client {
                    self.core.client_named(key, &client.to_string());
                }
                true
            }
            Ok(None) => false,
            Err(why) => {
                self.turn_away(key, &why);
                false
            }
        }
    }

    /// Closes connections whose header does not come.
    pub(super) fn end_late_arrivals(&mut self) {
        loop {
            let clients = &mut self.clients;
            let late = self.arrivals.late(|key| find(clients, key).is_some_and(|it| it.header.is_some()));
            let Some(key) = late else {
                return;
            };
            self.turn_away(key, &NoHeader::Late);
        }
    }

    fn turn_away(&mut self, key: Key, why: &NoHeader) {
        if let Some((endpoint, from)) = self.core.whence(key) {
            self.arrivals.tell(endpoint, from, why);
        }
        // TLS has not begun: there is no goodbye to say.
        drop(take(&mut self.clients, key));
        self.core.end_client(key);
        self.act();
    }
}
