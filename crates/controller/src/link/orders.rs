//! Orders: whether one is sent, and when.

use super::{Connection, FRESHNESS, Link, LinkOutput, Purpose, mariadb, redis};
use backstay_model::{Action, Command, Engine, Order, Time};

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
        let purpose = match order.action {
            Action::Promote => {
                self.waiting_promotion = Some(order);
                return self.release_promotion(now, out);
            }
            Action::Canary if self.settings.engine.mariadb().is_some() => return self.write(out),
            Action::Canary => Purpose::Canary,
            Action::Freeze => Purpose::Freeze(order.epoch),
            Action::Pause { .. } => Purpose::Pause(order.epoch),
            Action::Fence | Action::Open | Action::Resume | Action::Follow { .. } => Purpose::Order,
        };
        let commands = self.commands(&order.action);
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
            let commands = self.commands(&Action::Promote);
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

    fn commands(&self, action: &Action) -> Vec<Command> {
        match &self.settings.engine {
            Engine::Redis(settings) => redis::commands(self, settings, action),
            Engine::MariaDb(_) | Engine::MySql(_) => mariadb::commands(self, action),
        }
    }

    /// Asks for a canary on a connection of its own, one at a time.
    fn write(&mut self, out: &mut Vec<LinkOutput>) {
        if !std::mem::replace(&mut self.writing, true) {
            out.push(LinkOutput::Write);
        }
    }
}
