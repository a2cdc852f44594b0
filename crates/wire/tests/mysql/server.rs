//! The other end: packets, results, and the answers that tests vary.

use backstay_model::{Command, Durability, MariaDbSpec, Reply};
use backstay_wire::mariadb::{Account, Conversation, ConversationError, Settings};

/// As much as anything may hold: packets, and what is kept of results.
pub(crate) const HELD_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const SECRET: &str = "hush'\\hush";
pub(crate) const A: &str = "aaaaaaaa-978b-11ee-ade5-8d2a2a562feb";
pub(crate) const B: &str = "bbbbbbbb-978b-11ee-ade5-8d2a2a562feb";
pub(crate) const C: &str = "cccccccc-978b-11ee-ade5-8d2a2a562feb";

pub(crate) fn settings(durability: Durability) -> Settings {
    Settings {
        login: Account { username: "backstay".into(), password: SECRET.into() },
        replication: Account { username: "copy".into(), password: SECRET.into() },
        spec: MariaDbSpec { durability, ..MariaDbSpec::default() },
        encrypted: false,
    }
}

pub(crate) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

pub(crate) fn greeting(version: &str, plugin: &str) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(version.as_bytes());
    payload.push(0);
    payload.extend(7_u32.to_le_bytes());
    payload.extend_from_slice(b"12345678\0");
    payload.extend(0xffff_u16.to_le_bytes());
    payload.push(255);
    payload.extend(2_u16.to_le_bytes());
    payload.extend(0xdfff_u16.to_le_bytes());
    payload.push(21);
    payload.extend([0; 10]);
    payload.extend_from_slice(b"abcdefghijkl\0");
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    packet(0, &payload)
}

pub(crate) fn ok(sequence: u8, more: bool) -> Vec<u8> {
    packet(sequence, &[0, 0, 0, if more { 10 } else { 2 }, 0, 0, 0])
}

pub(crate) fn error(code: u16, state: &str, text: &str) -> Vec<u8> {
    let mut payload = vec![0xff];
    payload.extend(code.to_le_bytes());
    payload.extend_from_slice(state.as_bytes());
    payload.extend_from_slice(text.as_bytes());
    packet(1, &payload)
}

/// One result: columns, and rows of text or NULL.
pub(crate) fn table(columns: &[&str], rows: &[Vec<Option<String>>], more: bool) -> Vec<u8> {
    let mut bytes = packet(1, &[columns.len() as u8]);
    for name in columns {
        let mut payload = Vec::new();
        for part in ["def", "", "", "", name, ""] {
            payload.extend(counted(part));
        }
        payload.extend([12, 45, 0, 0, 1, 0, 0, 253, 0, 0, 0, 0, 0]);
        bytes.extend(packet(2, &payload));
    }
    bytes.extend(packet(3, &[0xfe, 0, 0, 2, 0]));
    for row in rows {
        let values = row.iter().flat_map(|value| value.as_ref().map_or(vec![0xfb], |text| counted(text)));
        bytes.extend(packet(4, &values.collect::<Vec<_>>()));
    }
    bytes.extend(packet(5, &[0xfe, 0, 0, if more { 10 } else { 2 }, 0]));
    bytes
}

fn counted(text: &str) -> Vec<u8> {
    let length = text.len();
    let head = if length < 251 {
        vec![length as u8]
    } else {
        [&[0xfc], &(length as u16).to_le_bytes()[..]].concat()
    };
    [&head, text.as_bytes()].concat()
}

/// One row of these.
pub(crate) fn row(pairs: &[(&str, &str)], more: bool) -> Vec<u8> {
    let columns: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    let values = pairs.iter().map(|(_, value)| (*value != "NULL").then(|| (*value).to_owned())).collect();
    table(&columns, &[values], more)
}

/// A row as the client prints it, with other values for some columns.
fn sample(text: &str, changes: &[(&str, &str)], more: bool) -> Vec<u8> {
    let pairs: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            let name = name.trim();
            let change = changes.iter().find(|(changed, _)| *changed == name);
            (name, change.map_or(value, |(_, value)| value))
        })
        .collect();
    assert!(changes.iter().all(|(changed, _)| pairs.iter().any(|(name, _)| name == changed)));
    row(&pairs, more)
}

/// An instance, as it answers `Info`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance<'a> {
    pub(crate) server: &'a str,
    pub(crate) executed: &'a str,
    /// Neither `read_only` nor `super_read_only`.
    pub(crate) open: bool,
    /// What differs in `SHOW REPLICA STATUS`; `None`: it shows nothing.
    pub(crate) link: Option<&'a [(&'a str, &'a str)]>,
    pub(crate) last_queued: &'a str,
    /// Writer and base of the last canary.
    pub(crate) canary: Option<(&'a str, &'a str)>,
    /// Variables and status of semi-synchronous replication; `None`: it is not asked for them.
    pub(crate) semi_sync: Option<&'a [(&'a str, &'a str)]>,
}

impl Instance<'_> {
    pub(crate) fn info(&self) -> Vec<u8> {
        let read_only = if self.open { "0" } else { "1" };
        let own = [
            ("server_uuid", self.server),
            ("read_only", read_only),
            ("super_read_only", read_only),
            ("gtid_executed", self.executed),
        ];
        let mut bytes = row(&own, true);
        let status = include_str!("../samples/mysql-8.0-replica-status.txt");
        bytes.extend(match self.link {
            Some(changes) => sample(status, changes, true),
            None => table(&["Replica_IO_State"], &[], true),
        });
        bytes.extend(row(
            &[("last_queued", self.last_queued), ("heartbeats", "12"), ("heartbeat_interval", "0.500")],
            true,
        ));
        if let Some(pairs) = self.semi_sync {
            let rows: Vec<Vec<Option<String>>> = pairs
                .iter()
                .map(|(name, value)| vec![Some((*name).to_owned()), Some((*value).to_owned())])
                .collect();
            bytes.extend(table(&["name", "value"], &rows, true));
        }
        bytes.extend(match self.canary {
            Some((writer, base)) => row(&[("writer", writer), ("base", base)], false),
            None => error(1146, "#42S02", "Table 'backstay.canary' doesn't exist"),
        });
        bytes
    }
}

/// A conversation behind its login.
pub(crate) fn admitted(durability: Durability) -> Conversation {
    let mut conversation = Conversation::with_mysql(settings(durability));
    let bytes = [greeting("8.0.36", "caching_sha2_password"), packet(2, &[1, 3]), ok(3, false)].concat();
    conversation.feed(&bytes).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    conversation.feed(&ok(1, false)).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    assert_eq!(conversation.login_outcome(), Some(Ok(())));
    conversation.unsent().clear();
    conversation
}

/// What was said since the last time, packet by packet; a ping is "PING".
pub(crate) fn said(conversation: &mut Conversation) -> Vec<String> {
    let mut bytes = &std::mem::take(conversation.unsent())[..];
    let mut packets = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        let (payload, rest) = rest.split_at(length);
        packets.push(match payload {
            [14] => "PING".to_owned(),
            [3, text @ ..] => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        bytes = rest;
    }
    packets
}

/// Every reply that there is now.
pub(crate) fn replies(conversation: &mut Conversation) -> Vec<Reply> {
    std::iter::from_fn(|| conversation.next_reply().unwrap()).collect()
}

/// Asks, and lets `answer` answer each packet until nothing more is said: all that was said, and the replies.
pub(crate) fn talk(
    conversation: &mut Conversation,
    commands: &[Command],
    mut answer: impl FnMut(&str) -> Vec<u8>,
) -> (Vec<String>, Vec<Reply>) {
    for command in commands {
        conversation.send(command);
    }
    let (mut all, mut heard) = (Vec::new(), Vec::new());
    loop {
        let packets = said(conversation);
        if packets.is_empty() {
            return (all, heard);
        }
        for text in &packets {
            conversation.feed(&answer(text)).unwrap();
            heard.extend(replies(conversation));
        }
        all.extend(packets);
    }
}

/// Everything that comes out of these bytes, in pieces of this size.
pub(crate) fn heard(
    commands: &[Command],
    bytes: &[u8],
    size: usize,
) -> (Vec<Reply>, Option<ConversationError>) {
    let mut conversation = Conversation::with_mysql(settings(Durability::Majority));
    for command in commands {
        conversation.send(command);
    }
    let mut replies = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        if let Err(error) = conversation.feed(piece) {
            return (replies, Some(error));
        }
        loop {
            assert!(conversation.held_bytes() <= HELD_BYTES_MAX);
            match conversation.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}
