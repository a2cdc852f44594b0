//! How the loop ends: who can go to a successor is told so, the others finish what they have under way.

use super::{Plane, now};
use crate::core::Here;
use crate::settings::Listen;
use backstay_model::{Epoch, ServiceName};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A client that said nothing for so long is let go when another gateway accepts in this one's place. Until then it may
/// be about to say something: who has just connected here has not been told of the other one.
const QUIET: Duration = Duration::from_secs(1);
/// Before the time is over, everybody is let go as soon as nothing of theirs is under way.
const LAST_CALL: Duration = Duration::from_secs(2);

/// How long a successor on this machine may take to accept a connection.
const HEIR_WAIT: Duration = Duration::from_millis(100);

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    /// Accepts nobody any more, and leaves open what was handed over. Clients that can be told where to go instead are,
    /// and have this long for it.
    pub(super) fn leave(&mut self, drain: Duration, handed: &[Listen]) {
        let at = now() + drain;
        self.waits_for_quiet = !handed.is_empty();
        if let Some(earlier) = self.stop_at {
            self.stop_at = Some(earlier.min(at));
            return;
        }
        self.stop_at = Some(at);
        let addresses = self.listeners.leave(handed, self.poll.registry());
        let heirs: Vec<SocketAddr> = addresses.iter().filter_map(heir).collect();
        let clients = &self.clients;
        self.core.leave(drain, |key| {
            let (found, socket) = clients.get(key.index as usize)?.as_ref()?;
            let here = socket.local_address().filter(|_| *found == key)?;
            let covers = |heir: &&SocketAddr| {
                heir.port() == here.port() && (heir.ip().is_unspecified() || heir.ip() == here.ip())
            };
            let heir = heirs.iter().find(covers)?;
            // Of an endpoint that listens everywhere, or behind a load balancer, it is not known by which address clients
            // know it.
            let address = (!heir.ip().is_unspecified() && !socket.proxied).then_some(*heir);
            Some(Here { address, name: socket.server_name() })
        });
        self.act();
    }

    /// Everything is done, or the time for it is over.
    pub(super) fn is_over(&mut self) -> bool {
        let Some(at) = self.stop_at else {
            return false;
        };
        let waits = self.waits_for_quiet && now() + LAST_CALL < at;
        self.core.end_settled_clients(if waits { QUIET } else { Duration::ZERO });
        self.act();
        self.core.is_empty() || now() >= at
    }
}

/// The address, if somebody else listens there, too.
fn heir(listen: &Listen) -> Option<SocketAddr> {
    match listen {
        Listen::Tcp(address) => {
            let found = TcpStream::connect_timeout(address, HEIR_WAIT).ok()?;
            // Where nobody listens, a socket that is given this very port connects to itself.
            (found.local_addr().ok()? != found.peer_addr().ok()?).then_some(*address)
        }
        Listen::Unix(_) => None,
    }
}
