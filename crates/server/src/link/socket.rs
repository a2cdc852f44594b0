//! One open connection to an instance: bytes out, replies in, both bounded. It knows that the reply to a login comes
//! before all others, and nothing of what the commands are for.

use super::tls::{Encrypted, fault_of};
use crate::secret::Login;
use backstay_model::{Command, Fault, Reply};
use backstay_wire::redis::{decode_auth, decode_reply, encode_auth, encode_command};
use backstay_wire::resp::{Decoder, Limits};
use std::io;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What an instance may leave unread before its connection is given up.
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// How much is read at a time.
const READ_BYTES: usize = 8 * 1024;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was closed or broke.
    Closed,
    /// What arrived was not what a Redis says.
    Garbage,
    /// TLS failed after the handshake: the server did not like our certificate, say.
    NoTls(Fault),
}

/// A new connection.
pub(super) enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    encrypted: Option<Encrypted>,
    decoder: Decoder,
    unsent: Vec<u8>,
    login: LoginState,
}

/// How far the login on this connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginState {
    Answered,
    Awaited,
    /// The instance refused it. Whether that matters, the next replies say.
    Refused(Fault),
}

impl Socket {
    /// Takes a new connection and logs in, if there is a password.
    pub(super) fn new(opened: Opened, login: &Login) -> Self {
        let (stream, encrypted) = match opened {
            Opened::Plain(stream) => (stream, None),
            Opened::Tls(stream) => {
                let (stream, connection) = stream.into_inner();
                (stream, Some(Encrypted::new(connection)))
            }
        };
        let mut socket = Self {
            stream,
            encrypted,
            decoder: Decoder::new(Limits::default()),
            unsent: Vec::new(),
            login: LoginState::Answered,
        };
        if let Some(password) = login.password() {
            encode_auth(&mut socket.unsent, login.username(), password.reveal());
            socket.login = LoginState::Awaited;
        }
        socket
    }

    /// What became of the login, once that is known.
    pub(super) const fn login_outcome(&self) -> Option<Result<(), Fault>> {
        match self.login {
            LoginState::Awaited => None,
            LoginState::Answered => Some(Ok(())),
            LoginState::Refused(fault) => Some(Err(fault)),
        }
    }

    /// Queues commands as one piece and writes as much as goes.
    pub(super) fn send(&mut self, commands: &[Command]) -> Result<(), Ended> {
        for command in commands {
            encode_command(&mut self.unsent, command);
        }
        self.flush()
    }

    /// Whether something waits to be written.
    pub(super) fn is_clogged(&self) -> bool {
        !self.unsent.is_empty() || self.encrypted.as_ref().is_some_and(Encrypted::wants_write)
    }

    /// Waits until there is something to read, or to write if anything waits for that. Cancel-safe.
    pub(super) async fn ready(&self) -> io::Result<()> {
        if self.is_clogged() {
            let interest = tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE;
            self.stream.ready(interest).await.map(|_| ())
        } else {
            self.stream.readable().await
        }
    }

    /// Writes what waits, as much as goes.
    pub(super) fn flush(&mut self) -> Result<(), Ended> {
        while self.is_clogged() {
            let written = match &mut self.encrypted {
                None => self.stream.try_write(&self.unsent),
                Some(encrypted) if self.unsent.is_empty() => match encrypted.send(&self.stream) {
                    Ok(()) => break,
                    Err(error) => Err(error),
                },
                Some(encrypted) => encrypted.try_write(&self.stream, &self.unsent),
            };
            match written {
                Ok(0) => return Err(Ended::Closed),
                Ok(written) => {
                    self.unsent.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the other side said before it went is still to be read.
                Err(_) => {
                    self.unsent.clear();
                    break;
                }
            }
        }
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err(Ended::Closed);
        }
        Ok(())
    }

    /// Reads once what is there. `false`: nothing is there now.
    pub(super) fn read(&mut self) -> Result<bool, Ended> {
        let mut bytes = [0; READ_BYTES];
        let read = match &mut self.encrypted {
            None => self.stream.try_read(&mut bytes),
            Some(encrypted) => encrypted.try_read(&self.stream, &mut bytes),
        };
        match read {
            Ok(0) => Err(Ended::Closed),
            Ok(count) => self.decoder.feed(&bytes[..count]).map(|()| true).map_err(|_| Ended::Garbage),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(tls) => Ended::NoTls(fault_of(tls)),
                None => Ended::Closed,
            }),
        }
    }

    /// The next reply of those that were read, understood as one to `awaited`. A reply that nobody waits for is garbage.
    pub(super) fn next_reply(&mut self, awaited: Option<&Command>) -> Result<Option<Reply>, Ended> {
        let Some(value) = self.decoder.next().map_err(|_| Ended::Garbage)? else {
            return Ok(None);
        };
        if self.login != LoginState::Awaited {
            let command = awaited.ok_or(Ended::Garbage)?;
            return Ok(Some(decode_reply(command, &value)));
        }
        match decode_auth(&value) {
            Ok(()) => self.login = LoginState::Answered,
            // No more answers will come: this one is for everything.
            Err(fault @ Fault::TooManyClients) => return Ok(Some(Reply::Refused(fault))),
            Err(fault) => self.login = LoginState::Refused(fault),
        }
        self.next_reply(awaited)
    }
}
