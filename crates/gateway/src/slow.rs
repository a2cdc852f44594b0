//! Commands that took long, the last ones of each endpoint. What a command says is not kept: its name, and the beginning
//! of its first key.

use crate::family::{Family, key_at};
use crate::scan::Words;
use crate::traffic::add;
use backstay_model::{SlowCommand, SlowOutcome, Time, UnixMicros};
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many are kept per endpoint.
const KEPT: usize = 128;
const KEY_BYTES_MAX: usize = 64;
/// Of a command, and of who sent it.
pub(crate) const NAME_BYTES_MAX: usize = 32;

/// So many are kept of those that are answered within the same tenth of a second: under overload everything is slow, and
/// must not be made slower.
const NOTES_MAX: u64 = 16;
const NOTES_EVERY_US: u64 = 100_000;
/// Stands for those that were not kept.
const NOT_KEPT: &[u8] = b"(not kept)";

/// See the module's head. Locked only for what is kept, and never for long.
#[derive(Default)]
pub(crate) struct SlowLog {
    kept: Mutex<VecDeque<Slow>>,
    /// Which tenth of a second it is, and how many were kept of it. One thread writes.
    tenth: AtomicU64,
    notes: AtomicU64,
    /// How many were not kept since the last one that was.
    not_kept: AtomicU64,
}

pub(crate) struct Slow {
    pub(crate) at: Time,
    pub(crate) took: Duration,
    pub(crate) held: Duration,
    pub(crate) peer: Box<str>,
    pub(crate) client: Box<[u8]>,
    pub(crate) family: Family,
    pub(crate) command: Box<[u8]>,
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) together: u64,
    pub(crate) outcome: SlowOutcome,
}

impl SlowLog {
    /// Whether the next one is to be kept. If not, so many are counted instead.
    pub(crate) fn admits(&self, now: Time, commands: u64) -> bool {
        let tenth = now.as_micros() / NOTES_EVERY_US;
        if self.tenth.load(Relaxed) != tenth {
            self.tenth.store(tenth, Relaxed);
            self.notes.store(0, Relaxed);
        }
        if self.notes.load(Relaxed) >= NOTES_MAX {
            add(&self.not_kept, commands);
            return false;
        }
        add(&self.notes, 1);
        true
    }

    pub(crate) fn push(&self, slow: Slow) {
        let mut log = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.not_kept.load(Relaxed);
        if before > 0 {
            self.not_kept.store(0, Relaxed);
            log.push_back(Slow::not_kept(before, slow.at));
        }
        log.push_back(slow);
        while log.len() > KEPT {
            log.pop_front();
        }
    }

    /// The oldest first. `now` and `unix` are the same moment on two clocks.
    pub(crate) fn read(&self, endpoint: &str, now: Time, unix: UnixMicros) -> Vec<SlowCommand> {
        let log = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let others = Some(self.not_kept.load(Relaxed)).filter(|count| *count > 0);
        let others = others.map(|count| Slow::not_kept(count, now).show(endpoint, now, unix));
        log.iter().map(|slow| slow.show(endpoint, now, unix)).chain(others).collect()
    }
}

impl Slow {
    /// What stands for so many others.
    fn not_kept(count: u64, at: Time) -> Self {
        Self {
            at,
            took: Duration::ZERO,
            held: Duration::ZERO,
            peer: Box::default(),
            client: Box::default(),
            family: Family::Other,
            command: NOT_KEPT.into(),
            key: None,
            together: count,
            outcome: SlowOutcome::Answered,
        }
    }

    fn show(&self, endpoint: &str, now: Time, unix: UnixMicros) -> SlowCommand {
        SlowCommand {
            at: UnixMicros(unix.0.saturating_sub(now.since(self.at).as_micros() as u64)),
            endpoint: endpoint.to_owned(),
            took_us: self.took.as_micros() as u64,
            held_us: self.held.as_micros() as u64,
            client: self.peer.to_string(),
            name: readable(&self.client),
            family: self.family.word().to_owned(),
            command: readable(&self.command),
            key: self.key.as_deref().map(readable),
            together: self.together,
            outcome: self.outcome,
        }
    }
}

/// The name and the first key of a request, cut.
pub(crate) fn name_and_key(request: &[u8], family: Family) -> (Box<[u8]>, Option<Box<[u8]>>) {
    let name = Words::of(request).next().unwrap_or_default();
    let name = name[..name.len().min(NAME_BYTES_MAX)].to_ascii_lowercase();
    let at = std::str::from_utf8(&name).ok().and_then(|name| key_at(name, family));
    let key = at.and_then(|at| Words::of(request).nth(at));
    (name.into(), key.map(|key| key[..key.len().min(KEY_BYTES_MAX)].into()))
}

/// What a client sent may not move a terminal's cursor.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::kind;

    fn shown(request: &str) -> (String, Option<String>) {
        let words: Vec<&str> = request.split(' ').collect();
        let values: Vec<_> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let bytes = format!("*{}\r\n{}", words.len(), values.concat());
        let (name, key) = name_and_key(bytes.as_bytes(), kind(words[0].as_bytes()).1);
        (readable(&name), key.as_deref().map(readable))
    }

    #[test]
    fn a_slow_command_shows_its_name_and_its_key_and_nothing_else() {
        assert_eq!(shown("SET k secret"), ("set".into(), Some("k".into())));
        assert_eq!(shown("AUTH user secret"), ("auth".into(), None));
        assert_eq!(shown("HELLO 3 AUTH user secret"), ("hello".into(), None));
        assert_eq!(shown("EVAL secret 0"), ("eval".into(), None));
        assert_eq!(shown("MODULE.PUT secret secret"), ("module.put".into(), None));
        let long = shown(&format!("GET {}", "k".repeat(1000)));
        assert_eq!(long, ("get".into(), Some("k".repeat(64))));
        assert_eq!(shown("GET \x1b[2J"), ("get".into(), Some("\\u{1b}[2J".into())));
    }

    fn slow(number: u64) -> Slow {
        Slow {
            at: Time::from_micros(1000 + number),
            took: Duration::from_micros(number),
            held: Duration::ZERO,
            peer: "1.2.3.4:5".into(),
            client: Box::default(),
            family: Family::String,
            command: b"get"[..].into(),
            key: None,
            together: 1,
            outcome: SlowOutcome::Answered,
        }
    }

    #[test]
    fn when_everything_is_slow_some_is_kept_and_the_rest_is_counted() {
        let log = SlowLog::default();
        let read = |log: &SlowLog| {
            let read = log.read("shop", Time::from_micros(1_000_000), UnixMicros(1_000_000));
            read.into_iter().map(|slow| (slow.command, slow.together)).collect::<Vec<_>>()
        };
        for number in 0..100 {
            if log.admits(Time::from_micros(number), 2) {
                log.push(slow(number));
            }
        }
        let mut expected = vec![("get".to_owned(), 1); NOTES_MAX as usize];
        expected.push(("(not kept)".to_owned(), (100 - NOTES_MAX) * 2));
        assert_eq!(read(&log), expected);
        // They keep their place.
        assert!(log.admits(Time::from_micros(NOTES_EVERY_US), 1));
        log.push(slow(1));
        expected.push(("get".to_owned(), 1));
        assert_eq!(read(&log), expected);
    }

    #[test]
    fn only_the_last_slow_commands_are_kept() {
        let log = SlowLog::default();
        for number in 0..KEPT as u64 + 5 {
            log.push(slow(number));
        }
        let read = log.read("shop", Time::from_micros(2000), UnixMicros(1_000_000));
        assert_eq!((read.len(), read[0].took_us, read[0].at), (KEPT, 5, UnixMicros(999_005)));
    }
}
