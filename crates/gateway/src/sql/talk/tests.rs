use super::*;
use proptest::prelude::*;

/// A packet: its number, and what is in it.
pub(super) fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

fn ok(number: u8, status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    packet(number, &[0, 0, 0, low, high, 0, 0])
}

fn eof(number: u8, status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    packet(number, &[0xfe, 0, 0, low, high])
}

fn hello(flags: u32) -> Vec<u8> {
    packet(1, &[&flags.to_le_bytes()[..], &[0; 28], b"root\0\0"].concat())
}

const GREETING: &[u8] = b"\x0a11.4.2-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xf7\x08\x02\0\xff\x81\x15";
const USUAL: u32 = CLIENT_PROTOCOL_41;

/// A client that was let in.
fn talk(flags: u32) -> Talk {
    let mut talk = Talk::new();
    talk.server_said(&packet(0, GREETING));
    talk.client_said(&hello(flags));
    talk.server_said(&ok(2, 2));
    talk
}

fn asks(talk: &mut Talk, command: u8, rest: &[u8]) {
    talk.client_said(&packet(0, &[&[command], rest].concat()));
}

#[test]
fn who_has_not_signed_in_is_never_between_commands() {
    let mut talk = Talk::new();
    let between = |talk: &Talk| (talk.is_between_commands(), talk.awaits_answer());
    assert_eq!(between(&talk), (false, false));
    talk.server_said(&packet(0, GREETING));
    talk.client_said(&hello(USUAL));
    // The server wants another kind of password.
    talk.server_said(&packet(2, b"\xfemysql_native_password\0abcdefgh"));
    talk.client_said(&packet(3, b"12345678901234567890"));
    assert_eq!(between(&talk), (false, false));
    talk.server_said(&ok(4, 2));
    assert_eq!(between(&talk), (true, false));
    assert_eq!((talk.take_commands(), talk.take_refusal()), (0, None));
}

#[test]
fn a_command_is_answered_by_one_packet_or_a_whole_result() {
    for flags in [USUAL, USUAL | CLIENT_DEPRECATE_EOF] {
        let mut talk = talk(flags);
        asks(&mut talk, 3, b"INSERT INTO a VALUES (1)");
        assert!(!talk.is_between_commands() && talk.awaits_answer());
        talk.server_said(&ok(1, 2));
        assert!(talk.is_between_commands() && !talk.awaits_answer());
        asks(&mut talk, 3, b"SELECT a FROM b");
        let mut result = vec![packet(1, &[1]), packet(2, b"\x03def\0\0\0")];
        if flags == USUAL {
            result.push(eof(3, 2));
        }
        // A row of one long text, one that is NULL, and one whose text begins as an end would.
        result.extend([packet(4, b"\xfd\0\0\x01"), packet(5, b"\xfb"), packet(6, &[1, 0xfe])]);
        for part in result {
            talk.server_said(&part);
            assert!(!talk.is_between_commands(), "{part:?}");
        }
        talk.server_said(&eof(7, 2));
        assert!(talk.is_between_commands());
        asks(&mut talk, 3, b"SELECT nothing");
        talk.server_said(&packet(1, b"\xff\x7a\x04#42S02No such table"));
        assert!(talk.is_between_commands());
        assert_eq!(talk.take_commands(), 3);
    }
}

#[test]
fn a_transaction_is_open_until_the_server_says_otherwise() {
    let mut talk = talk(USUAL);
    for (status, open) in [(3, true), (3, true), (2, false), (0x2001, true), (0, false)] {
        asks(&mut talk, 3, b"something");
        talk.server_said(&ok(1, status));
        assert_eq!(talk.is_between_commands(), !open);
        assert!(!talk.awaits_answer());
    }
    // A result says it, too; an error says nothing.
    asks(&mut talk, 3, b"SELECT 1");
    talk.server_said(
        &[packet(1, &[1]), packet(2, b"\x03def"), eof(3, 3), packet(4, b"\x011"), eof(5, 3)].concat(),
    );
    assert!(!talk.is_between_commands());
    asks(&mut talk, 3, b"wrong");
    talk.server_said(&packet(1, b"\xff\x28\x04#42000You have an error"));
    assert!(!talk.is_between_commands());
}

#[test]
fn several_results_of_one_command_are_one_answer() {
    let mut talk = talk(USUAL | CLIENT_DEPRECATE_EOF);
    asks(&mut talk, 3, b"CALL something()");
    talk.server_said(&ok(1, 2 | MORE_RESULTS));
    talk.server_said(&[packet(2, &[1]), packet(3, b"\x03def"), packet(4, b"\x011")].concat());
    talk.server_said(&packet(5, &[0xfe, 0, 0, 2 | MORE_RESULTS as u8, 0, 0, 0]));
    assert!(!talk.is_between_commands());
    talk.server_said(&ok(6, 2));
    assert!(talk.is_between_commands());
}

#[test]
fn what_is_prepared_is_described_and_its_rows_may_be_fetched_later() {
    for (flags, ends) in [(USUAL, 1), (USUAL | CLIENT_DEPRECATE_EOF, 0)] {
        let mut talk = talk(flags);
        asks(&mut talk, 0x16, b"SELECT a, b FROM c WHERE d = ?");
        talk.server_said(&packet(1, &[0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]));
        for _ in 0..2 + ends + 1 + ends {
            assert!(!talk.is_between_commands());
            talk.server_said(&packet(2, b"\x03def"));
        }
        assert!(talk.is_between_commands());
        // Nothing to describe.
        asks(&mut talk, 0x16, b"INSERT INTO c VALUES (1)");
        talk.server_said(&packet(1, &[0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(talk.is_between_commands());
    }
    let mut talk = talk(USUAL);
    asks(&mut talk, 0x17, b"\x01\0\0\0\x01");
    talk.server_said(&[packet(1, &[1]), packet(2, b"\x03def"), eof(3, 2 | CURSOR_EXISTS)].concat());
    assert!(talk.is_between_commands());
    asks(&mut talk, 0x1c, b"\x01\0\0\0\x0a\0\0\0");
    talk.server_said(&packet(1, b"\0\0\x01a"));
    assert!(!talk.is_between_commands());
    talk.server_said(&eof(2, 2 | 0x80));
    assert!(talk.is_between_commands());
    // Nobody answers these.
    asks(&mut talk, 0x18, b"\x01\0\0\0\0\0long data");
    asks(&mut talk, 0x19, b"\x01\0\0\0");
    assert!(talk.is_between_commands());
}

#[test]
fn commands_that_are_sent_together_are_answered_one_by_one() {
    let mut talk = talk(USUAL);
    let two = [packet(0, b"\x16SELECT ?"), packet(0, b"\x17\xff\xff\xff\xff")].concat();
    talk.client_said(&two);
    talk.server_said(&packet(1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert!(!talk.is_between_commands());
    talk.server_said(&ok(1, 2));
    assert!(talk.is_between_commands());
    for _ in 0..=PENDING_MAX {
        asks(&mut talk, 3, b"SELECT 1");
    }
    assert!(talk.is_blind() && !talk.is_between_commands());
    talk.server_said(&ok(1, 2));
    assert!(talk.is_between_commands());
}

#[test]
fn a_file_that_the_client_sends_is_no_command() {
    let mut talk = talk(USUAL);
    asks(&mut talk, 3, b"LOAD DATA LOCAL INFILE 'a' INTO TABLE b");
    talk.server_said(&packet(1, b"\xfba"));
    talk.client_said(&packet(2, b"1\n2\n"));
    // Its packets are numbered on, and begin again.
    talk.client_said(&packet(0, b"\x01\n"));
    talk.client_said(&packet(1, b""));
    assert!(!talk.is_between_commands());
    talk.server_said(&ok(2, 2));
    assert!(talk.is_between_commands());
    assert_eq!(talk.take_commands(), 1);
}

#[test]
fn progress_is_no_answer_and_another_user_signs_in_as_the_first_did() {
    let mut talk = talk(USUAL);
    asks(&mut talk, 3, b"ALTER TABLE a ENGINE=InnoDB");
    talk.server_said(&packet(1, b"\xff\xff\xff\x01\x01\x02\x10\0\0\x05stage"));
    assert!(!talk.is_between_commands());
    talk.server_said(&ok(2, 2));
    assert!(talk.is_between_commands());
    asks(&mut talk, 0x11, b"other\0");
    talk.server_said(&packet(1, b"\xfemysql_native_password\0abcdefgh"));
    talk.client_said(&packet(2, b"12345678901234567890"));
    assert!(!talk.is_between_commands());
    talk.server_said(&ok(3, 2));
    assert!(talk.is_between_commands());
}

#[test]
fn what_a_server_refuses_is_told_apart_by_its_number() {
    let mut talk = Talk::new();
    talk.server_said(b"\x17\0\0\0\xff\x10\x04Too many connections");
    assert_eq!((talk.take_refusal(), talk.take_refusal()), (Some(1040), None));
    let mut talk = Talk::new();
    talk.server_said(&packet(0, GREETING));
    talk.client_said(&hello(USUAL));
    talk.server_said(&packet(2, b"\xff\x15\x04#28000Access denied for user"));
    assert_eq!(talk.take_refusal(), Some(1045));
    assert!(!talk.is_between_commands() && !talk.awaits_answer());
}

#[test]
fn of_what_cannot_be_followed_it_is_known_who_spoke_last() {
    for flags in [USUAL | CLIENT_SSL, 0] {
        let mut talk = Talk::new();
        talk.server_said(&packet(0, GREETING));
        talk.client_said(&packet(1, &flags.to_le_bytes()));
        talk.client_said(b"\x16\x03\x01\x02\0\x01\0");
        assert!(talk.is_blind() && !talk.is_between_commands() && talk.awaits_answer());
        talk.server_said(b"\x16\x03\x03\xff\xff\xff\xff\xff");
        assert!(talk.is_between_commands() && !talk.awaits_answer());
    }
    assert!(talk(USUAL | CLIENT_COMPRESS).is_blind());
    let mut replica = talk(USUAL);
    asks(&mut replica, 0x12, b"\x04\0\0\0\0\0\x01\0\0\0binlog");
    assert!(replica.is_blind());
}

#[test]
fn a_command_longer_than_a_packet_is_one_command() {
    let mut talk = talk(USUAL);
    let mut long = vec![b'x'; LONGEST];
    long[0] = 3;
    talk.client_said(&packet(0, &long));
    assert!(talk.awaits_answer());
    talk.client_said(&packet(1, b"\x03 rest"));
    talk.server_said(&ok(2, 2));
    assert!(talk.is_between_commands());
    assert_eq!(talk.take_commands(), 1);
    // A row of that length, which ends with an empty packet.
    asks(&mut talk, 3, b"SELECT a");
    talk.server_said(&[packet(1, &[1]), packet(2, b"\x03def"), eof(3, 2)].concat());
    long[0] = 0xfe;
    talk.server_said(&packet(4, &long));
    talk.server_said(&packet(5, b""));
    assert!(!talk.is_between_commands());
    talk.server_said(&eof(6, 2));
    assert!(talk.is_between_commands());
}

const LONGEST: usize = 0x00ff_ffff;

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_how_they_are_cut_makes_no_difference(
        said in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..60)), 0..40),
        (begins, flags, size) in (any::<bool>(), any::<u32>(), 1_usize..30),
    ) {
        let begin = || if begins { talk(flags) } else { Talk::new() };
        let (mut whole, mut cut) = (begin(), begin());
        for (client, bytes) in said {
            // Half of it as packets.
            let bytes = if bytes.len() % 2 == 0 { packet(u8::from(!client), &bytes) } else { bytes };
            if client {
                whole.client_said(&bytes);
                bytes.chunks(size).for_each(|some| cut.client_said(some));
            } else {
                whole.server_said(&bytes);
                bytes.chunks(size).for_each(|some| cut.server_said(some));
            }
            prop_assert_eq!(whole.is_between_commands(), cut.is_between_commands());
            prop_assert_eq!(whole.awaits_answer(), cut.awaits_answer());
        }
        prop_assert_eq!(whole.take_commands(), cut.take_commands());
        prop_assert_eq!(whole.take_refusal(), cut.take_refusal());
    }
}
