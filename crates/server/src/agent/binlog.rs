//! Reading one file of a binary log: which transactions it holds, where, and whether they can be taken back. Only the heads
//! of events are read, so that a file of a gigabyte takes no gigabyte.
//!
//! Events as MariaDB writes them (`sql/log_event.h`; https://mariadb.com/kb/en/replication-protocol/).

use super::gtid::{Gtid, GtidState};
use super::trouble::Trouble;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"\xfebin";
const HEAD_BYTES: usize = 19;
/// As much of an event as anything here needs.
const PAYLOAD_BYTES_MAX: usize = 8 * 1024;
const CHECKSUM_BYTES: usize = 4;

const QUERY: u8 = 2;
const INTVAR: u8 = 5;
const RAND: u8 = 13;
const USER_VAR: u8 = 14;
const FORMAT: u8 = 15;
const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const WRITE_ROWS: u8 = 23;
const UPDATE_ROWS: u8 = 24;
const DELETE_ROWS: u8 = 25;
const XA_PREPARE: u8 = 38;
const ANNOTATE: u8 = 160;
const GTID: u8 = 162;
const GTID_LIST: u8 = 163;
const ENCRYPTION: u8 = 164;
const QUERY_COMPRESSED: u8 = 165;
const COMPRESSED_ROWS: std::ops::RangeInclusive<u8> = 166..=168;

/// Flags of a GTID event.
const STANDALONE: u8 = 1;
const TRANSACTIONAL: u8 = 4;
const DDL: u8 = 32;
const XA: u8 = 64 | 128;

/// Some transactions that stand behind each other in a file, with nothing between them that is not of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What a file holds that is not known elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// What the server had had where the file begins.
    pub(super) base: GtidState,
    pub(super) runs: Vec<Run>,
    /// How many transactions.
    pub(super) transactions: u64,
    /// The first and the last one's time, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
    /// What it had had before the first of them.
    pub(super) before: Option<GtidState>,
    /// What it had had at the file's end.
    pub(super) after: GtidState,
    /// Something that is known stands behind something that is not.
    pub(super) mixed: bool,
    /// Why they cannot all be taken back, if so.
    pub(super) lasting: Option<&'static str>,
    /// The tables that they change.
    pub(super) tables: BTreeSet<(String, String)>,
    /// Its last transaction was not written to its end.
    pub(super) torn: bool,
}

/// A transaction that is being read.
struct Current {
    gtid: Gtid,
    known: bool,
    start: u64,
    time: u32,
    standalone: bool,
    ended: bool,
}

struct Event<'a> {
    kind: u8,
    server: u32,
    time: u32,
    start: u64,
    end: u64,
    payload: &'a [u8],
    /// There is more of it than `payload`.
    is_cut: bool,
}

struct Reader<'a> {
    known: &'a GtidState,
    found: Found,
    current: Option<Current>,
    /// Something that is known came since the last run.
    interrupted: bool,
    checksums: bool,
}

/// Reads a file and finds what is not `known`.
pub(super) fn scan(path: &Path, known: &GtidState) -> Result<Found, Trouble> {
    let unreadable = || Trouble::file("cannot be read", path);
    let file = File::open(path).map_err(unreadable())?;
    let length = file.metadata().map_err(unreadable())?.len();
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let mut reader = Reader::new(path, known);
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 {
        return Ok(reader.finish());
    }
    file.read_exact(&mut magic).map_err(unreadable())?;
    if magic != MAGIC {
        return Err(log(path, "is no binary log: move it away, then rebuild again"));
    }
    let (mut at, mut payload) = (MAGIC.len() as u64, Vec::new());
    while at + HEAD_BYTES as u64 <= length {
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head).map_err(unreadable())?;
        let size = u64::from(u32_at(&head, 9).unwrap_or(0));
        if size < HEAD_BYTES as u64 || at + size > length {
            break;
        }
        let rest = size as usize - HEAD_BYTES;
        payload.resize(rest.min(PAYLOAD_BYTES_MAX), 0);
        file.read_exact(&mut payload).map_err(unreadable())?;
        let skipped = (rest - payload.len()) as i64;
        if skipped > 0 {
            file.seek_relative(skipped).map_err(unreadable())?;
        }
        let event = Event {
            kind: head[4],
            server: u32_at(&head, 5).unwrap_or(0),
            time: u32_at(&head, 0).unwrap_or(0),
            start: at,
            end: at + size,
            payload: &payload,
            is_cut: skipped > 0,
        };
        reader.take(&event).ok_or_else(|| log(path, "cannot be understood"))??;
        at += size;
    }
    Ok(reader.finish())
}

/// Reads only what the server had had where the file begins.
pub(super) fn base(path: &Path) -> Result<GtidState, Trouble> {
    // The list is the second event.
    let unreadable = || Trouble::file("cannot be read", path);
    let mut file = File::open(path).map_err(unreadable())?;
    let mut head = [0; HEAD_BYTES];
    file.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(unreadable())?;
    let mut bytes = Vec::new();
    while file.read_exact(&mut head).is_ok() {
        let size = (u32_at(&head, 9).unwrap_or(0) as usize).saturating_sub(HEAD_BYTES);
        if at_most(&mut file, size, &mut bytes).is_none() {
            break;
        }
        match head[4] {
            GTID_LIST => return list(&bytes).ok_or_else(|| log(path, "cannot be understood")),
            FORMAT => {}
            _ => break,
        }
    }
    Ok(GtidState::default())
}

/// So many bytes, unless the file ends before: a torn head may say any number.
fn at_most(file: &mut File, size: usize, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.clear();
    (file.take(size as u64).read_to_end(bytes).ok()? == size).then_some(())
}

fn log(path: &Path, reason: &str) -> Trouble {
    Trouble::Log { path: path.to_owned(), reason: reason.to_owned() }
}

impl<'a> Reader<'a> {
    fn new(path: &Path, known: &'a GtidState) -> Self {
        let found = Found {
            path: path.to_owned(),
            base: GtidState::default(),
            runs: Vec::new(),
            transactions: 0,
            times: None,
            before: None,
            after: GtidState::default(),
            mixed: false,
            lasting: None,
            tables: BTreeSet::new(),
            torn: false,
        };
        Self { known, found, current: None, interrupted: true, checksums: false }
    }

    /// `None`: it is no such event.
    fn take(&mut self, event: &Event<'_>) -> Option<Result<(), Trouble>> {
        match event.kind {
            FORMAT => {
                let way = event.payload.len().checked_sub(1 + CHECKSUM_BYTES)?;
                self.checksums = event.payload.get(way) == Some(&1);
            }
            GTID_LIST if self.current.is_none() && self.found.transactions == 0 => {
                // The longest list is longer than what is read of an event: it is read on its own.
                let base = if event.is_cut { base(&self.found.path) } else { list(event.payload).map(Ok)? };
                match base {
                    Ok(base) => {
                        self.found.base = base.clone();
                        self.found.after = base;
                    }
                    Err(trouble) => return Some(Err(trouble)),
                }
            }
            ENCRYPTION => {
                let reason = "is encrypted, and cannot be read without the server's keys: save what only this instance \
                              holds by hand (`mariadb-binlog --read-from-remote-server`), then copy its data by hand";
                return Some(Err(log(&self.found.path, reason)));
            }
            GTID => self.begin(event)?,
            _ => self.within(event)?,
        }
        Some(Ok(()))
    }

    fn begin(&mut self, event: &Event<'_>) -> Option<()> {
        self.current = None;
        let number = u64::from_le_bytes(event.payload.get(..8)?.try_into().ok()?);
        let (domain, flags) = (u32_at(event.payload, 8)?, *event.payload.get(12)?);
        let gtid = Gtid { domain, server: event.server, number };
        let known = self.known.has(gtid);
        if known {
            self.interrupted = true;
        } else if flags & DDL != 0 {
            self.lasts("a statement that changes a table's definition cannot be taken back");
        } else if flags & STANDALONE != 0 || flags & TRANSACTIONAL == 0 {
            self.lasts("a statement that is no part of a transaction cannot be taken back");
        } else if flags & XA != 0 {
            self.lasts("a prepared transaction (XA) cannot be taken back");
        }
        let standalone = flags & STANDALONE != 0;
        let (start, time) = (event.start, event.time);
        self.current = Some(Current { gtid, known, start, time, standalone, ended: false });
        Some(())
    }

    fn within(&mut self, event: &Event<'_>) -> Option<()> {
        let Some(current) = self.current.as_ref().filter(|current| !current.ended) else {
            return Some(());
        };
        let (is_surplus, standalone) = (!current.known, current.standalone);
        let ends = match event.kind {
            XID | XA_PREPARE => true,
            QUERY | QUERY_COMPRESSED => {
                let ends = standalone || self.is_end(event)?;
                if !ends && is_surplus {
                    self.lasts("a change that was logged as a statement cannot be taken back");
                }
                ends
            }
            INTVAR | RAND | USER_VAR | ANNOTATE => false,
            TABLE_MAP => {
                if is_surplus {
                    self.found.tables.insert(table(event.payload)?);
                }
                false
            }
            WRITE_ROWS..=DELETE_ROWS => {
                if is_surplus && !is_whole(event.payload, event.kind == UPDATE_ROWS)? {
                    self.lasts("the log holds only parts of rows (binlog_row_image is not FULL)");
                }
                false
            }
            kind if COMPRESSED_ROWS.contains(&kind) => {
                if is_surplus {
                    self.lasts("the log holds compressed rows (log_bin_compress)");
                }
                false
            }
            _ => {
                if is_surplus {
                    self.lasts("the log holds events that are not known here");
                }
                standalone
            }
        };
        if ends {
            self.end(event.end);
        }
        Some(())
    }

    fn end(&mut self, end: u64) {
        let Some(current) = &mut self.current else {
            return;
        };
        current.ended = true;
        let found = &mut self.found;
        if current.known {
            found.mixed |= found.transactions > 0;
        } else {
            if found.before.is_none() {
                found.before = Some(found.after.clone());
            }
            found.transactions += 1;
            found.times = Some((found.times.map_or(current.time, |times| times.0), current.time));
            match found.runs.last_mut().filter(|_| !self.interrupted) {
                Some(run) => run.end = end,
                None => found.runs.push(Run { start: current.start, end }),
            }
            self.interrupted = false;
        }
        found.after.advance(current.gtid);
    }

    /// Whether a statement ends a transaction.
    fn is_end(&self, event: &Event<'_>) -> Option<bool> {
        if event.kind == QUERY_COMPRESSED || event.is_cut {
            return Some(false);
        }
        let payload = event.payload;
        let statuses = usize::from(u16::from_le_bytes(payload.get(11..13)?.try_into().ok()?));
        let text = payload.get(13 + statuses + usize::from(*payload.get(8)?) + 1..)?;
        let checksum = if self.checksums { CHECKSUM_BYTES } else { 0 };
        let text = text.get(..text.len().checked_sub(checksum)?)?;
        Some([&b"COMMIT"[..], b"ROLLBACK"].iter().any(|word| text.eq_ignore_ascii_case(word)))
    }

    fn lasts(&mut self, why: &'static str) {
        self.found.lasting.get_or_insert(why);
    }

    fn finish(mut self) -> Found {
        self.found.torn = self.current.is_some_and(|current| !current.ended);
        self.found
    }
}

fn list(payload: &[u8]) -> Option<GtidState> {
    // The four highest bits are flags.
    let count = (u32_at(payload, 0)? & 0x0fff_ffff) as usize;
    let entry = |index: usize| {
        let at = 4 + index * 16;
        let number = u64::from_le_bytes(payload.get(at + 8..at + 16)?.try_into().ok()?);
        Some(Gtid { domain: u32_at(payload, at)?, server: u32_at(payload, at + 4)?, number })
    };
    (0..count).map(entry).collect::<Option<Vec<_>>>().map(GtidState::of)
}

/// The database and the table of a table map.
fn table(payload: &[u8]) -> Option<(String, String)> {
    let text = |at: usize| {
        let length = usize::from(*payload.get(at)?);
        let text = payload.get(at + 1..at + 1 + length)?;
        Some((String::from_utf8_lossy(text).into_owned(), at + 1 + length + 1))
    };
    let (database, next) = text(8)?;
    Some((database, text(next)?.0))
}

/// Whether rows are given with all their columns, before and after.
fn is_whole(payload: &[u8], both: bool) -> Option<bool> {
    let rest = payload.get(8..)?;
    let (width, rest) = match *rest.first()? {
        short @ ..=250 => (usize::from(short), rest.get(1..)?),
        252 => (usize::from(u16::from_le_bytes(rest.get(1..3)?.try_into().ok()?)), rest.get(3..)?),
        _ => return None,
    };
    let bytes = width.div_ceil(8);
    let full = |bitmap: &[u8]| (0..width).all(|column| bitmap[column / 8] & (1 << (column % 8)) != 0);
    let first = full(rest.get(..bytes)?);
    Some(first && (!both || full(rest.get(bytes..2 * bytes)?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
