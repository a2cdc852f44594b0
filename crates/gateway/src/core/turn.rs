//! What the gateway does itself is shared out: a client that asks for much of it waits for its next turn when it had
//! its share, however much it has sent. Commands that are sent on are bounded by how many may be under way.

use super::client::Wait;
use super::{Core, Key};

/// What is done for one client in one turn of the loop: commands that are answered here, and clients that are looked
/// at for them.
pub(super) const WORK_MAX: usize = 4096;

impl Core {
    /// The loop turns: who had enough of the last turn goes on, behind the others.
    pub(crate) fn begin_turn(&mut self) {
        self.turn += 1;
        for key in std::mem::take(&mut self.sated) {
            if let Some(client) = self.clients.get_mut(key)
                && client.wait == Wait::Turn
            {
                client.wait = Wait::No;
                self.runnable.push_back(key);
            }
        }
    }

    /// The next turn has something to do.
    pub(crate) fn awaits_turn(&self) -> bool {
        !self.sated.is_empty()
    }

    /// So much was done for a client.
    pub(super) fn work(&mut self, key: Key, amount: usize) {
        let turn = self.turn;
        if let Some(client) = self.clients.get_mut(key) {
            let (last, done) = client.work;
            client.work = (turn, amount + if last == turn { done } else { 0 });
        }
    }

    /// Whether the client had its share. Then it waits for the next turn.
    pub(super) fn is_sated(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        let sated = client.work.1 >= self.work_max && !client.ending;
        if sated {
            client.wait = Wait::Turn;
            self.sated.push(key);
        }
        sated
    }
}

#[cfg(test)]
mod tests {
    use crate::core::Core;
    use crate::settings::{Endpoint, EndpointKind, Settings};
    use crate::traffic::Traffic;
    use backstay_model::Time;

    #[test]
    fn one_client_cannot_hold_up_the_others_with_what_the_gateway_does_itself() {
        let endpoint = Endpoint::new("shop", "shop".into(), EndpointKind::Primary);
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let mut core = Core::new(settings, Time::ZERO);
        let clients: Vec<_> = (0..1000).map(|_| core.client_opened(0, "somewhere").unwrap()).collect();
        let asks =
            [&b"CLIENT REPLY OFF\n"[..], &b"CLIENT LIST\n".repeat(500), &b"CLIENT KILL x\n".repeat(500)];
        core.begin_turn();
        core.client_read(clients[0], &asks.concat());
        let mut turns = 0;
        loop {
            core.settle();
            turns += 1;
            assert!(Traffic::load(&core.traffic()).commands <= turns * 6, "too much in one turn");
            if !core.awaits_turn() {
                break;
            }
            core.client_read(clients[1], b"CLIENT ID\n");
            assert!(core.client_output(clients[1]).is_some_and(|(output, _)| output.ends_with(b"\r\n")));
            core.begin_turn();
        }
        assert!(Traffic::load(&core.traffic()).commands >= 1000);
        assert!(core.wants_input(clients[0]));
    }
}
