//! Conversations with a MariaDB: the same replies however the bytes are cut, one reply for each command, and nothing
//! that a server sends makes one panic or hold more than it may.

use backstay_model::{
    Address, ClientKind, Command, Durability, Fault, MariaDbSpec, ReplOffset, Reply, Role, Sql,
};
use backstay_wire::mariadb::{
    Account, Conversation, ConversationError, Interview, Settings, Table, Upgrade, upgrade,
};
use proptest::prelude::*;

/// As much as anything may hold: packets, and what is kept of results.
const HELD_BYTES_MAX: usize = 1024 * 1024;
const SECRET: &str = "hush'\\hush";

fn settings(durability: Durability) -> Settings {
    Settings {
        login: Account { username: "backstay".into(), password: SECRET.into() },
        replication: Account { username: "copy".into(), password: SECRET.into() },
        spec: MariaDbSpec { durability, events: true, ..MariaDbSpec::default() },
        encrypted: false,
    }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

fn greeting(version: &str) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(version.as_bytes());
    payload.push(0);
    payload.extend(7_u32.to_le_bytes());
    payload.extend_from_slice(b"12345678\0");
    payload.extend(0xfffe_u16.to_le_bytes());
    payload.push(45);
    payload.extend(2_u16.to_le_bytes());
    payload.extend(0x81bf_u16.to_le_bytes());
    payload.push(21);
    payload.extend([0; 10]);
    payload.extend_from_slice(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &payload)
}

fn ok(sequence: u8, more: bool) -> Vec<u8> {
    packet(sequence, &[0, 0, 0, if more { 10 } else { 2 }, 0, 0, 0])
}

fn error(code: u16, state: &str, text: &str) -> Vec<u8> {
    let mut payload = vec![0xff];
    payload.extend(code.to_le_bytes());
    payload.extend_from_slice(state.as_bytes());
    payload.extend_from_slice(text.as_bytes());
    packet(1, &payload)
}

/// One result, with a name for each column, and text or NULL in one row.
fn table(columns: &[(&str, Option<&str>)], rows: usize, more: bool) -> Vec<u8> {
    let counted = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut bytes = packet(1, &[columns.len() as u8]);
    for (name, _) in columns {
        let mut payload = Vec::new();
        for part in ["def", "", "", "", name, ""] {
            payload.extend(counted(part));
        }
        payload.extend([12, 45, 0, 0, 1, 0, 0, 253, 0, 0, 0, 0, 0]);
        bytes.extend(packet(2, &payload));
    }
    bytes.extend(packet(3, &[0xfe, 0, 0, 2, 0]));
    for _ in 0..rows {
        let values = columns.iter().flat_map(|(_, value)| value.map_or(vec![0xfb], counted));
        bytes.extend(packet(4, &values.collect::<Vec<_>>()));
    }
    bytes.extend(packet(5, &[0xfe, 0, 0, if more { 10 } else { 2 }, 0]));
    bytes
}

/// What a server says until a login is over and what it was asked first is answered.
fn admitted() -> Vec<u8> {
    [greeting("5.5.5-10.11.19-MariaDB-log"), ok(2, false), ok(1, false)].concat()
}

fn own(position: &str, state: &str, read_only: &str) -> Vec<u8> {
    let columns = [
        ("server_id", Some("3")),
        ("read_only", Some(read_only)),
        ("gtid_domain_id", Some("0")),
        ("gtid_binlog_pos", Some(position)),
        ("gtid_binlog_state", Some(state)),
        ("gtid_slave_pos", Some(position)),
        ("acknowledges", Some("1")),
    ];
    table(&columns, 1, true)
}

fn link(receives: &'static str, received: &'static str, rows: usize) -> Vec<u8> {
    let columns = [
        ("Connection_name", Some("")),
        ("Master_Host", Some("10.0.0.1")),
        ("Master_Port", Some("3306")),
        ("Master_User", Some("copy")),
        ("Connect_Retry", Some("1")),
        ("Slave_IO_Running", Some(receives)),
        ("Slave_SQL_Running", Some("Yes")),
        ("Last_IO_Errno", Some("0")),
        ("Master_Server_Id", Some("1")),
        ("Using_Gtid", Some("Slave_Pos")),
        ("Gtid_IO_Pos", Some(received)),
        ("Slave_received_heartbeats", Some("12")),
        ("Slave_heartbeat_period", Some("0.500")),
        ("Seconds_Behind_Master", None),
    ];
    table(&columns, rows, false)
}

/// Everything that comes out of these bytes, in pieces of this size.
fn heard(commands: &[Command], bytes: &[u8], size: usize) -> (Vec<Reply>, Option<ConversationError>) {
    let mut conversation = Conversation::new(settings(Durability::Majority));
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

fn every_command() -> Vec<Command> {
    let address: Address = "db:3306".parse().unwrap();
    vec![
        Command::Identify,
        Command::Info,
        Command::Ping,
        Command::DisconnectClients(ClientKind::Normal),
        Command::Sql(Sql::Follow { primary: address.clone(), acker: true }),
        Command::Sql(Sql::Follow { primary: address.clone(), acker: false }),
        Command::Sql(Sql::Close),
        Command::Sql(Sql::Open),
        Command::Sql(Sql::Delay),
        Command::Sql(Sql::StopReceiving),
        Command::Sql(Sql::Demote { primary: address, acker: true }),
        Command::Sql(Sql::Demote { primary: Address::nowhere(), acker: false }),
        Command::Sql(Sql::Ascend { replid: "0-1".into(), offset: ReplOffset(12) }),
        Command::Sql(Sql::Ascend { replid: "'; DROP".into(), offset: ReplOffset(12) }),
        Command::Canary(String::new()),
        Command::WriteGuard,
        Command::ReplicateNoOne,
    ]
}

proptest! {
    #[test]
    fn replies_do_not_depend_on_where_the_bytes_are_cut(size in 1_usize..300) {
        let bytes = [
            admitted(),
            own("0-1-7,5-9-100", "0-1-7,0-3-5,5-9-100", "ON"),
            link("Yes", "0-1-9,5-9-100", 1),
            ok(1, false),
            error(1205, "#HY000", "Lock wait timeout exceeded"),
            ok(1, true),
            ok(2, true),
            table(&[("one", Some("1"))], 200, true),
            ok(3, false),
        ]
        .concat();
        let commands =
            [Command::Info, Command::Ping, Command::Sql(Sql::Close), Command::Sql(Sql::StopReceiving)];
        let whole = heard(&commands, &bytes, bytes.len());
        prop_assert_eq!(whole.0.len(), 4);
        prop_assert_eq!(&whole.1, &None);
        prop_assert_eq!(&whole.0[1..], &[Reply::Pong, Reply::Refused(Fault::Locked), Reply::Done]);
        prop_assert_eq!(heard(&commands, &bytes, size), whole);
    }

    #[test]
    fn garbage_neither_panics_nor_takes_more_than_the_limit(bytes: Vec<u8>, size in 1_usize..40, late: bool) {
        let bytes = if late { [admitted(), bytes].concat() } else { bytes };
        let _ = heard(&every_command(), &bytes, size);
        let _ = upgrade(&bytes);
    }

    #[test]
    fn garbage_in_packets_neither_panics_nor_takes_more_than_the_limit(
        payloads in prop::collection::vec(
            (prop::sample::select(vec![0_u8, 1, 3, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]), any::<Vec<u8>>()), 0..40),
        late: bool,
    ) {
        let mut bytes = if late { admitted() } else { greeting("11.4.2-MariaDB") };
        for (first, rest) in payloads {
            bytes.extend(packet(1, &[&[first], &rest[..]].concat()));
        }
        let _ = heard(&every_command(), &bytes, bytes.len());
    }

    #[test]
    fn an_answer_changed_in_one_place_neither_panics_nor_takes_more(at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = [admitted(), own("0-1-7", "0-1-7", "ON"), link("Yes", "0-1-9", 1)].concat();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = heard(&[Command::Info, Command::Ping], &bytes, 64);
    }
}

#[test]
fn a_replica_is_where_it_received_to_and_says_what_it_lacks() {
    let bytes = [
        admitted(),
        own("0-1-7,5-9-100", "0-1-7,0-3-5,0-2-6,5-9-100", "OFF"),
        link("Yes", "5-9-100,0-1-9", 1),
        own("0-1-7", "0-1-7", "ON"),
        link("No", "0-4-11", 1),
        own("", "", "ON"),
        link("Connecting", "", 1),
    ]
    .concat();
    let (replies, error) = heard(&[Command::Info, Command::Info, Command::Info], &bytes, 100);
    assert_eq!(error, None);
    let [Reply::Info(linked), Reply::Info(frozen), Reply::Info(empty)] = &replies[..] else {
        panic!("{replies:?}")
    };
    let of: Address = "10.0.0.1:3306".parse().unwrap();
    assert_eq!(linked.role, Role::Replica { of: of.clone(), link_up: true, syncing: false });
    assert_eq!((linked.replid.as_str(), linked.offset), ("0-1", ReplOffset(9)));
    assert_eq!(linked.previous, Some(("0-2".into(), ReplOffset(6))));
    assert!(linked.sql.exposed && !linked.closed);
    assert_eq!((linked.sql.unapplied, linked.sql.heartbeats), (2, 12));
    assert_eq!(frozen.role, Role::Replica { of: Address::nowhere(), link_up: false, syncing: false });
    assert_eq!((frozen.replid.as_str(), frozen.offset), ("0-4", ReplOffset(11)));
    assert_eq!(frozen.previous, Some(("0-1".into(), ReplOffset(7))));
    assert_eq!(empty.role, Role::Replica { of, link_up: false, syncing: false });
    assert_eq!((empty.replid.as_str(), empty.offset), ("0-1", ReplOffset(0)));
}

#[test]
fn a_primary_names_the_history_that_it_took_over_until_it_wrote_itself() {
    let bytes = [
        admitted(),
        own("0-1-7", "0-1-7", "1"),
        link("Yes", "", 0),
        own("0-3-8", "0-1-7,0-3-8", "0"),
        link("Yes", "", 0),
    ]
    .concat();
    let (replies, _) = heard(&[Command::Info, Command::Info], &bytes, 1000);
    let [Reply::Info(risen), Reply::Info(wrote)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((risen.replid.as_str(), risen.offset, risen.closed), ("0-3", ReplOffset(7), true));
    assert_eq!(risen.previous, Some(("0-1".into(), ReplOffset(7))));
    assert_eq!((wrote.replid.as_str(), wrote.offset, wrote.closed), ("0-3", ReplOffset(8), false));
    assert_eq!(wrote.previous, None);
}

#[test]
fn who_is_not_let_in_is_told_once_and_then_it_is_over() {
    for (bytes, fault) in [
        (error(1040, "", "Too many connections"), Fault::TooManyClients),
        (error(1130, "", "Host '10.0.0.9' is not allowed to connect"), Fault::HostRefused),
        (error(1129, "", "Host '10.0.0.9' is blocked"), Fault::HostRefused),
        (
            [greeting("10.11.19-MariaDB"), error(1045, "#28000", "Access denied")].concat(),
            Fault::WrongPassword,
        ),
        ([greeting("10.11.19-MariaDB"), packet(2, b"\xfegssapi\0principal")].concat(), Fault::WrongPassword),
        (greeting("8.0.36"), Fault::NotTheEngine),
        (greeting("5.5.5-10.5.29-MariaDB"), Fault::Unsuitable),
    ] {
        let mut conversation = Conversation::new(settings(Durability::Async));
        conversation.send(&Command::Identify);
        conversation.send(&Command::Ping);
        conversation.feed(&bytes).unwrap();
        assert_eq!(conversation.next_reply(), Ok(Some(Reply::Refused(fault))));
        assert_eq!(conversation.next_reply(), Err(ConversationError::Ended));
        assert_eq!(conversation.login_outcome(), Some(Err(fault)));
    }
}

#[test]
fn a_connection_that_was_killed_ends_and_is_no_refusal() {
    let bytes = [admitted(), error(1927, "#70100", "Connection was killed")].concat();
    assert_eq!(heard(&[Command::Ping], &bytes, 9), (Vec::new(), Some(ConversationError::Ended)));
}

#[test]
fn no_password_shows_anywhere_but_in_what_is_sent() {
    let mut conversation = Conversation::new(settings(Durability::Majority));
    conversation.feed(&admitted()).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    let primary = "db:3306".parse().unwrap();
    conversation.send(&Command::Sql(Sql::Follow { primary, acker: true }));
    conversation.feed(&error(1064, "#42000", "near 'MASTER_PASSWORD='hush''")).unwrap();
    assert_eq!(conversation.next_reply(), Ok(Some(Reply::Refused(Fault::OtherError))));
    assert_eq!(conversation.trouble().map(|error| (error.code, error.text.as_str())), Some((1064, "")));
    let sent = String::from_utf8_lossy(conversation.unsent()).into_owned();
    assert!(sent.contains(r"MASTER_PASSWORD='hush''\\hush'"), "{sent}");
    conversation.unsent().clear();
    assert!(!format!("{conversation:?}").contains("hush"));
}

#[test]
fn tls_is_asked_for_only_where_it_is_offered() {
    let whole = greeting("10.11.19-MariaDB");
    assert_eq!(upgrade(&whole[..whole.len() - 1]), Ok(Upgrade::Wait));
    let Ok(Upgrade::Send(request)) = upgrade(&whole) else { panic!() };
    assert_eq!((request.len(), request[3]), (36, 1));
    let mut without = whole.clone();
    let place = whole.windows(2).position(|pair| pair == 0xfffe_u16.to_le_bytes()).unwrap();
    without[place + 1] &= !0x08;
    assert_eq!(upgrade(&without), Ok(Upgrade::Unable));
    assert_eq!(upgrade(&error(1040, "", "Too many connections")), Ok(Upgrade::Spoke));
    assert!(upgrade(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
}

#[test]
fn an_interview_hears_every_row_and_quotes_no_secret() {
    let mut interview = Interview::new(settings(Durability::Async));
    interview.ask("SELECT something", false);
    interview.ask("SET PASSWORD = 'hush'", true);
    interview.ask("SELECT nonsense", false);
    let answers = [
        table(&[("a", Some("1")), ("b", None)], 2, false),
        error(1064, "#42000", "near 'hush'"),
        error(1054, "#42S22", "Unknown column"),
    ];
    interview.feed(&[admitted(), answers.concat()].concat()).unwrap();
    let tables = interview.next_answer().unwrap().unwrap().unwrap();
    let rows: Vec<_> = tables.iter().flat_map(Table::rows).collect();
    assert_eq!((rows.len(), rows[1].get("A"), rows[1].first()), (2, Some("1"), Some("1")));
    assert_eq!(rows[0].columns().last(), Some(("b", None)));
    let mut refused = || interview.next_answer().unwrap().unwrap().unwrap_err();
    assert_eq!((refused().text, refused().text), (String::new(), "Unknown column".to_owned()));
    assert_eq!(interview.next_answer(), Ok(None));
}

#[test]
fn an_interview_that_is_not_let_in_says_why() {
    let mut interview = Interview::new(settings(Durability::Async));
    interview.ask("SELECT 1", false);
    interview.feed(&error(1129, "", "Host '10.0.0.1' is blocked")).unwrap();
    assert!(interview.next_answer().is_err());
    let (fault, words) = interview.refusal().unwrap();
    assert_eq!((fault, words.unwrap().code), (Fault::HostRefused, 1129));
}
