//! A client and its server, if it has one.

use super::parting::Parting;
use crate::sql::login::Login;
use crate::sql::talk::Talk;
use backstay_model::Time;
use std::net::SocketAddr;

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    #[inline]
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// What was written arrives, and then the end.
    End,
    /// At once, and whatever is unsent is never sent.
    Reset,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The load balancer has not said who it is.
    Arriving,
    /// There is no server for it.
    Waiting,
    /// A connection to one is being made.
    Connecting,
    /// It is made, and the server has not spoken.
    Connected,
    /// The server has greeted the client.
    Linked,
}

pub(super) struct Pair {
    pub(super) endpoint: usize,
    /// Where the client comes from, for people.
    pub(super) peer: Box<str>,
    /// Where it is, and which address it called, for the server.
    pub(super) from: Option<(SocketAddr, SocketAddr)>,
    /// When it came.
    pub(super) since: Time,
    /// It was counted among those that had to wait.
    pub(super) held: bool,
    pub(super) stage: Stage,
    pub(super) server: Option<Server>,
    pub(super) talk: Talk,
    /// The client was not let in yet.
    pub(super) login: Option<Box<Login>>,
    /// What either side is still to be given.
    to_client: Pipe,
    to_server: Pipe,
    /// When either side said something.
    pub(super) active: Time,
    /// It is to end soon.
    pub(super) parting: Option<Parting>,
    /// When the server said its last.
    pub(super) served: Option<Time>,
}

/// What a client is connected to.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) primary: bool,
    /// When it was begun to connect.
    pub(super) since: Time,
}

/// What one side has sent and the other one has not taken.
#[derive(Default)]
pub(super) struct Pipe {
    bytes: Vec<u8>,
    sent: usize,
    /// Nothing more comes.
    pub(super) ended: bool,
}

impl Pipe {
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn kept(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.bytes.extend_from_slice(rest);
    }

    pub(super) fn wrote(&mut self, written: usize) {
        self.sent += written;
        if self.sent >= self.bytes.len() {
            // Who takes everything at once needs no buffer.
            (self.bytes, self.sent) = (Vec::new(), 0);
        }
    }
}

impl Pair {
    pub(super) fn new(endpoint: usize, peer: &str, now: Time) -> Self {
        Self {
            endpoint,
            peer: peer.into(),
            from: None,
            since: now,
            held: false,
            stage: Stage::Arriving,
            server: None,
            talk: Talk::new(),
            login: Some(Box::new(Login::new())),
            to_client: Pipe::default(),
            to_server: Pipe::default(),
            active: now,
            parting: None,
            served: None,
        }
    }

    #[inline]
    pub(super) fn is_to_primary(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.primary)
    }

    /// What this side is still to be given.
    #[inline]
    pub(super) const fn pipe(&self, to: Side) -> &Pipe {
        match to {
            Side::Client => &self.to_client,
            Side::Server => &self.to_server,
        }
    }

    #[inline]
    pub(super) const fn pipe_mut(&mut self, to: Side) -> &mut Pipe {
        match to {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    /// How many bytes it holds.
    pub(super) fn kept(&self) -> usize {
        self.to_client.kept().len() + self.to_server.kept().len()
    }

    /// Nothing of the client's is unanswered, undelivered or in an open transaction, as far as is known.
    pub(super) fn is_idle(&self) -> bool {
        let empty = self.to_client.is_empty() && self.to_server.is_empty();
        self.stage == Stage::Linked && empty && self.talk.is_between_commands()
    }

    /// The client was greeted, has no server to go on with, and has something to say.
    pub(super) fn owes_word(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.has_begun() && login.awaits_client())
    }

    /// It loses its server before that has let the client in.
    pub(super) fn unlink(&mut self, now: Time) -> usize {
        let kept = self.kept();
        if let Some(login) = &mut self.login {
            if login.has_begun() && !login.is_moved() {
                // It waits from now on.
                self.since = now;
            }
            login.lose_server();
        }
        (self.to_client, self.to_server) = (Pipe::default(), Pipe::default());
        (self.stage, self.talk, self.parting) = (Stage::Waiting, Talk::new(), None);
        kept
    }
}
