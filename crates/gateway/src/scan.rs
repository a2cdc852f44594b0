//! Finds where requests and replies end, and nothing else: no value is built and nothing is copied. Both scans resume
//! where they stopped, so that a value that arrives in pieces is not read again from its beginning.
//!
//! What passes here must be cut by the server exactly as it was cut here. So whatever Redis itself would read leniently
//! (signs, leading zeros, a missing line end) is refused.

use memchr::memchr;

/// As Redis: the most words in one request.
const WORDS_MAX: usize = 1024 * 1024;
/// As Redis: the longest value.
const VALUE_MAX: usize = 512 << 20;
/// As Redis: the longest inline request.
const INLINE_MAX: usize = 64 * 1024;
/// The longest line of a reply: simple strings, errors, numbers.
const LINE_MAX: usize = 1 << 20;
/// The most elements in one reply.
const ELEMENTS_MAX: u64 = 1 << 32;
/// Digits of the largest length or number of elements.
const DIGITS_MAX: usize = 10;

/// Why bytes are not the protocol. Nothing after them can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("invalid multibulk length")]
    Words,
    #[error("expected '$'")]
    ExpectedValue,
    #[error("invalid bulk length")]
    Length,
    #[error("a value does not end with a line end")]
    ValueEnd,
    #[error("too big inline request")]
    Inline,
    #[error("a reply of an unknown type")]
    Type,
    #[error("a number that is none")]
    Number,
    #[error("a line that does not end")]
    Line,
    #[error("a line of more than 1 MiB")]
    LongLine,
}

/// A request, found whole at the beginning of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// How many bytes it has.
    pub(crate) len: usize,
    /// Where its first word begins.
    pub(crate) name_at: usize,
    /// How many bytes its first word has.
    pub(crate) name_len: usize,
    /// It is a line, not an array.
    pub(crate) inline: bool,
}

impl Request {
    /// There is nothing to do, and nothing to answer: an empty line, or no words.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.name_len == 0 && (self.inline || self.name_at == 0)
    }
}

/// How far a request was read. Starts again by itself after a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestScan {
    at: usize,
    words_left: u32,
    begun: bool,
    in_value: bool,
    name_at: u32,
    name_len: u32,
}

impl RequestScan {
    /// Finds the end of the request that `bytes` begin with. `None`: call again with the same bytes and more.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<Request>, Violation> {
        if !self.begun {
            match bytes.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return inline(bytes),
            }
            let Some((words, at)) = request_number(bytes, 1, Violation::Words)? else {
                return Ok(None);
            };
            if words > WORDS_MAX {
                return Err(Violation::Words);
            }
            *self = Self { at, words_left: words as u32, begun: true, ..Self::default() };
        }
        self.words(bytes)
    }

    #[inline]
    fn words(&mut self, bytes: &[u8]) -> Result<Option<Request>, Violation> {
        loop {
            if self.in_value {
                if self.at > bytes.len() {
                    return Ok(None);
                }
                if bytes[self.at - 2..self.at] != *b"\r\n" {
                    return Err(Violation::ValueEnd);
                }
                self.in_value = false;
            }
            if self.words_left == 0 {
                let len = self.at;
                let (name_at, name_len) = (self.name_at as usize, self.name_len as usize);
                *self = Self::default();
                return Ok(Some(Request { len, name_at, name_len, inline: false }));
            }
            match bytes.get(self.at) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(_) => return Err(Violation::ExpectedValue),
            }
            let Some((length, at)) = request_number(bytes, self.at + 1, Violation::Length)? else {
                return Ok(None);
            };
            if length > VALUE_MAX {
                return Err(Violation::Length);
            }
            if self.name_at == 0 {
                (self.name_at, self.name_len) = (at as u32, length as u32);
            }
            self.at = at + length + 2;
            self.words_left -= 1;
            self.in_value = true;
        }
    }
}

/// Digits and a line end. Redis takes `*-1` for an empty request; so few do that it is refused here.
#[inline]
fn request_number(bytes: &[u8], at: usize, wrong: Violation) -> Result<Option<(usize, usize)>, Violation> {
    let mut value = 0;
    let mut end = at;
    loop {
        match bytes.get(end) {
            None => return if end - at > DIGITS_MAX { Err(wrong) } else { Ok(None) },
            Some(digit @ b'0'..=b'9') => value = value * 10 + usize::from(digit - b'0'),
            Some(b'\r') => break,
            Some(_) => return Err(wrong),
        }
        end += 1;
        if end - at > DIGITS_MAX {
            return Err(wrong);
        }
    }
    if end == at || (bytes[at] == b'0' && end - at > 1) {
        return Err(wrong);
    }
    match bytes.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((value, end + 2))),
        Some(_) => Err(wrong),
    }
}

fn inline(bytes: &[u8]) -> Result<Option<Request>, Violation> {
    let Some(end) = memchr(b'\n', &bytes[..bytes.len().min(INLINE_MAX)]) else {
        return if bytes.len() >= INLINE_MAX { Err(Violation::Inline) } else { Ok(None) };
    };
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let name_at = bytes[..end].iter().position(|byte| !blank(byte)).unwrap_or(end);
    let name_len = bytes[name_at..end].iter().position(blank).unwrap_or(end - name_at);
    Ok(Some(Request { len: end + 1, name_at, name_len, inline: true }))
}

/// The words of a whole request that is an array, as `RequestScan` found it.
pub(crate) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(crate) fn of(request: &'a [u8]) -> Self {
        let header = memchr(b'\n', request).map_or(request.len(), |end| end + 1);
        Self { rest: &request[header..] }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, at) = request_number(self.rest, 1, Violation::Length).ok()??;
        let word = self.rest.get(at..at + length)?;
        self.rest = self.rest.get(at + length + 2..)?;
        Some(word)
    }
}

/// How far a reply was read. Starts again by itself after a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyScan {
    at: usize,
    /// Elements still to come; zero: nothing was read yet.
    pending: u64,
    in_value: bool,
}

impl ReplyScan {
    /// Finds the end of the reply that `bytes` begin with. `None`: call again with the same bytes and more, or without
    /// those that `passed` gave away.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        // By far the most common reply.
        if self.pending == 0 {
            if bytes.starts_with(b"+OK\r\n") {
                return Ok(Some(5));
            }
            self.pending = 1;
        }
        while self.pending > 0 {
            if self.in_value {
                if self.at > bytes.len() {
                    return Ok(None);
                }
                if bytes[self.at - 2..self.at] != *b"\r\n" {
                    return Err(Violation::ValueEnd);
                }
                self.in_value = false;
                self.pending -= 1;
                continue;
            }
            if !self.element(bytes)? {
                return Ok(None);
            }
        }
        let len = self.at;
        *self = Self::default();
        Ok(Some(len))
    }

    /// Reads one element's first line. False: it is not whole yet.
    #[inline]
    fn element(&mut self, bytes: &[u8]) -> Result<bool, Violation> {
        let Some(kind) = bytes.get(self.at) else {
            return Ok(false);
        };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                let Some(end) = line_end(&bytes[self.at..])? else {
                    return Ok(false);
                };
                self.at += end;
                self.pending -= 1;
            }
            b'$' | b'!' | b'=' => {
                let Some((length, at)) = reply_number(bytes, self.at + 1)? else {
                    return Ok(false);
                };
                match length {
                    None => {
                        self.at = at;
                        self.pending -= 1;
                    }
                    Some(length) if length <= VALUE_MAX as u64 => {
                        self.at = at + length as usize + 2;
                        self.in_value = true;
                    }
                    Some(_) => return Err(Violation::Length),
                }
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let Some((elements, at)) = reply_number(bytes, self.at + 1)? else {
                    return Ok(false);
                };
                // A map has pairs; an attribute has pairs and stands before the value that it is about.
                let (factor, own) = match kind {
                    b'%' => (2, 1),
                    b'|' => (2, 0),
                    _ => (1, 1),
                };
                self.at = at;
                self.pending += elements.unwrap_or(0) * factor;
                self.pending -= own;
                if self.pending > ELEMENTS_MAX {
                    return Err(Violation::Number);
                }
            }
            _ => return Err(Violation::Type),
        }
        Ok(true)
    }

    /// How many of the `available` bytes belong to this reply for certain and need not be shown again.
    pub(crate) fn certain(&self, available: usize) -> usize {
        // The line end of a value is looked at when all of it is there.
        let at = if self.in_value { self.at - 2 } else { self.at };
        at.min(available)
    }

    /// The first `count` bytes, at most `certain`, are not shown again.
    pub(crate) fn passed(&mut self, count: usize) {
        self.at -= count;
    }
}

#[inline]
fn line_end(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    match memchr(b'\n', &bytes[..bytes.len().min(LINE_MAX)]) {
        Some(end) if bytes[end - 1] == b'\r' => Ok(Some(end + 1)),
        Some(_) => Err(Violation::Line),
        None if bytes.len() >= LINE_MAX => Err(Violation::LongLine),
        None => Ok(None),
    }
}

/// A length or a number of elements; `Some(None)` is the nil of RESP2.
#[inline]
#[allow(clippy::type_complexity, reason = "read at two places, next to here")]
fn reply_number(bytes: &[u8], at: usize) -> Result<Option<(Option<u64>, usize)>, Violation> {
    if bytes.get(at) == Some(&b'-') {
        return match bytes.get(at..at + 4) {
            Some(b"-1\r\n") => Ok(Some((None, at + 4))),
            Some(_) => Err(Violation::Number),
            None => Ok(None),
        };
    }
    let number = request_number(bytes, at, Violation::Number)?;
    Ok(number.map(|(value, at)| (Some(value as u64), at)))
}

/// Reads bytes as requests and as replies, giving each scan one byte more at a time, and compares with all at once.
#[cfg(any(test, fuzzing))]
pub(crate) fn scan_all(bytes: &[u8]) {
    let (mut request, mut reply) = (RequestScan::default(), ReplyScan::default());
    let (mut requested, mut replied) = (Ok(None), Ok(None));
    for end in 0..=bytes.len() {
        if matches!(requested, Ok(None)) {
            requested = request.next(&bytes[..end]);
        }
        if matches!(replied, Ok(None)) {
            replied = reply.next(&bytes[..end]);
        }
    }
    assert_eq!(requested, RequestScan::default().next(bytes));
    assert_eq!(replied, ReplyScan::default().next(bytes));
    if let Ok(Some(found)) = requested
        && !found.inline
    {
        assert!(Words::of(&bytes[..found.len]).map(<[u8]>::len).sum::<usize>() <= found.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn requests(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Vec<u8>>, Violation> {
        let mut found = Vec::new();
        let (mut start, mut scan) = (0, RequestScan::default());
        for end in cuts.iter().copied().chain([bytes.len()]) {
            while let Some(request) = scan.next(&bytes[start..end.max(start)])? {
                found.push(bytes[start..start + request.len].to_vec());
                start += request.len;
            }
        }
        Ok(found)
    }

    fn replies(bytes: &[u8], cuts: &[usize], pass: bool) -> Result<Vec<Vec<u8>>, Violation> {
        let (mut found, mut current) = (Vec::new(), Vec::new());
        let (mut start, mut scan) = (0, ReplyScan::default());
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let end = end.max(start);
            while let Some(len) = scan.next(&bytes[start..end])? {
                current.extend_from_slice(&bytes[start..start + len]);
                found.push(std::mem::take(&mut current));
                start += len;
            }
            if pass {
                let certain = scan.certain(end - start);
                scan.passed(certain);
                current.extend_from_slice(&bytes[start..start + certain]);
                start += certain;
            }
        }
        Ok(found)
    }

    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let value = prop::collection::vec(any::<u8>(), 0..40);
        let leaf = prop_oneof![
            "[a-z ]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            "ERR [a-z ]{0,20}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
            Just(b"#t\r\n".to_vec()),
            value.prop_map(|value| [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat()),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            (prop::sample::select(vec!["*", "~", ">", "%", "|"]), prop::collection::vec(inner, 0..8))
                .prop_map(|(kind, mut elements)| {
                    let pairs = kind == "%" || kind == "|";
                    if pairs && elements.len() % 2 == 1 {
                        elements.pop();
                    }
                    let number = if pairs { elements.len() / 2 } else { elements.len() };
                    let after = if kind == "|" { &b"+OK\r\n"[..] } else { b"" };
                    [format!("{kind}{number}\r\n").as_bytes(), &elements.concat(), after].concat()
                })
        })
    }

    proptest! {
        #[test]
        fn requests_are_cut_alike_however_they_arrive(
            words in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..5), 1..6),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let expected: Vec<Vec<u8>> = words.iter().map(|words| {
                let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
                for word in words {
                    bytes.extend([format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
                }
                prop_assert_eq!(Words::of(&bytes).map(<[u8]>::to_vec).collect::<Vec<_>>(), words.clone());
                Ok(bytes)
            }).collect::<Result<_, TestCaseError>>()?;
            let bytes = expected.concat();
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(requests(&bytes, &cuts), Ok(expected));
        }

        #[test]
        fn replies_are_cut_alike_however_they_arrive(
            expected in prop::collection::vec(reply(), 1..6),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            pass in any::<bool>(),
        ) {
            let bytes = expected.concat();
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(replies(&bytes, &cuts, pass), Ok(expected));
        }

        #[test]
        fn garbage_ends_in_a_violation_or_is_waited_for(
            bytes in prop::collection::vec(prop::sample::select(b"*$+-:>%|~_\r\n019ab ".to_vec()), 0..60),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(requests(&bytes, &cuts).is_ok(), requests(&bytes, &[]).is_ok());
            prop_assert_eq!(replies(&bytes, &cuts, true).is_ok(), replies(&bytes, &[], false).is_ok());
            scan_all(&bytes);
        }
    }

    #[test]
    fn what_redis_would_read_leniently_is_refused() {
        for (bytes, violation) in [
            (&b"*+1\r\n"[..], Violation::Words),
            (b"*01\r\n$4\r\nPING\r\n", Violation::Words),
            (b"*99999999999\r\n", Violation::Words),
            (b"*1048577\r\n", Violation::Words),
            (b"*1\r\n+PING\r\n", Violation::ExpectedValue),
            (b"*1\r\n$536870913\r\n", Violation::Length),
            (b"*1\r\n$-1\r\n", Violation::Length),
            (b"*1\r\n$4\r\nPINGxx", Violation::ValueEnd),
            (b"*1\rx", Violation::Words),
        ] {
            assert_eq!(RequestScan::default().next(bytes), Err(violation), "{bytes:?}");
        }
        assert_eq!(RequestScan::default().next(&vec![b'a'; INLINE_MAX]), Err(Violation::Inline));
    }

    #[test]
    fn a_line_is_a_request_too() {
        let found = RequestScan::default().next(b"  GET key \r\nrest").unwrap().unwrap();
        assert_eq!(found, Request { len: 12, name_at: 2, name_len: 3, inline: true });
        assert_eq!(RequestScan::default().next(b"\r\n").unwrap().unwrap().name_len, 0);
        assert_eq!(RequestScan::default().next(b"GET ke"), Ok(None));
    }

    #[test]
    fn nothing_is_set_aside_for_what_a_header_promises() {
        assert_eq!(ReplyScan::default().next(b"*4294967295\r\n"), Ok(None));
        assert_eq!(ReplyScan::default().next(b"*9999999999\r\n"), Err(Violation::Number));
        assert_eq!(ReplyScan::default().next(b"$?\r\n"), Err(Violation::Number));
        let bomb = b"*1\r\n".repeat(100_000);
        assert_eq!(ReplyScan::default().next(&bomb), Ok(None));
    }
}
