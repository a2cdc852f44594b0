//! Clients that are gone for `core`, and whose last bytes TLS has and the kernel has not taken yet. They are kept for a
//! moment, so that what a client was answered last is not cut off.

use super::socket::Socket;
use backstay_model::Time;
use mio::Token;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a client may take to fetch the rest.
const FETCH_MAX: Duration = Duration::from_secs(1);
/// So many are kept; each holds 64 KiB at most.
const KEPT_MAX: usize = 256;

/// See the module's head.
#[derive(Default)]
pub(super) struct Leaving(BTreeMap<Token, (Time, Socket)>);

impl Leaving {
    /// Says goodbye to a client. The socket is still registered with this token.
    pub(super) fn leave(&mut self, token: Token, mut socket: Socket, now: Time) {
        if !socket.say_goodbye() && self.0.len() < KEPT_MAX {
            self.0.insert(token, (now + FETCH_MAX, socket));
        }
    }

    /// Something may be written to whoever this is.
    pub(super) fn go_on(&mut self, token: Token) {
        if let Some((_, socket)) = self.0.get_mut(&token)
            && socket.flush().unwrap_or(true)
        {
            self.0.remove(&token);
        }
    }

    /// Lets go who had long enough.
    pub(super) fn end_late(&mut self, now: Time) {
        self.0.retain(|_, (until, _)| now < *until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::socket::tests::{pair, until};
    use std::io::{ErrorKind, Read, Write};

    /// A client that has agreed on TLS and fetches nothing, and how much was written to it.
    fn full() -> (Socket, impl Read, usize) {
        let (mut socket, mut far) = pair();
        let speaker = std::thread::spawn(move || {
            far.write_all(b"x").unwrap();
            far
        });
        until("the first word", || socket.read(&mut [0; 8]).ok());
        let far = speaker.join().unwrap();
        let mut written = 0;
        loop {
            match socket.write(&[b'x'; 16 * 1024]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (socket, far, written),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_a_client_was_answered_last_is_not_cut_off_when_it_is_let_go() {
        let (socket, mut far, written) = full();
        let mut leaving = Leaving::default();
        leaving.leave(Token(7), socket, Time::ZERO);
        assert!(!leaving.is_empty());
        let reader = std::thread::spawn(move || {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).unwrap();
            heard.len()
        });
        until("the last byte", || {
            leaving.go_on(Token(7));
            leaving.is_empty().then_some(())
        });
        assert_eq!(reader.join().unwrap(), written);
    }

    #[test]
    fn who_does_not_fetch_its_last_bytes_is_not_waited_for_long() {
        let (socket, _far, _) = full();
        let mut leaving = Leaving::default();
        leaving.leave(Token(7), socket, Time::ZERO);
        leaving.go_on(Token(7));
        leaving.go_on(Token(8));
        leaving.end_late(Time::ZERO + FETCH_MAX / 2);
        assert!(!leaving.is_empty());
        leaving.end_late(Time::ZERO + FETCH_MAX);
        assert!(leaving.is_empty());
    }
}
