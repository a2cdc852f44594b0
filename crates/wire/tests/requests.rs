//! Requests: what a Redis server accepts is accepted, however it is cut; everything else is refused by name.

use backstay_wire::resp::{Limits, RequestDecoder, RespError, encode_request};
use proptest::prelude::*;

type Requests = Vec<Vec<Vec<u8>>>;

fn decoded(bytes: &[u8], limits: Limits) -> Result<Requests, RespError> {
    let mut decoder = RequestDecoder::new(limits);
    let mut requests = Vec::new();
    for byte in bytes {
        decoder.feed(&[*byte])?;
        while let Some(request) = decoder.next()? {
            requests.push(request);
        }
        assert!(decoder.held_bytes() <= limits.buffered_bytes_max);
    }
    Ok(requests)
}

fn words(requests: &[&[&str]]) -> Requests {
    let request = |words: &&[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    requests.iter().map(request).collect()
}

fn small() -> Limits {
    Limits { bulk_bytes_max: 64, elements_max: 16, depth_max: 0, line_bytes_max: 32, buffered_bytes_max: 512 }
}

proptest! {
    #[test]
    fn requests_survive_every_split(requests in prop::collection::vec(prop::collection::vec(any::<Vec<u8>>(), 1..4), 1..3)) {
        let mut bytes = Vec::new();
        for request in &requests {
            encode_request(&mut bytes, request);
        }
        for split in 0..=bytes.len() {
            let mut decoder = RequestDecoder::new(Limits::default());
            let mut read = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                decoder.feed(part).unwrap();
                while let Some(request) = decoder.next().unwrap() {
                    read.push(request);
                }
            }
            prop_assert_eq!(&read, &requests);
            prop_assert_eq!(decoder.held_bytes(), 0);
        }
    }

    #[test]
    fn garbage_neither_panics_nor_takes_more_than_the_limit(bytes: Vec<u8>) {
        let _ = decoded(&bytes, small());
    }

    #[test]
    fn garbage_that_looks_like_requests_neither_panics_nor_takes_more(text in "([*$ \"'\\\\a][-0-9a-f\"']{0,3}\r?\n){0,40}") {
        let _ = decoded(text.as_bytes(), small());
    }
}

#[test]
fn typed_lines_are_split_as_redis_splits_them() {
    let bytes = b"PING\r\n\r\n  set  k \"a \\x41\\n\\\"\"\nget 'it\\'s' \"\"\r\nsubscribe a\"b\"\r\n";
    assert_eq!(
        decoded(bytes, Limits::default()),
        Ok(words(&[&["PING"], &["set", "k", "a A\n\""], &["get", "it's", ""], &["subscribe", "ab"],]))
    );
}

#[test]
fn empty_requests_are_skipped() {
    let bytes = b"*0\r\n*-1\r\n\n*1\r\n$4\r\nPING\r\n";
    assert_eq!(decoded(bytes, Limits::default()), Ok(words(&[&["PING"]])));
}

#[test]
fn what_a_client_may_not_do_is_named_in_redis_words() {
    for (bytes, text) in [
        (&b"*17\r\n"[..], "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$65\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"get 'a\r\n", "unbalanced quotes in request"),
        (b"get \"a\"b\r\n", "unbalanced quotes in request"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "too big inline request"),
        (b"*1\r\n$1\r\nabc", "string without CR LF"),
    ] {
        let error = decoded(bytes, small()).unwrap_err();
        assert_eq!(error.to_string(), text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn arguments_that_each_fit_are_refused_when_together_they_outgrow_memory() {
    let mut bytes = b"*16\r\n".to_vec();
    for _ in 0..16 {
        bytes.extend(b"$64\r\n");
        bytes.extend([b'a'; 64]);
        bytes.extend(b"\r\n");
    }
    assert_eq!(decoded(&bytes, small()), Err(RespError::TooMuchBuffered));
}
