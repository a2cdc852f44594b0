//! Clients' sockets: accepted, read, and written to.

use super::listeners::Arrival;
use super::socket::Socket;
use super::{Plane, READS_MAX, SCRATCH, Whose, find, list, now, put};
use crate::core::Key;
use backstay_model::{Epoch, ServiceName};
use rustls::ServerConnection;
use std::cmp::Reverse;
use std::io::ErrorKind;

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    pub(super) fn accept(&mut self, number: usize) {
        while let Some(Arrival { endpoint, socket, peer }) = self.listeners.accept(number) {
            self.welcome(endpoint, socket, &peer);
        }
    }

    pub(super) fn welcome(&mut self, endpoint: usize, mut socket: Socket, peer: &str) {
        if self.arrivals.are_proxied(endpoint) {
            socket = socket.with_header();
        }
        if let Some((tls, _)) = &self.server_tls[endpoint] {
            match ServerConnection::new(tls.clone()) {
                Ok(tls) => socket = socket.with_server_tls(tls),
                Err(error) => return tracing::warn!(%error, "cannot begin TLS"),
            }
        }
        let key = match self.core.client_opened(endpoint, peer) {
            Ok(key) => key,
            Err(text) => {
                // Nothing is waiting in its buffer yet: this never blocks.
                let _ = socket.write(text);
                return;
            }
        };
        if let Err(error) = socket.register(self.poll.registry(), Whose::Client(key).token()) {
            tracing::warn!(%error, "cannot watch a client's socket");
            self.core.end_client(key);
        }
        // What it has sent already is an event of its own, as is that it can be written to.
        self.arrivals.expect(key, socket.header.is_some());
        put(&mut self.clients, key, socket);
        if let Some((_, limit)) = self.server_tls[endpoint] {
            self.handshakes.push(Reverse((now() + limit, key)));
        }
        self.act();
    }

    /// Lets clients go that had long enough to agree on TLS.
    pub(super) fn end_handshakes(&mut self) {
        if self.handshakes.is_empty() {
            return;
        }
        let now = now();
        while let Some(Reverse((_, key))) = self.handshakes.peek().copied().filter(|first| first.0.0 <= now) {
            self.handshakes.pop();
            if find(&mut self.clients, key).is_some_and(|socket| socket.is_handshaking()) {
                tracing::debug!("a client did not agree on TLS in time");
                self.core.end_client(key);
                self.act();
            }
        }
    }

    pub(super) fn read_client(&mut self, key: Key) {
        for _ in 0..READS_MAX {
            let Some(socket) = find(&mut self.clients, key) else {
                return;
            };
            if !socket.readable {
                return;
            }
            if socket.header.is_some() {
                if self.introduce(key) {
                    continue;
                }
                return;
            }
            if !self.core.wants_input(key) {
                if socket.hung_up {
                    self.core.client_hung_up(key);
                    self.act();
                }
                return;
            }
            match socket.read(&mut self.scratch) {
                Ok(0) => {
                    socket.readable = false;
                    self.core.client_eof(key);
                    return self.act();
                }
                Ok(read) => {
                    socket.readable = read == SCRATCH || !socket.tells_when_empty();
                    self.core.client_read(key, &self.scratch[..read]);
                    self.act();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.core.end_client(key);
                    return self.act();
                }
            }
        }
        list(&mut self.again, &mut self.clients, key);
    }

    pub(super) fn flush_client(&mut self, key: Key) {
        while let (Some((output, sent)), Some(socket)) =
            (self.core.client_output(key), find(&mut self.clients, key))
        {
            if sent == output.len() {
                let _ = socket.flush();
                return;
            }
            match socket.write(&output[sent..]) {
                Ok(written) => {
                    self.core.client_wrote(key, written);
                    self.act();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.core.end_client(key);
                    return self.act();
                }
            }
        }
    }
}
