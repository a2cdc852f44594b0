//! A connection that never blocks, for generators that hold many of them in one thread. The thread polls; this one
//! sends what it can, keeps the rest, and hands out replies. After an error the caller drops it.

use crate::load::connection::Reply;
use backstay_wire::resp::{Decoder, Limits};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// The pause between two looks of a generator at its clock while nothing is answered.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    registered: bool,
    /// How it ended: told once the replies that came before are taken.
    failure: Option<io::Error>,
}

impl Link {
    /// Begins to connect. A refusal shows when something is sent.
    pub(crate) fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::new(Limits::default()),
            unsent: Vec::new(),
            registered: false,
            failure: None,
        })
    }

    /// Dropping it shall reset the connection: no port of ours is left in `TIME_WAIT`.
    pub(crate) fn reset_when_dropped(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Asks for the events that are needed now; to be called after every `send`. On loopback a connection mostly stands as
    /// soon as it is asked for, so one that has sent its first request before this is told of the reply only.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match (self.registered, self.unsent.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => {
                registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
            }
            (false, sent) => {
                self.registered = true;
                let writable = (!sent).then_some(Interest::WRITABLE);
                let interest = writable.map_or(Interest::READABLE, |writable| writable | Interest::READABLE);
                registry.register(&mut self.stream, token, interest)
            }
        }
    }

    /// Sends, as far as the socket takes it; the rest goes out at the next `writable`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    /// Does what an event asks for: the caller then takes replies until there is none.
    pub(crate) fn handle(&mut self, event: &Event) {
        let flushed = if event.is_writable() { self.flush() } else { Ok(()) };
        let readable = event.is_readable() || event.is_error();
        let filled = if readable { self.fill(event.is_read_closed()) } else { Ok(()) };
        self.failure = flushed.and(filled).err();
    }

    /// The next reply, if it is here. An error comes after the last reply.
    pub(crate) fn reply(&mut self) -> io::Result<Option<Reply>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        match (self.decoder.next().map_err(invalid)?, self.failure.take()) {
            (None, Some(failure)) => Err(failure),
            (reply, failure) => {
                self.failure = failure;
                Ok(reply)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if waits(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until nothing is left: the next event comes only with something new.
    fn fill(&mut self, to_the_end: bool) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let fed = self.decoder.feed(&chunk[..count]);
                    fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    // A shorter read than asked for has emptied the socket (epoll(7)), but for its end.
                    if count < chunk.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) if waits(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
