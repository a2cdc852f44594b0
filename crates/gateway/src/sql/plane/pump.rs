//! Bytes from one side to the other.

use super::Plane;
use crate::core::Key;
use crate::plane::{READS_MAX, SCRATCH, now};
use crate::sql::exchange::{Side, Verdict};
use backstay_model::{Epoch, ServiceName};
use std::io::ErrorKind;

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    /// Passes on what this side has sent, as long as the other one takes it.
    pub(super) fn pump(&mut self, key: Key, from: Side) {
        for _ in 0..READS_MAX {
            let readable = self.ends.socket(key, from).is_some_and(|socket| socket.readable);
            if !readable || !self.exchange.wants(key, from) {
                return;
            }
            let Some((source, target)) = self.ends.get(key).and_then(|ends| ends.both(from)) else {
                return;
            };
            match source.read(&mut self.scratch) {
                Ok(0) => {
                    source.readable = false;
                    self.exchange.set_now(now());
                    self.exchange.ended(key, from);
                    return self.act();
                }
                Ok(read) => {
                    source.readable = read == SCRATCH || !source.tells_when_empty();
                    // The lease must still last now that the bytes have been read.
                    self.exchange.set_now(now());
                    if self.exchange.read(key, from, &self.scratch[..read]) == Verdict::Done {
                        return self.act();
                    }
                    // Nothing is to be passed to nobody.
                    let Some(target) = target else {
                        return self.act();
                    };
                    match target.write(&self.scratch[..read]) {
                        Ok(written) => {
                            self.exchange.passed(key, from.other(), &self.scratch[written..read], written);
                        }
                        Err(error) if is_full(&error) => {
                            self.exchange.passed(key, from.other(), &self.scratch[..read], 0);
                        }
                        Err(error) => {
                            self.exchange.broke(key, from.other(), &error.to_string());
                            return self.act();
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => source.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    source.readable = false;
                    self.exchange.broke(key, from, &error.to_string());
                    return self.act();
                }
            }
        }
        self.list(key, from);
    }

    /// Writes what is kept for this side, and reads the other one again when that is done.
    pub(super) fn flush(&mut self, key: Key, to: Side) {
        // The lease must last now that they are sent.
        self.exchange.set_now(now());
        loop {
            let (Some(output), Some(socket)) = (self.exchange.output(key, to), self.ends.socket(key, to))
            else {
                return;
            };
            match socket.write(output) {
                Ok(written) => {
                    if self.exchange.wrote(key, to, written) {
                        return self.list(key, to.other());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.exchange.broke(key, to, &error.to_string()),
            }
        }
    }

    /// It is read again in the next turn, once, if there is more to read.
    pub(super) fn list(&mut self, key: Key, side: Side) {
        if let Some(socket) = self.ends.socket(key, side)
            && socket.readable
            && !std::mem::replace(&mut socket.listed, true)
        {
            self.again.push((key, side));
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
