//! A client of MySQL's protocol that shows every packet, and as much of it as the tests need: a login with an empty password
//! or `mysql_native_password`, statements, and results as text.

use crate::support::LIMIT;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

const CAPABILITIES: u32 = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x2_0000 | 0x8_0000 | 0x8;

/// A connection, and what it has said last.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    /// The last OK or end of a result, as the server numbered its flags.
    pub(crate) status: u16,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error packet: its number, and its text with the state in front.
    Said(u16, String),
    /// The connection ended, or was reset.
    Gone,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!late, "nothing was heard in time");
        Self::Gone
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, status: 0 })
    }

    pub(crate) fn open(address: SocketAddr, user: &str, database: &str) -> Result<Self, Failure> {
        let mut client = Self::connect(address)?;
        client.sign_in(user, database)?;
        Ok(client)
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, status: 0 }
    }

    /// Waits for the greeting, and signs in without a password.
    pub(crate) fn sign_in(&mut self, user: &str, database: &str) -> Result<(), Failure> {
        let greeting = self.receive()?;
        assert_eq!(greeting[0], 10, "{greeting:?}");
        let mut hello = CAPABILITIES.to_le_bytes().to_vec();
        hello.extend([0, 0, 0, 1, 45]);
        hello.extend([0; 23]);
        hello.extend_from_slice(user.as_bytes());
        hello.extend([0, 0]);
        hello.extend_from_slice(database.as_bytes());
        hello.push(0);
        hello.extend_from_slice(b"mysql_native_password\0");
        self.send(1, &hello)?;
        let answer = self.receive()?;
        if answer[0] == 0xfe {
            // It wants an answer to another question; there is no password to answer with.
            self.send(3, b"")?;
            self.receive()?;
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, number: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        self.stream.write_all(&[&length[..3], &[number], payload].concat())
    }

    /// The next packet.
    pub(crate) fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        if payload.first() == Some(&0xff) {
            let number = u16::from_le_bytes([payload[1], payload[2]]);
            return Err(Failure::Said(number, String::from_utf8_lossy(&payload[3..]).into_owned()));
        }
        Ok(payload)
    }

    pub(crate) fn begin(&mut self, statement: &str) -> io::Result<()> {
        self.send(0, &[&[3], statement.as_bytes()].concat())
    }

    /// The rows of the answer to what was begun.
    pub(crate) fn rows(&mut self) -> Result<Vec<Vec<String>>, Failure> {
        let first = self.receive()?;
        if first[0] == 0 {
            self.status = u16::from_le_bytes([first[3], first[4]]);
            return Ok(Vec::new());
        }
        for _ in 0..=first[0] {
            self.receive()?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.receive()?;
            if packet[0] == 0xfe && packet.len() < 9 {
                self.status = u16::from_le_bytes([packet[3], packet[4]]);
                return Ok(rows);
            }
            rows.push(texts(&packet));
        }
    }

    pub(crate) fn query(&mut self, statement: &str) -> Result<Vec<Vec<String>>, Failure> {
        self.begin(statement)?;
        self.rows()
    }

    /// The only value of the answer.
    pub(crate) fn value(&mut self, statement: &str) -> String {
        self.query(statement).unwrap()[0][0].clone()
    }
}

/// A row's columns.
fn texts(mut packet: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((first, rest)) = packet.split_first() {
        let number =
            |size: usize| rest[..size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (skip, length) = match first {
            0xfb => (0, 0),
            0xfc => (2, number(2)),
            0xfd => (3, number(3)),
            0xfe => (8, number(8)),
            length => (0, usize::from(*length)),
        };
        let (text, rest) = rest[skip..].split_at(length);
        texts.push(String::from_utf8_lossy(text).into_owned());
        packet = rest;
    }
    texts
}

/// What is left to be read before the end, and whether that was a reset.
pub(crate) fn rest(stream: &mut impl Read) -> (usize, bool) {
    let mut rest = Vec::new();
    let reset = match stream.read_to_end(&mut rest) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    (rest.len(), reset)
}
