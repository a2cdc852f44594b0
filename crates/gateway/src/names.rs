//! Host names of servers, looked up beside the one who asks: a resolver may take as long as it likes.

use backstay_model::Address;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer counts: a host may come back elsewhere. One lookup per name and so long is all that is ever under
/// way.
const REFRESH: Duration = Duration::from_secs(5);

/// What was looked up so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<Address, Known>>>);

#[derive(Debug)]
struct Known {
    /// The last answer; none: there was none yet, or there is no such name.
    address: Option<SocketAddr>,
    /// When it was asked for last.
    asked: Instant,
    /// Nobody has answered since.
    open: bool,
}

impl Names {
    /// Where the address leads, as far as is known now; asks again if that is old. An IP address is known at once.
    pub(crate) fn find(&self, address: &Address) -> Option<SocketAddr> {
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return Some(SocketAddr::new(ip, address.port));
        }
        let mut names = self.names();
        let now = Instant::now();
        match names.get_mut(address) {
            Some(known) if known.open || now.duration_since(known.asked) < REFRESH => return known.address,
            Some(known) => (known.asked, known.open) = (now, true),
            None => drop(names.insert(address.clone(), Known { address: None, asked: now, open: true })),
        }
        let last = names.get(address).and_then(|known| known.address);
        drop(names);
        let (asker, wanted) = (self.clone(), address.clone());
        let thread = std::thread::Builder::new().name("names".to_owned());
        if let Err(error) = thread.spawn(move || asker.look_up(&wanted)) {
            tracing::warn!(%address, %error, "a server's name cannot be looked up");
            self.note(address, &[]);
        }
        last
    }

    fn look_up(&self, address: &Address) {
        let found: Vec<_> = match (&*address.host, address.port).to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(error) => {
                tracing::warn!(%address, %error, "a server's name cannot be looked up");
                Vec::new()
            }
        };
        self.note(address, &found);
    }

    fn note(&self, address: &Address, found: &[SocketAddr]) {
        if let Some(known) = self.names().get_mut(address) {
            // Of several the one in use stays in use. A resolver that fails says nothing about where the host is.
            if !known.address.is_some_and(|last| found.contains(&last)) {
                known.address = found.first().copied().or(known.address);
            }
            known.open = false;
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Address, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn an_ip_address_is_known_at_once_and_a_name_a_moment_later() {
        let names = Names::default();
        assert_eq!(names.find(&address("10.0.0.1:6379")), Some("10.0.0.1:6379".parse().unwrap()));
        let deadline = Instant::now() + Duration::from_secs(30);
        let found = loop {
            if let Some(found) = names.find(&address("localhost:6379")) {
                break found;
            }
            assert!(Instant::now() < deadline, "localhost was not found");
            std::thread::yield_now();
        };
        assert!(found.ip().is_loopback() && found.port() == 6379);
    }

    #[test]
    fn a_name_that_does_not_exist_is_asked_for_once_and_holds_nobody_up() {
        let names = Names::default();
        let nobody = address("nobody.invalid:1");
        for _ in 0..1000 {
            assert_eq!(names.find(&nobody), None);
        }
        assert_eq!(names.names().len(), 1);
    }
}
