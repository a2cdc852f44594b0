//! What each order sends, and in which order on the wire.

use super::{CLIENTS, Connection, FRESHNESS, Link, LinkOutput, Purpose};
use backstay_model::{Action, Address, ClientKind, Command, Order, Replication, Time};

impl Link {
    /// Sends the order unless its deadline has passed, the instance has not accepted the connection, or another process
    /// than the one it was decided about is at its end: what lies unread on a connection that a promotion cannot see to
    /// disconnect could run after it, and another process may be anybody's. What is not sent now is not sent later: the
    /// brain orders again from what it observes.
    pub(super) fn order(&mut self, now: Time, order: Order, out: &mut Vec<LinkOutput>) {
        if now >= order.deadline || self.connection != Connection::Open || !self.accepted {
            return;
        }
        if order.process.is_some() && order.process != self.run_id {
            return;
        }
        // Whatever comes next was decided knowing that the promotion was not sent.
        self.waiting_promotion = None;
        let look = [Command::WriteGuard, Command::Info];
        let (commands, purpose) = match order.action {
            Action::Promote => {
                self.waiting_promotion = Some(order);
                return self.release_promotion(now, out);
            }
            Action::Fence => (self.fence(), Purpose::Order),
            Action::Freeze => {
                let freeze = vec![Command::Replicate(Address::nowhere()), Command::Identify, Command::Info];
                (freeze, Purpose::Freeze(order.epoch))
            }
            Action::Open { min_replicas_to_write } => (
                [vec![Command::SetWriteGuard(min_replicas_to_write)], look.to_vec()].concat(),
                Purpose::Order,
            ),
            Action::Pause { duration } => {
                let pause = vec![Command::PauseWrites(duration), Command::WriteGuard, Command::Info];
                (pause, Purpose::Pause(order.epoch))
            }
            Action::Resume => ([vec![Command::ResumeWrites], look.to_vec()].concat(), Purpose::Order),
            Action::Canary { key } => (vec![Command::Canary(key)], Purpose::Canary),
            Action::Follow { primary, disconnect } => {
                let clients = if disconnect { CLIENTS.to_vec() } else { Vec::new() };
                ([vec![Command::Replicate(primary)], clients, look.to_vec()].concat(), Purpose::Order)
            }
        };
        // The same order, sent and unanswered, would only run twice: a hung instance must not collect a queue.
        if !self.has_unanswered(&commands, &purpose) {
            self.send(now, commands, &purpose, out);
        }
    }

    /// Sends a waiting promotion once a `PONG` is fresh, asks for one if it is not.
    pub(super) fn release_promotion(&mut self, now: Time, out: &mut Vec<LinkOutput>) {
        let Some(order) = &self.waiting_promotion else {
            return;
        };
        if now >= order.deadline {
            self.waiting_promotion = None;
        } else if self.last_pong.is_some_and(|at| now.since(at) <= FRESHNESS) {
            self.waiting_promotion = None;
            let commands = self.promotion();
            if !self.has_unanswered(&commands, &Purpose::Order) {
                self.send(now, commands, &Purpose::Order, out);
            }
        } else if !self.awaits(&Command::Ping) {
            self.send(now, vec![Command::Ping], &Purpose::Probe, out);
        }
    }

    fn has_unanswered(&self, commands: &[Command], purpose: &Purpose) -> bool {
        let Some(first) = commands.first() else {
            return true;
        };
        self.outstanding.iter().any(|sent| sent.command == *first && sent.purpose == *purpose)
    }

    /// What makes the guard work where it is switched off by `min-replicas-max-lag 0`.
    fn guard_in_force(&self) -> Vec<Command> {
        if self.guard_ignored { vec![Command::EnableWriteGuard] } else { Vec::new() }
    }

    fn fence(&self) -> Vec<Command> {
        let close = vec![Command::SetWriteGuard(Replication::CLOSED)];
        let look = vec![Command::Identify, Command::WriteGuard, Command::Info];
        [self.guard_in_force(), close, CLIENTS.to_vec(), look].concat()
    }

    /// Closed first, so that one that runs late accepts nothing; everybody else thrown out first, so that no command
    /// of a deposed leader, still unread on its connection, runs after the promotion. All or nothing: where closing is
    /// refused there is no promotion.
    fn promotion(&self) -> Vec<Command> {
        let begin = vec![Command::Begin, Command::DisconnectClients(ClientKind::Normal)];
        let close = vec![Command::SetWriteGuard(Replication::CLOSED), Command::ReplicateNoOne];
        let look = vec![Command::Commit, Command::WriteGuard, Command::Info];
        [begin, self.guard_in_force(), close, look].concat()
    }
}
