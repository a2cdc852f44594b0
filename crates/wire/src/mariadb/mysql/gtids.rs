//! MySQL's sets of transactions (`UUID:1-5:7`), and what they are to the brain: a history and a place in it.
//!
//! A set does not tell in which order its transactions came, so the history is named by all that can be compared: whoever
//! writes, and a digest of everything in the set that others wrote. Two sets in a history of one name differ in that one
//! writer's last transactions only, so their sizes say which one holds the other. A transaction that only one of them has
//! changes the name: it is never mistaken for progress (decision 18).

use backstay_model::{ReplId, ReplOffset};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The most intervals that one set may have. One that is understood has one for each writer that there ever was.
const INTERVALS_MAX: usize = 4096;
/// The largest number of a transaction.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Why a set is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// It is none.
    Garbage,
    /// It has tags (`UUID:tag:1`, 8.3 and later).
    Tagged,
    /// Some transaction is missing between others.
    Gap,
}

/// A set as it is told: intervals of each writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(BTreeMap<String, Vec<(u64, u64)>>);

/// A set in which no transaction is missing: how many of each writer. None of them zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gtids(BTreeMap<String, u64>);

impl Intervals {
    pub(super) fn read(text: &str) -> Result<Self, Odd> {
        let mut intervals = Self::default();
        let mut count = 0;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut fields = part.split(':').map(str::trim);
            let writer = uuid(fields.next().unwrap_or_default()).ok_or(Odd::Garbage)?;
            let own = intervals.0.entry(writer).or_default();
            for field in fields {
                if field.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    return Err(Odd::Tagged);
                }
                count += 1;
                if count > INTERVALS_MAX {
                    return Err(Odd::Garbage);
                }
                own.push(interval(field).ok_or(Odd::Garbage)?);
            }
        }
        intervals.0.retain(|_, own| !own.is_empty());
        Ok(intervals)
    }

    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (writer, intervals) in other.0 {
            self.0.entry(writer).or_default().extend(intervals);
        }
        self
    }

    /// As numbers, if none is missing.
    pub(super) fn whole(self) -> Result<Gtids, Odd> {
        let whole = |mut intervals: Vec<(u64, u64)>| {
            intervals.sort_unstable();
            let mut last = 0;
            for (first, end) in intervals {
                if first > last + 1 {
                    return Err(Odd::Gap);
                }
                last = last.max(end);
            }
            Ok(last)
        };
        let all = self.0.into_iter().map(|(writer, own)| Ok((writer, whole(own)?)));
        all.collect::<Result<_, Odd>>().map(Gtids)
    }
}

impl Gtids {
    /// As it is told, if no transaction is missing in it.
    pub(super) fn read(text: &str) -> Result<Self, Odd> {
        Intervals::read(text)?.whole()
    }

    /// How many transactions.
    pub(super) fn count(&self) -> u64 {
        self.0.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    pub(super) fn has(&self, writer: &str) -> bool {
        self.0.contains_key(writer)
    }

    /// Those that wrote any of it.
    pub(super) fn writers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every one of these is in `other`.
    pub(super) fn within(&self, other: &Self) -> bool {
        self.0.iter().all(|(writer, count)| other.0.get(writer).is_some_and(|held| held >= count))
    }

    /// What others than `writer` wrote.
    pub(super) fn without(&self, writer: &str) -> Self {
        let mut base = self.clone();
        base.0.remove(writer);
        base
    }

    /// The history in which `writer` wrote last.
    pub(super) fn history(&self, writer: &str) -> ReplId {
        let mut canonical = String::new();
        for (other, count) in self.0.iter().filter(|(other, _)| *other != writer) {
            // Writing to a string does not fail.
            let _ = write!(canonical, "{other}:{count},");
        }
        let digest = Sha256::digest(canonical);
        let mut name = format!("{writer}+");
        for byte in digest.iter().take(8) {
            let _ = write!(name, "{byte:02x}");
        }
        name.into()
    }

    /// That history, and how far this set is in it.
    pub(super) fn place(&self, writer: &str) -> (ReplId, ReplOffset) {
        (self.history(writer), ReplOffset(self.count()))
    }
}

/// The writer in a history's name.
pub(super) fn writer_of(history: &ReplId) -> Option<String> {
    uuid(history.as_str().split_once('+')?.0)
}

/// The writer of one transaction (`UUID:7`).
pub(super) fn writer_in(gtid: &str) -> Option<String> {
    uuid(gtid.split_once(':')?.0)
}

/// A server's UUID in small letters.
pub(super) fn uuid(text: &str) -> Option<String> {
    let is_hyphen = |place| matches!(place, 8 | 13 | 18 | 23);
    let fits = |(place, byte): (usize, u8)| {
        if is_hyphen(place) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| text.to_ascii_lowercase())
}

fn interval(field: &str) -> Option<(u64, u64)> {
    let (first, last) = field.split_once('-').unwrap_or((field, field));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (1..=NUMBER_MAX).contains(number))
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4f22fb58-82db-22f2-af44-d91bba530673";

    fn read(text: &str) -> Result<Gtids, Odd> {
        Gtids::read(&text.replace('A', A).replace('B', B))
    }

    #[test]
    fn a_set_is_read_as_servers_tell_it() {
        for (text, count) in [
            ("", 0),
            ("A:1-5", 5),
            ("A:1", 1),
            ("A:1-5,\nB:1-7", 12),
            ("A:1-5:6-9", 9),
            ("A:6-9:1-5", 9),
            ("A:1-9223372036854775807,B:1-9223372036854775807", u64::MAX - 1),
            ("A", 0),
        ] {
            assert_eq!(read(text).map(|set| set.count()), Ok(count), "{text}");
        }
        let upper = Gtids::read(&format!("{}:1-5", A.to_uppercase()));
        assert_eq!(upper, read("A:1-5"));
    }

    #[test]
    fn what_cannot_be_compared_is_refused_by_name() {
        for (text, odd) in [
            ("A:2-5", Odd::Gap),
            ("A:1-5:7", Odd::Gap),
            ("A:1-5,B:3", Odd::Gap),
            ("A:tag:1-3", Odd::Tagged),
            ("A:1-5:tag:1-3", Odd::Tagged),
            ("A:_t1:1", Odd::Tagged),
            ("A:0", Odd::Garbage),
            ("A:5-1", Odd::Garbage),
            ("A:1-", Odd::Garbage),
            ("A:+1", Odd::Garbage),
            ("A:1-9223372036854775808", Odd::Garbage),
            ("0-1-7", Odd::Garbage),
            ("A:1-5;B:1", Odd::Garbage),
        ] {
            assert_eq!(read(text), Err(odd), "{text}");
        }
        let many: Vec<String> = (1..=INTERVALS_MAX + 1).map(|number| format!(":{}", number * 2)).collect();
        assert_eq!(read(&format!("A{}", many.concat())), Err(Odd::Garbage));
    }

    #[test]
    fn what_one_received_fills_what_another_applied_out_of_order() {
        let set = |text: &str| Intervals::read(&text.replace('A', A)).unwrap();
        assert_eq!(set("A:1-5:7").and(set("A:6-9")).whole(), read("A:1-9"));
        assert_eq!(set("A:1-5").and(set("A:7")).whole(), Err(Odd::Gap));
    }

    #[test]
    fn in_a_history_of_one_name_the_longer_one_holds_the_shorter_one() {
        let texts = ["A:1-5", "A:1-6", "A:1-5,B:1", "A:1-5,B:1-2", "A:1-6,B:1", "B:1-5", ""];
        let sets: Vec<Gtids> = texts.iter().map(|text| read(text).unwrap()).collect();
        for (one, other) in sets.iter().flat_map(|one| sets.iter().map(move |other| (one, other))) {
            for writer in [A, B] {
                let (left, right) = (one.place(writer), other.place(writer));
                if left.0 == right.0 {
                    assert_eq!(left.1 <= right.1, one.within(other), "{one:?} {other:?}");
                } else {
                    assert_ne!(one.without(writer), other.without(writer));
                }
            }
        }
    }

    #[test]
    fn a_history_names_its_writer() {
        let name = read("A:1-5,B:1").unwrap().history(B);
        assert_eq!(writer_of(&name).as_deref(), Some(B));
        // SHA-256 of "3e11fa47-71ca-11e1-9e33-c80aa9429562:5,", by another tool.
        assert_eq!(name.as_str(), format!("{B}+6ce0d48161c2dbe1"));
        assert_eq!(writer_of(&"0-1".into()), None);
        assert_eq!(writer_of(&"'; DROP+".into()), None);
        assert_eq!(writer_in(&format!("{A}:17")).as_deref(), Some(A));
        assert_eq!(writer_in(""), None);
    }
}
