//! A client that was greeted and not let in yet. Should its server go in that time, it can go on with another one and not
//! notice: nothing that it has said so far was more than who it is.
//!
//! What it said is kept. Its proof is of no use to the next server, whose random bytes are others; so that one is told the
//! same user with a way of logging in that it does not know and no proof, whereupon it asks the client for a new one, by
//! `AuthSwitchRequest`. Packets are numbered, and both sides count: what goes through is renumbered as long as they differ.
//!
//! It cannot be done for a client that wants TLS or that does not know `AuthSwitchRequest`, after a server has asked something
//! else, and for one that sends commands before it is let in: these pass as they are, and end with their server. Cited:
//! "Connection: handshake", "HandshakeResponse", "AuthSwitchRequest" of "MariaDB client/server protocol".

const HEADER: usize = 4;
/// A packet of a login is rarely longer than 300 bytes. Who sends more is not helped.
const PACKET_MAX: usize = 4096;

const CLIENT_MYSQL: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const LENENC_DATA: u32 = 1 << 21;

/// No server knows such a way of logging in.
const UNKNOWN_PLUGIN: &[u8] = b"ask_again";

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Login {
    /// Of packets that have not come whole.
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    /// What the greeting that the client has heard says a server can do.
    offer: Option<Offer>,
    /// The client's first packet; empty: it has not come.
    hello: Vec<u8>,
    owes: Debt,
    /// The number of the packet that it waits for, once it has said what it owes.
    next: u8,
    server: Server,
    /// It is not the client's first server.
    moved: bool,
    /// So much higher are numbers at the client.
    shift: u8,
    /// The server has asked something that no other one could go on with.
    bound: bool,
}

/// What the client has been asked for and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Debt {
    Nothing,
    Answer,
    /// The one who asked is gone: nobody wants to hear it.
    Stale,
}

/// How far this server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Silent,
    Greeted,
    /// It was told who the client is.
    Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    capabilities: u32,
    extended: u32,
}

/// What becomes of bytes that were read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// They go to the other side as they are.
    Pass,
    /// Both sides are to be sent this instead.
    Instead(Words),
    /// The login cannot go on.
    Broken,
}

/// For either side, in packets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_server: Vec<u8>,
}

/// What becomes of one packet.
enum Fate {
    /// It goes on, with this number.
    Sent(u8),
    /// It was meant for a server that is gone, or it is that server's successor's greeting.
    Kept,
    /// It goes on with this number, and from then on everything passes as it is.
    Last(u8),
    /// The client cannot go on with this server, or the server not with this client.
    Broken,
}

impl Login {
    pub(crate) const fn new() -> Self {
        Self {
            from_client: Vec::new(),
            from_server: Vec::new(),
            offer: None,
            hello: Vec::new(),
            owes: Debt::Nothing,
            next: 0,
            server: Server::Silent,
            moved: false,
            shift: 0,
            bound: false,
        }
    }

    /// The client was greeted by some server.
    pub(crate) const fn has_begun(&self) -> bool {
        self.offer.is_some()
    }

    /// It is not the client's first server.
    pub(crate) const fn is_moved(&self) -> bool {
        self.moved
    }

    /// This server has greeted.
    pub(crate) fn is_greeted(&self) -> bool {
        self.server != Server::Silent
    }

    /// The client has been asked, and has not answered.
    pub(crate) fn awaits_client(&self) -> bool {
        self.owes != Debt::Nothing
    }

    /// Another server can take it over.
    pub(crate) const fn can_move(&self) -> bool {
        self.offer.is_some() && !self.bound
    }

    /// The number of the packet that the client waits for.
    pub(crate) const fn next(&self) -> u8 {
        self.next
    }

    /// The server is gone, and there will be another one.
    pub(crate) fn lose_server(&mut self) {
        self.from_server.clear();
        (self.server, self.moved) = (Server::Silent, self.has_begun());
        // Who it is it has to say all the same.
        if self.owes == Debt::Answer && !self.hello.is_empty() {
            self.owes = Debt::Stale;
        }
    }

    /// The client has sent this. True: from now on everything passes as it is.
    pub(crate) fn client_said(&mut self, bytes: &[u8]) -> (Heard, bool) {
        if self.passes(&self.from_client, bytes) {
            let last = matches!(self.client_packet(bytes), Fate::Last(_));
            return self.passed(last, bytes, &[]);
        }
        self.from_client.extend_from_slice(bytes);
        let mut words = Words::default();
        while let Some(length) = whole(&self.from_client) {
            let packet: Vec<u8> = self.from_client.drain(..length).collect();
            match self.client_packet(&packet) {
                Fate::Sent(number) => renumbered(&packet, number, &mut words.to_server),
                Fate::Kept => {}
                Fate::Last(number) => {
                    renumbered(&packet, number, &mut words.to_server);
                    return self.over(words);
                }
                Fate::Broken => return (Heard::Broken, true),
            }
            self.introduce(&mut words);
        }
        self.gathered(words, is_plausible(&self.from_client))
    }

    /// The server has sent this. True: from now on everything passes as it is.
    pub(crate) fn server_said(&mut self, bytes: &[u8]) -> (Heard, bool) {
        if self.passes(&self.from_server, bytes) {
            let last = matches!(self.server_packet(bytes), Fate::Last(_));
            return self.passed(last, &[], bytes);
        }
        self.from_server.extend_from_slice(bytes);
        let mut words = Words::default();
        while let Some(length) = whole(&self.from_server) {
            let packet: Vec<u8> = self.from_server.drain(..length).collect();
            match self.server_packet(&packet) {
                Fate::Sent(number) => renumbered(&packet, number, &mut words.to_client),
                Fate::Kept => {}
                Fate::Last(number) => {
                    renumbered(&packet, number, &mut words.to_client);
                    return self.over(words);
                }
                Fate::Broken => return (Heard::Broken, true),
            }
            self.introduce(&mut words);
        }
        self.gathered(words, is_plausible(&self.from_server))
    }

    /// These bytes can go on as they are: one packet of a login with the client's first server.
    fn passes(&self, gathered: &[u8], bytes: &[u8]) -> bool {
        !self.moved && gathered.is_empty() && whole(bytes) == Some(bytes.len())
    }

    fn passed(&mut self, last: bool, to_server: &[u8], to_client: &[u8]) -> (Heard, bool) {
        if !last || (self.from_client.is_empty() && self.from_server.is_empty()) {
            return (Heard::Pass, last);
        }
        self.over(Words { to_client: to_client.to_vec(), to_server: to_server.to_vec() })
    }

    /// What was gathered of packets goes on as it is.
    fn over(&mut self, mut words: Words) -> (Heard, bool) {
        words.to_client.append(&mut self.from_server);
        words.to_server.append(&mut self.from_client);
        (Heard::Instead(words), true)
    }

    fn gathered(&mut self, words: Words, plausible: bool) -> (Heard, bool) {
        match (plausible, self.moved) {
            (true, _) => (Heard::Instead(words), false),
            (false, true) => (Heard::Broken, true),
            (false, false) => self.over(words),
        }
    }

    fn client_packet(&mut self, packet: &[u8]) -> Fate {
        let number = packet[3];
        let owed = std::mem::replace(&mut self.owes, Debt::Nothing);
        let asked = owed != Debt::Nothing && number.wrapping_add(1) == self.next;
        if !asked || (self.hello.is_empty() && Parts::of(packet).is_none()) {
            // A command before its time, or who cannot be introduced to anybody else.
            return if self.moved { Fate::Broken } else { Fate::Last(number) };
        }
        if !self.hello.is_empty() {
            let stale = owed == Debt::Stale;
            return if stale { Fate::Kept } else { Fate::Sent(number.wrapping_sub(self.shift)) };
        }
        self.hello = packet.to_vec();
        if self.moved {
            return Fate::Kept;
        }
        self.server = Server::Told;
        Fate::Sent(number)
    }

    /// Tells another server who the client is, once both have come so far.
    fn introduce(&mut self, words: &mut Words) {
        if self.moved && self.server == Server::Greeted && self.owes == Debt::Nothing {
            self.server = Server::Told;
            if let Some(parts) = Parts::of(&self.hello) {
                words.to_server.extend(parts.introduction());
            }
        }
    }

    fn server_packet(&mut self, packet: &[u8]) -> Fate {
        if self.server == Server::Silent {
            return self.greeting(packet);
        }
        let (number, payload) = (packet[3].wrapping_add(self.shift), &packet[HEADER..]);
        match payload.first() {
            Some(0x00 | 0xff) | None => return Fate::Last(number),
            Some(0xfe) if payload.len() > 1 => {}
            _ if self.shift == 0 => return Fate::Last(number),
            _ => self.bound = true,
        }
        (self.owes, self.next) = (Debt::Answer, number.wrapping_add(2));
        Fate::Sent(number)
    }

    fn greeting(&mut self, packet: &[u8]) -> Fate {
        match (Offer::of(&packet[HEADER..]), self.offer) {
            // It says why it takes nobody.
            (None, before) => Fate::Last(if before.is_some() { self.next } else { packet[3] }),
            (Some(offer), None) => {
                self.offer = Some(offer);
                (self.server, self.owes, self.next) = (Server::Greeted, Debt::Answer, 2);
                Fate::Sent(packet[3])
            }
            (Some(offer), Some(before)) if offer.covers(before) => {
                (self.server, self.shift) = (Server::Greeted, self.next.wrapping_sub(2));
                Fate::Kept
            }
            (Some(_), Some(_)) => Fate::Broken,
        }
    }
}

impl Offer {
    /// What a server can do, by its greeting; none: that is none.
    fn of(greeting: &[u8]) -> Option<Self> {
        let version = greeting.strip_prefix(&[10])?.iter().position(|byte| *byte == 0)? + 2;
        let at = |from: usize, count: usize| greeting.get(version + from..version + from + count);
        // Thread, random bytes and a zero; two bytes of it, character set, status, and two bytes more.
        let (low, high) = (at(13, 2)?, at(18, 2)?);
        let capabilities = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
        let extended = at(27, 4)?.try_into().map_or(0, u32::from_le_bytes);
        let is_mariadb = capabilities & CLIENT_MYSQL == 0;
        Some(Self { capabilities, extended: if is_mariadb { extended } else { 0 } })
    }

    /// Whatever the client has picked out of the other one is here, too.
    const fn covers(self, other: Self) -> bool {
        let missing = other.capabilities & !self.capabilities & !SSL;
        missing == 0 && other.extended & !self.extended == 0
    }
}

/// The length of the first packet, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let length = HEADER + length_of(bytes)?;
    (bytes.len() >= length).then_some(length)
}

fn length_of(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    Some(usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16)
}

/// What has come of a packet may become one of a login.
fn is_plausible(bytes: &[u8]) -> bool {
    length_of(bytes).is_none_or(|length| length <= PACKET_MAX)
}

fn renumbered(packet: &[u8], number: u8, to: &mut Vec<u8>) {
    let at = to.len();
    to.extend_from_slice(packet);
    to[at + 3] = number;
}

/// The client's first packet, cut where another server must be told something else.
struct Parts<'a> {
    /// Up to the user's name.
    user: &'a [u8],
    database: &'a [u8],
    /// What is behind the name of the way of logging in.
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// None: it is no such packet, or of a client that cannot be asked for another proof.
    fn of(packet: &'a [u8]) -> Option<Self> {
        let payload = packet.get(HEADER..).filter(|payload| payload.len() <= PACKET_MAX)?;
        let flags = u32::from_le_bytes(payload.get(..4)?.try_into().ok()?);
        let has = |flag| flags & flag != 0;
        if !has(PROTOCOL_41) || !has(PLUGIN_AUTH) || !has(SECURE_CONNECTION) || has(SSL) {
            return None;
        }
        let user = 32 + text(payload.get(32..)?)?;
        // One byte of length, also where it could be more.
        let length = payload.get(user).copied().filter(|length| *length < 0xfb || !has(LENENC_DATA))?;
        let database = user + 1 + usize::from(length);
        let plugin = database + if has(CONNECT_WITH_DB) { text(payload.get(database..)?)? } else { 0 };
        let rest = plugin + text(payload.get(plugin..)?)?;
        Some(Self { user: &payload[..user], database: &payload[database..plugin], rest: &payload[rest..] })
    }

    /// What another server is told.
    fn introduction(&self) -> Vec<u8> {
        let said = [self.user, &[0], self.database, UNKNOWN_PLUGIN, &[0], self.rest].concat();
        let length = (said.len() as u32).to_le_bytes();
        [&length[..3], &[1], &said].concat()
    }
}

/// How long a text is, with the zero behind it.
fn text(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0).map(|at| at + 1)
}
