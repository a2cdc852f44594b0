//! One blocking connection to a Redis or Sentinel port. Every read and write has a deadline; an error leaves the
//! connection useless, and the caller drops it.

use backstay_wire::resp::{Decoder, Limits, RespError, Value, encode_request};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What Redis answers.
pub type Reply = Value;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    peer: SocketAddr,
}

impl Connection {
    /// Connects; `limit` holds for the connection and for each later read and write.
    pub fn open(peer: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&peer, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self { stream, decoder: Decoder::new(Limits::default()), peer })
    }

    /// Whom it is connected to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Changes how long a read or write may take.
    pub fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        self.stream.set_write_timeout(Some(limit))
    }

    /// Sends one request and waits for its reply. An error reply is a reply.
    pub fn call(&mut self, request: &[&str]) -> io::Result<Reply> {
        self.send(&[request])?;
        self.receive()
    }

    /// Sends requests in one write.
    pub fn send(&mut self, requests: &[&[&str]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for request in requests {
            encode(request, &mut bytes);
        }
        self.stream.write_all(&bytes)
    }

    /// Sends what `encode` made.
    pub fn send_encoded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(value) = self.decoder.next().map_err(invalid)? {
                return Ok(value);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.decoder.feed(&chunk[..count]).map_err(invalid)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A second handle of the same connection, with a decoder of its own: one side sends, the other receives.
    pub fn split(self) -> io::Result<(Self, Self)> {
        let other = Self {
            stream: self.stream.try_clone()?,
            decoder: Decoder::new(Limits::default()),
            peer: self.peer,
        };
        Ok((self, other))
    }

    /// Ends the connection for both halves.
    pub fn shut_down(&self) {
        // It may already be gone.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn invalid(error: RespError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Appends one request to `bytes`.
pub fn encode(request: &[&str], bytes: &mut Vec<u8>) {
    encode_request(bytes, request);
}

/// A reply as text; empty if it is none.
pub fn text(reply: &Reply) -> String {
    reply.as_bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

/// The elements of a reply that is an array.
pub fn items(reply: &Reply) -> Option<&[Reply]> {
    match reply {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// A reply that is a whole number.
pub fn integer(reply: &Reply) -> Option<i64> {
    match reply {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

/// The text of an error reply.
pub fn error_text(reply: &Reply) -> Option<&str> {
    match reply {
        Value::Error(text) => Some(text),
        _ => None,
    }
}

/// Whether a reply is `+OK`.
pub fn is_ok(reply: &Reply) -> bool {
    matches!(reply, Value::Simple(text) if text == "OK")
}
