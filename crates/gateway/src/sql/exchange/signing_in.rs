//! Clients that were greeted and not let in yet: what they say is followed, and when their server goes they are given another
//! one (`sql/login.rs`).

use super::pair::{How, Side, Stage};
use super::{Exchange, Key};
use crate::sql::login::{Heard, Words};
use std::time::Duration;

/// A client that owes the server a word for longer has probably ended the connection by that: servers wait for some seconds.
const OWES_MAX: Duration = Duration::from_secs(2);

impl Exchange {
    /// Bytes of a login. True: they are to be passed on as they are.
    pub(super) fn hear_login(&mut self, key: Key, from: Side, bytes: &[u8]) -> bool {
        let Some(pair) = self.pairs.get_mut(key) else {
            return false;
        };
        let Some(login) = &mut pair.login else {
            return true;
        };
        let (heard, over) = match from {
            Side::Client => login.client_said(bytes),
            Side::Server => login.server_said(bytes),
        };
        let linked = over || login.is_greeted();
        if over {
            pair.login = None;
        }
        if from == Side::Server && linked && pair.stage == Stage::Connected && heard != Heard::Broken {
            self.link(key);
        }
        match heard {
            Heard::Pass => return true,
            Heard::Instead(words) => self.say(key, &words),
            Heard::Broken => self.close(key, How::End, How::Reset),
        }
        false
    }

    fn say(&mut self, key: Key, words: &Words) {
        if !words.to_server.is_empty() {
            if let Some(pair) = self.pairs.get_mut(key) {
                pair.talk.client_said(&words.to_server);
            }
            self.keep(key, Side::Server, &words.to_server);
        }
        if !words.to_client.is_empty() {
            self.keep(key, Side::Client, &words.to_client);
        }
        self.ready.push(key);
    }

    /// A server ended in the middle of a login: the client waits for the next one, if it can go on with that.
    pub(super) fn move_on(&mut self, key: Key, why: &str) -> bool {
        let moves = self.can_move(key) && self.may_have_crashed(key);
        if moves {
            self.leave_failed(key, why);
        }
        moves
    }

    /// The client can go on with another server and does not notice.
    pub(super) fn can_move(&self, key: Key) -> bool {
        self.pairs.get(key).is_some_and(|pair| {
            let login = pair.login.as_ref().is_some_and(|login| login.can_move());
            let heard = pair.pipe(Side::Client);
            login && heard.is_empty() && !heard.ended && !pair.pipe(Side::Server).ended
        })
    }

    /// Its server is gone, and that is no answer to its silence.
    fn may_have_crashed(&self, key: Key) -> bool {
        self.pairs.get(key).is_some_and(|pair| {
            let owes = pair.login.as_ref().is_some_and(|login| login.awaits_client());
            !owes || self.now.since(pair.active) < OWES_MAX
        })
    }
}
