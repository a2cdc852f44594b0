//! Frames between controllers: whole however they are cut, refused by their length alone.

use backstay_wire::frame::{FrameDecoder, FrameError, encode_frame};
use proptest::prelude::*;

proptest! {
    #[test]
    fn frames_survive_every_split(payloads in prop::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let mut bytes = Vec::new();
        for payload in &payloads {
            encode_frame(&mut bytes, payload);
        }
        for split in 0..=bytes.len() {
            let mut decoder = FrameDecoder::new(256);
            let mut read = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                decoder.feed(part).unwrap();
                while let Some(payload) = decoder.next().unwrap() {
                    read.push(payload);
                }
            }
            prop_assert_eq!(&read, &payloads);
            prop_assert_eq!(decoder.held_bytes(), 0);
        }
    }

    #[test]
    fn garbage_neither_panics_nor_takes_more_than_the_limit(bytes: Vec<u8>) {
        let mut decoder = FrameDecoder::new(16);
        for byte in bytes {
            let _ = decoder.feed(&[byte]);
            while let Ok(Some(_)) = decoder.next() {}
            prop_assert!(decoder.held_bytes() <= 16);
        }
    }
}

#[test]
fn a_length_that_is_too_large_is_refused_before_its_payload_comes() {
    let error = FrameError::TooLarge { announced: u64::from(u32::MAX), payload_bytes_max: 1024 };
    let mut decoder = FrameDecoder::new(1024);
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, b"good");
    bytes.extend([0xff; 4]);
    assert_eq!(decoder.feed(&bytes), Err(error));
    assert_eq!(decoder.next(), Ok(Some(b"good".to_vec())));
    assert_eq!(decoder.next(), Err(error));
    assert_eq!(decoder.feed(b"more"), Err(error));
    assert_eq!(decoder.held_bytes(), 0);
    assert_eq!(error.to_string(), "a frame of 4294967295 bytes was announced, at most 1024 are allowed");
}

#[test]
fn a_payload_of_exactly_the_limit_passes() {
    let mut decoder = FrameDecoder::new(3);
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, b"abc");
    decoder.feed(&bytes).unwrap();
    assert_eq!(decoder.next(), Ok(Some(b"abc".to_vec())));
}
