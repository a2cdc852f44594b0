//! What is known of a conversation without reading it: from the headers of its packets, the first bytes of the server's
//! and the name of each command. That is enough to tell whether the client's last command was answered, whether a
//! transaction is open, and what the server said when it refused a login. No statement is looked at.
//!
//! Wherever the bytes cannot be followed (TLS, compression, a dump of the binary log, more commands at once than are
//! counted) the conversation is `Blind` from then on: who spoke last is all that is known. Nothing depends on this but how
//! gently a connection is closed. Cited: "MariaDB client/server protocol", "COM_QUERY response", "OK_Packet".

use super::packets::{Packet, Walk, status_of_ok, u16_at};

const CLIENT_COMPRESS: u32 = 1 << 5;
const CLIENT_PROTOCOL_41: u32 = 1 << 9;
const CLIENT_SSL: u32 = 1 << 11;
const CLIENT_DEPRECATE_EOF: u32 = 1 << 24;
const CLIENT_ZSTD: u32 = 1 << 26;

const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS: u16 = 1 << 3;
const CURSOR_EXISTS: u16 = 1 << 6;

/// MariaDB tells the progress of a long statement in packets that look like an error of this number.
const PROGRESS: u16 = 0xffff;
/// Commands that wait for an answer at once and are told apart.
const PENDING_MAX: usize = 8;

/// See the module's head.
#[allow(
    clippy::struct_excessive_bools,
    reason = "what is known of a conversation, independently of each other"
)]
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    phase: Phase,
    client: Walk,
    server: Walk,
    /// Commands that wait for their answers, the oldest first.
    pending: [Answer; PENDING_MAX],
    waiting: usize,
    /// There is one packet less in an answer with rows.
    deprecates_eof: bool,
    compresses: bool,
    in_transaction: bool,
    client_spoke_last: bool,
    /// Counted since it was last asked.
    commands: u64,
    refusal: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server's first packet has not come.
    Greeting,
    /// Who the client is.
    Hello,
    /// Whether the server lets it in.
    Login,
    /// One command after the other.
    Commands,
    /// The server has refused it.
    Refused,
    Blind,
}

/// What is expected of the server next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// An OK, an error, or the beginning of a result.
    First,
    /// As `First`, of a command that lists what it has prepared.
    Prepared,
    /// The end of the columns.
    Columns,
    /// The end of the rows.
    Rows,
    /// So many packets more.
    Count(u32),
    /// What the client sends of a file.
    File,
    /// As of a login.
    Login,
}

impl Talk {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Greeting,
            client: Walk::new(),
            server: Walk::new(),
            pending: [Answer::First; PENDING_MAX],
            waiting: 0,
            deprecates_eof: false,
            compresses: false,
            in_transaction: false,
            client_spoke_last: false,
            commands: 0,
            refusal: None,
        }
    }

    /// Nothing of the client's is unanswered, and no transaction is open: as far as the packets tell, or of a blind
    /// conversation, as far as who spoke last does.
    pub(crate) fn is_between_commands(&self) -> bool {
        match self.phase {
            Phase::Commands => {
                self.waiting == 0
                    && !self.in_transaction
                    && self.client.is_between_packets()
                    && self.server.is_between_packets()
            }
            Phase::Blind => !self.client_spoke_last,
            Phase::Greeting | Phase::Hello | Phase::Login | Phase::Refused => false,
        }
    }

    /// Something of the client's may have been executed without its having heard so.
    pub(crate) fn awaits_answer(&self) -> bool {
        match self.phase {
            Phase::Commands => self.waiting > 0 || !self.client.is_between_packets(),
            Phase::Blind => self.client_spoke_last,
            Phase::Greeting | Phase::Hello | Phase::Login | Phase::Refused => false,
        }
    }

    /// Only who spoke last is known.
    pub(crate) fn is_blind(&self) -> bool {
        self.phase == Phase::Blind
    }

    /// Why the server did not let the client in: its number, said once.
    pub(crate) fn take_refusal(&mut self) -> Option<u16> {
        self.refusal.take()
    }

    /// How many commands there were since this was last asked.
    pub(crate) fn take_commands(&mut self) -> u64 {
        std::mem::take(&mut self.commands)
    }

    /// The client has sent this.
    pub(crate) fn client_said(&mut self, mut bytes: &[u8]) {
        self.client_spoke_last = true;
        let mut walk = self.client.clone();
        while self.phase != Phase::Blind
            && let Some(packet) = walk.next(&mut bytes)
        {
            self.client_packet(&packet);
        }
        self.client = walk;
    }

    fn client_packet(&mut self, packet: &Packet<'_>) {
        match self.phase {
            Phase::Hello => self.introduced(packet),
            // Who is sure to be let in may ask at once.
            Phase::Login if packet.number == 0 => self.command(packet.shown.first().copied()),
            Phase::Commands => {
                if self.waiting == 1 && self.pending[0] == Answer::File {
                    // An empty packet is the file's end, and then the answer comes.
                    if packet.length == 0 {
                        self.pending[0] = Answer::First;
                    }
                } else if packet.number == 0 {
                    self.command(packet.shown.first().copied());
                }
            }
            Phase::Greeting | Phase::Login | Phase::Refused | Phase::Blind => {}
        }
    }

    /// What the client can do.
    fn introduced(&mut self, packet: &Packet<'_>) {
        let flags = packet.shown.get(..4).and_then(|four| four.try_into().ok());
        let flags = flags.map_or(0, u32::from_le_bytes);
        let has = |flag| flags & flag != 0;
        if has(CLIENT_SSL) || !has(CLIENT_PROTOCOL_41) {
            self.phase = Phase::Blind;
            return;
        }
        self.compresses = has(CLIENT_COMPRESS) || has(CLIENT_ZSTD);
        self.deprecates_eof = has(CLIENT_DEPRECATE_EOF);
        self.phase = Phase::Login;
    }

    /// A command begins, by its number in the protocol.
    fn command(&mut self, name: Option<u8>) {
        self.commands += 1;
        let answer = match name {
            // QUIT, STMT_SEND_LONG_DATA and STMT_CLOSE are not answered.
            Some(0x01 | 0x18 | 0x19) => return,
            // FIELD_LIST and STMT_FETCH.
            Some(0x04 | 0x1c) => Answer::Rows,
            // STATISTICS.
            Some(0x09) => Answer::Count(1),
            // CHANGE_USER.
            Some(0x11) => Answer::Login,
            // STMT_PREPARE.
            Some(0x16) => Answer::Prepared,
            // BINLOG_DUMP, TABLE_DUMP, BINLOG_DUMP_GTID and MULTI: answers without an end, or several in one.
            Some(0x12 | 0x13 | 0x1e | 0xfe) => {
                self.phase = Phase::Blind;
                return;
            }
            _ => Answer::First,
        };
        match self.pending.get_mut(self.waiting) {
            Some(place) => (*place, self.waiting) = (answer, self.waiting + 1),
            None => self.phase = Phase::Blind,
        }
    }

    /// The server has sent this.
    pub(crate) fn server_said(&mut self, mut bytes: &[u8]) {
        self.client_spoke_last = false;
        let mut walk = self.server.clone();
        while self.phase != Phase::Blind
            && let Some(packet) = walk.next(&mut bytes)
        {
            self.server_packet(&packet);
        }
        self.server = walk;
    }

    #[inline]
    fn server_packet(&mut self, packet: &Packet<'_>) {
        let first = packet.shown.first().copied();
        match self.phase {
            Phase::Commands if self.waiting > 0 => {
                if self.pending[0] != Answer::Rows || matches!(first, Some(0xfe | 0xff)) {
                    self.answered(packet, first);
                }
            }
            Phase::Greeting => {
                self.phase = Phase::Hello;
                if first == Some(0xff) {
                    self.refused(packet);
                }
            }
            Phase::Hello | Phase::Login => match first {
                Some(0x00) => {
                    self.note_status(status_of_ok(packet.shown));
                    self.phase = if self.compresses { Phase::Blind } else { Phase::Commands };
                }
                Some(0xff) => self.refused(packet),
                _ => {}
            },
            // It says why it closes the connection.
            Phase::Commands | Phase::Refused | Phase::Blind => {}
        }
    }

    fn refused(&mut self, packet: &Packet<'_>) {
        self.phase = Phase::Refused;
        self.refusal = u16_at(packet.shown, 1);
    }

    /// One packet of the oldest answer.
    fn answered(&mut self, packet: &Packet<'_>, first: Option<u8>) {
        let short = packet.length < 9;
        let next = match (self.pending[0], first) {
            (answer, Some(0xff)) if u16_at(packet.shown, 1) == Some(PROGRESS) => Some(answer),
            (_, Some(0xff)) => None,
            (Answer::Count(left), _) => (left > 1).then(|| Answer::Count(left - 1)),
            (Answer::Login | Answer::First, Some(0x00)) => {
                let status = status_of_ok(packet.shown);
                self.after(status)
            }
            (Answer::Login | Answer::File, _) => Some(self.pending[0]),
            (Answer::Prepared, _) => self.prepared(packet),
            (Answer::First, Some(0xfb)) => Some(Answer::File),
            (Answer::First, Some(0xfe)) if short => self.after(u16_at(packet.shown, 3)),
            (Answer::First, _) => Some(if self.deprecates_eof { Answer::Rows } else { Answer::Columns }),
            (Answer::Columns, Some(0xfe)) if short => {
                let status = u16_at(packet.shown, 3);
                self.note_status(status);
                // The rows are fetched later.
                (status.unwrap_or(0) & CURSOR_EXISTS == 0).then_some(Answer::Rows)
            }
            (Answer::Rows, Some(0xfe)) if short && !self.deprecates_eof => {
                self.after(u16_at(packet.shown, 3))
            }
            // A row that begins so is as long as a packet can be.
            (Answer::Rows, Some(0xfe)) if self.deprecates_eof && !packet.continues => {
                self.after(status_of_ok(packet.shown))
            }
            (answer @ (Answer::Columns | Answer::Rows), _) => Some(answer),
        };
        if let Some(next) = next {
            self.pending[0] = next;
        } else {
            self.pending.copy_within(1.., 0);
            self.waiting -= 1;
        }
    }

    /// What follows upon a packet that ends a result.
    fn after(&mut self, status: Option<u16>) -> Option<Answer> {
        self.note_status(status);
        (status.unwrap_or(0) & MORE_RESULTS != 0).then_some(Answer::First)
    }

    fn note_status(&mut self, status: Option<u16>) {
        if let Some(status) = status {
            self.in_transaction = status & IN_TRANSACTION != 0;
        }
    }

    /// How many packets describe what was prepared.
    fn prepared(&self, packet: &Packet<'_>) -> Option<Answer> {
        let of = |at| u32::from(u16_at(packet.shown, at).unwrap_or(0));
        let group = |count: u32| if count > 0 && !self.deprecates_eof { count + 1 } else { count };
        let all = group(of(5)) + group(of(7));
        (all > 0).then_some(Answer::Count(all))
    }
}

/// Follows any bytes, first the server's and then the client's in turn; `size` is how many come at once. How they are cut
/// makes no difference.
#[cfg(fuzzing)]
pub(crate) fn follow(size: usize, bytes: &[u8]) {
    let (mut whole, mut cut) = (Talk::new(), Talk::new());
    let size = size.max(1);
    for (number, part) in bytes.split(|byte| *byte == b'|').enumerate().filter(|it| !it.1.is_empty()) {
        if number % 2 == 0 {
            whole.server_said(part);
            part.chunks(size).for_each(|some| cut.server_said(some));
        } else {
            whole.client_said(part);
            part.chunks(size).for_each(|some| cut.client_said(some));
        }
        assert_eq!(whole.is_between_commands(), cut.is_between_commands());
        assert_eq!(whole.awaits_answer(), cut.awaits_answer());
    }
    assert_eq!(whole.take_commands(), cut.take_commands());
    assert_eq!(whole.take_refusal(), cut.take_refusal());
}

#[cfg(test)]
mod tests;
