//! How many commands an endpoint takes per second: a bucket of tokens that fills evenly. Above the rate clients wait for
//! their turn, first come first served, and share what there is; who waits for too long is refused.
//!
//! A client asks for its turn when everything that it has under way is answered, so that a refusal overtakes no answer.
//! What comes back from a lost connection was counted when it was first taken.

use super::client::Wait;
use super::{Core, Key};
use backstay_model::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Tokens are counted in millionths: a microsecond at a rate of one per second.
const TOKEN: u64 = 1_000_000;
/// What was not used is kept for so long: clients do not come evenly.
const BURST: Duration = Duration::from_millis(100);

pub(crate) struct Rate {
    per_second: u64,
    /// The fullest that it gets.
    burst: u64,
    level: u64,
    filled: Time,
    /// What is set aside for the client whose turn it is.
    turn: u32,
    /// Clients that wait for their turn, and since when.
    waiting: VecDeque<(Key, Time)>,
}

impl Rate {
    /// `None`: there is no limit.
    pub(crate) fn new(per_second: u64) -> Option<Self> {
        let burst = (per_second.saturating_mul(BURST.as_micros() as u64)).max(TOKEN);
        (per_second > 0).then(|| Self {
            per_second,
            burst,
            level: burst,
            filled: Time::ZERO,
            turn: 0,
            waiting: VecDeque::new(),
        })
    }

    fn fill(&mut self, now: Time) {
        let micros = now.since(self.filled).as_micros() as u64;
        self.level = self.level.saturating_add(micros.saturating_mul(self.per_second)).min(self.burst);
        self.filled = now;
    }

    fn tokens(&self) -> u32 {
        u32::try_from(self.level / TOKEN).unwrap_or(u32::MAX)
    }

    /// How many commands the client that asks now may send.
    fn allows(&mut self, now: Time) -> u32 {
        if self.turn > 0 {
            return self.turn;
        }
        self.fill(now);
        // Nobody overtakes those who wait.
        if self.waiting.is_empty() { self.tokens() } else { 0 }
    }

    fn spend(&mut self, commands: u32) {
        if self.turn > 0 {
            self.turn = self.turn.saturating_sub(commands);
        } else {
            self.level = self.level.saturating_sub(u64::from(commands) * TOKEN);
        }
    }

    /// Whose turn is next; as many commands are set aside for it as for each other one that waits.
    fn begin_turn(&mut self, now: Time, share: u32) -> Option<Key> {
        self.fill(now);
        let turn = share.min(self.tokens());
        let (key, _) = if turn > 0 { self.waiting.pop_front() } else { None }?;
        self.level -= u64::from(turn) * TOKEN;
        self.turn = turn;
        Some(key)
    }

    /// What was set aside and not used is everybody's.
    fn end_turn(&mut self) {
        self.level = (self.level + u64::from(std::mem::take(&mut self.turn)) * TOKEN).min(self.burst);
    }

    /// When the next turn is, if anybody waits for one.
    pub(crate) fn next_turn(&self) -> Option<Time> {
        let missing = TOKEN.saturating_sub(self.level);
        let micros = missing.div_ceil(self.per_second);
        (!self.waiting.is_empty()).then(|| self.filled + Duration::from_micros(micros))
    }
}

impl Core {
    /// How many commands of this endpoint may be sent now.
    #[inline]
    pub(super) fn allowance(&mut self, endpoint: usize) -> u32 {
        let now = self.now;
        self.endpoints[endpoint].rate.as_mut().map_or(u32::MAX, |rate| rate.allows(now))
    }

    /// So many commands were sent on or answered.
    #[inline]
    pub(super) fn spend(&mut self, endpoint: usize, commands: u32) {
        if let Some(rate) = &mut self.endpoints[endpoint].rate {
            rate.spend(commands);
        }
    }

    /// The client's next command is one too many for now.
    pub(super) fn await_turn(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.in_flight > 0 {
            client.wait = Wait::Answers;
            return;
        }
        client.wait = Wait::Rate;
        if let Some(rate) = &mut self.endpoints[client.endpoint].rate {
            rate.waiting.push_back((key, self.now));
        }
    }

    /// Gives those who wait their turns, as far as tokens go: each the same, and at least one command.
    pub(super) fn give_turns(&mut self, endpoint: usize) {
        let now = self.now;
        let Some(rate) = self.endpoints[endpoint].rate.as_mut().filter(|rate| !rate.waiting.is_empty())
        else {
            return;
        };
        rate.fill(now);
        let waiting = rate.waiting.len();
        let share = (rate.tokens() / u32::try_from(waiting).unwrap_or(u32::MAX)).max(1);
        // Who is given a turn and wants another one comes behind these.
        for _ in 0..waiting {
            let Some(key) =
                self.endpoints[endpoint].rate.as_mut().and_then(|rate| rate.begin_turn(now, share))
            else {
                return;
            };
            if let Some(client) = self.clients.get_mut(key).filter(|client| client.wait == Wait::Rate) {
                client.wait = Wait::No;
                self.run(key);
            }
            if let Some(rate) = &mut self.endpoints[endpoint].rate {
                rate.end_turn();
            }
        }
    }

    /// Refuses what waited for a turn for too long. What belongs to an open transaction waits on: without it the rest
    /// would be executed.
    pub(super) fn end_late_turns(&mut self, endpoint: usize) {
        let max = self.endpoints[endpoint].settings.limits.hold_max;
        let Some(rate) = &mut self.endpoints[endpoint].rate else {
            return;
        };
        let (clients, now, mut late) = (&self.clients, self.now, Vec::new());
        rate.waiting.retain(|(key, since)| {
            let Some(client) = clients.get(*key).filter(|client| client.wait == Wait::Rate) else {
                return false;
            };
            let multi = client.special.as_ref().is_some_and(|special| special.multi);
            let over = !multi && *since + max <= now;
            if over {
                late.push(*key);
            }
            !over
        });
        let text = format!(
            "-RATELIMIT waited {} ms: this endpoint takes {} commands per second\r\n",
            max.as_millis(),
            rate.per_second
        );
        for key in late {
            self.give_up(key, &text);
        }
    }
}

#[cfg(test)]
mod tests;
