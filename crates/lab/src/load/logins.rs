//! A new connection for each question, as PHP pages make them: connect, log in with a password, ask, say goodbye, and again.
//! A few threads, each with one connection at a time. As much of MariaDB's protocol as that takes ("MariaDB client/server
//! protocol"), so that the generator takes little of the machine from those who are measured.

use crate::load::exchange::Outcome;
use crate::load::latencies::Latencies;
use crate::load::sql::Account;
use sha1::{Digest, Sha1};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const PACKET_MAX: u32 = 1 << 24;
const UTF8: u8 = 45;
const PLUGIN: &str = "mysql_native_password";
const SCRAMBLE: usize = 20;
const QUESTION: &[u8] = b"\x03SELECT 1";
const GOODBYE: &[u8] = b"\x01";
const OK: u8 = 0x00;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Who asks whom, and for how long.
#[derive(Clone, Debug)]
pub struct Logins {
    /// Where to connect to.
    pub target: SocketAddr,
    /// Who logs in, by `mysql_native_password`.
    pub account: Account,
    /// How many connections at a time.
    pub threads: usize,
    /// For how long.
    pub duration: Duration,
    /// How long one answer may take before all of it counts as failed.
    pub limit: Duration,
}

impl Logins {
    /// Asks. Any error of any connection ends it.
    pub fn run(&self) -> io::Result<Outcome> {
        let end = Instant::now() + self.duration;
        Outcome::gather(self.threads, |_| self.visit(end))
    }

    /// One connection after the other until `end`.
    fn visit(&self, end: Instant) -> io::Result<Latencies> {
        let mut latencies = Latencies::default();
        loop {
            let began = Instant::now();
            if began >= end {
                return Ok(latencies);
            }
            self.ask()?;
            latencies.note(began.elapsed());
        }
    }

    /// One connection and its question.
    pub(crate) fn ask(&self) -> io::Result<()> {
        let mut link = Link::open(self.target, self.limit)?;
        let greeting = link.packet()?;
        let scramble = scramble_of(&greeting).ok_or_else(|| strange("its greeting"))?;
        link.send(1, &hello(&self.account, &scramble))?;
        if link.packet()?.first() != Some(&OK) {
            return Err(strange("the login: another plugin is wanted"));
        }
        link.send(0, QUESTION)?;
        // How many columns, the one, the end of columns, the row, the end of rows.
        let mut ends = 0;
        while ends < 2 {
            ends += usize::from(link.packet()?.first() == Some(&END));
        }
        link.send(0, GOODBYE)
    }
}

struct Link {
    stream: TcpStream,
    read: Vec<u8>,
    taken: usize,
}

impl Link {
    fn open(target: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Self { stream, read: Vec::with_capacity(512), taken: 0 })
    }

    fn send(&mut self, number: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
        self.stream.write_all(&[&length[..3], &[number], payload].concat())
    }

    /// The payload of the next packet, which must not be an error.
    fn packet(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let rest = &self.read[self.taken..];
            if let Some(header) = rest.get(..4) {
                let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
                if let Some(payload) = rest.get(4..4 + length) {
                    let payload = payload.to_vec();
                    self.taken += 4 + length;
                    return said(payload);
                }
            }
            let mut chunk = [0; 512];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&chunk[..count]);
        }
    }
}

fn said(payload: Vec<u8>) -> io::Result<Vec<u8>> {
    if payload.first() == Some(&ERROR) {
        let text = String::from_utf8_lossy(payload.get(3..).unwrap_or_default()).into_owned();
        return Err(io::Error::other(text));
    }
    Ok(payload)
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what the server said is not understood: {what}"))
}

/// The random bytes of a greeting, in their two parts.
fn scramble_of(greeting: &[u8]) -> Option<[u8; SCRAMBLE]> {
    let version = greeting.iter().position(|byte| *byte == 0)?;
    let first = greeting.get(version + 5..version + 13)?;
    let second = greeting.get(version + 32..version + 44)?;
    [first, second].concat().try_into().ok()
}

/// Who the client is, and the proof that it knows the password: SHA1(p) XOR SHA1(scramble, SHA1(SHA1(p))).
fn hello(account: &Account, scramble: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(account.password.as_bytes());
    let both = Sha1::new().chain_update(scramble).chain_update(Sha1::digest(once)).finalize();
    let proof: Vec<u8> = once.iter().zip(both).map(|(one, other)| one ^ other).collect();
    let mut hello = [&CAPABILITIES.to_le_bytes()[..], &PACKET_MAX.to_le_bytes(), &[UTF8], &[0; 23]].concat();
    hello.extend_from_slice(account.user.as_bytes());
    hello.extend([0, SCRAMBLE as u8]);
    hello.extend(proof);
    hello.extend_from_slice(account.database.as_deref().unwrap_or_default().as_bytes());
    hello.push(0);
    hello.extend_from_slice(PLUGIN.as_bytes());
    hello.push(0);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    fn logins(target: SocketAddr) -> Logins {
        let limit = Duration::from_secs(10);
        Logins { target, account: Account::new("shop", "lab"), threads: 1, duration: limit, limit }
    }

    #[test]
    fn what_a_server_refuses_with_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            listener.accept()?.0.write_all(b"\x17\0\0\0\xff\x10\x04Too many connections")
        });
        let error = logins(target).run().unwrap_err().to_string();
        server.join().unwrap().unwrap();
        assert_eq!(error, "Too many connections");
    }

    #[test]
    fn a_refused_connection_ends_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(logins(target).run().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
