//! One open connection to an instance: bytes out, replies in, both bounded.

use super::talk::Talk;
use super::tls::{Encrypted, fault_of};
use backstay_model::{Command, Fault, Reply};
use backstay_wire::mariadb::ServerError;
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
    /// What arrived was not what such an engine says.
    Garbage,
    /// TLS failed after the handshake: the server did not like our certificate, say.
    NoTls(Fault),
}

/// A new connection.
pub(super) struct Opened {
    pub(super) channel: Channel,
    /// What was read on the way here.
    pub(super) early: Vec<u8>,
}

pub(super) enum Channel {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    encrypted: Option<Encrypted>,
    talk: Talk,
}

impl Socket {
    /// Takes a new connection, on which nothing was said yet but for what `opened` knows.
    pub(super) fn new(opened: Opened, mut talk: Talk) -> Result<Self, Ended> {
        talk.feed(&opened.early)?;
        let (stream, encrypted) = match opened.channel {
            Channel::Plain(stream) => (stream, None),
            Channel::Tls(stream) => {
                let (stream, connection) = stream.into_inner();
                (stream, Some(Encrypted::new(connection)))
            }
        };
        Ok(Self { stream, encrypted, talk })
    }

    /// What became of the login, once that is known.
    pub(super) fn login_outcome(&self) -> Option<Result<(), Fault>> {
        self.talk.login_outcome()
    }

    /// The server's own words about the last thing that it refused, if it has any that are no secret.
    pub(super) fn trouble(&self) -> Option<&ServerError> {
        self.talk.trouble()
    }

    /// Queues commands as one piece and writes as much as goes.
    pub(super) fn send(&mut self, commands: &[Command]) -> Result<(), Ended> {
        self.talk.send(commands);
        self.flush()
    }

    /// Whether something waits to be written.
    pub(super) fn is_clogged(&mut self) -> bool {
        !self.talk.unsent().is_empty() || self.encrypted.as_ref().is_some_and(Encrypted::wants_write)
    }

    /// Waits until there is something to read, or to write if anything waits for that. Cancel-safe.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
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
            let unsent = self.talk.unsent();
            let written = match &mut self.encrypted {
                None => self.stream.try_write(unsent),
                Some(encrypted) if unsent.is_empty() => match encrypted.send(&self.stream) {
                    Ok(()) => break,
                    Err(error) => Err(error),
                },
                Some(encrypted) => encrypted.try_write(&self.stream, unsent),
            };
            match written {
                Ok(0) => return Err(Ended::Closed),
                Ok(written) => {
                    unsent.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the other side said before it went is still to be read.
                Err(_) => {
                    unsent.clear();
                    break;
                }
            }
        }
        if self.talk.unsent().len() > UNSENT_BYTES_MAX {
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
            Ok(count) => self.talk.feed(&bytes[..count]).map(|()| true),
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
        self.talk.next_reply(awaited)
    }
}
