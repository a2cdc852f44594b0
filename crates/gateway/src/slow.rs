//! Commands that took long, the last ones of each endpoint. What a command says is not kept: its name, and the beginning
//! of its first key.

use crate::family::{Family, key_at};
use crate::scan::Words;
use backstay_model::{SlowCommand, SlowOutcome, Time, UnixMicros};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many are kept per endpoint.
const KEPT: usize = 128;
const KEY_BYTES_MAX: usize = 64;
/// Of a command, and of who sent it.
pub(crate) const NAME_BYTES_MAX: usize = 32;

/// See the module's head. Locked only for what is slow, and never for long.
#[derive(Default)]
pub(crate) struct SlowLog(Mutex<VecDeque<Slow>>);

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
    pub(crate) fn push(&self, slow: Slow) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= KEPT {
            log.pop_front();
        }
        log.push_back(slow);
    }

    /// The oldest first. `now` and `unix` are the same moment on two clocks.
    pub(crate) fn read(&self, endpoint: &str, now: Time, unix: UnixMicros) -> Vec<SlowCommand> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|slow| slow.show(endpoint, now, unix)).collect()
    }
}

impl Slow {
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

    #[test]
    fn only_the_last_slow_commands_are_kept() {
        let log = SlowLog::default();
        for number in 0..KEPT as u64 + 5 {
            log.push(Slow {
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
            });
        }
        let read = log.read("shop", Time::from_micros(2000), UnixMicros(1_000_000));
        assert_eq!((read.len(), read[0].took_us, read[0].at), (KEPT, 5, UnixMicros(999_005)));
    }
}
