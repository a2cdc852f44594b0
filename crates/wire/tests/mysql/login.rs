//! Getting in: MySQL's own way since 8.0, and what is refused.

use crate::server::{SECRET, error, greeting, ok, packet, settings};
use backstay_model::{Command, Durability, Fault, Reply};
use backstay_wire::mariadb::{Conversation, ConversationError};
use std::fmt::Write as _;

const OWN_WAY: &str = "caching_sha2_password";

/// The answer of `caching_sha2_password` to the greeting's nonce, by Python's hashlib: SHA256(password) XOR
/// SHA256(SHA256(SHA256(password)) + nonce).
const PROOF: &str = "9e024ae6b75cb63858148e3a20f808d470f006a717cc971453a4b44a72d77c05";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn a_password_that_the_server_remembers_is_proved_in_one_round() {
    let mut conversation = Conversation::with_mysql(settings(Durability::Async));
    conversation.feed(&greeting("8.4.3", OWN_WAY)).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    let answer = std::mem::take(conversation.unsent());
    assert!(hex(&answer).contains(&format!("20{PROOF}")), "{}", hex(&answer));
    assert!(!String::from_utf8_lossy(&answer).contains(SECRET));
    conversation.send(&Command::Ping);
    conversation.feed(&[packet(2, &[1, 3]), ok(3, false), ok(1, false), ok(1, false)].concat()).unwrap();
    assert_eq!(conversation.next_reply(), Ok(Some(Reply::Pong)));
    assert_eq!(conversation.login_outcome(), Some(Ok(())));
}

#[test]
fn an_account_with_mysqls_own_way_behind_a_server_with_another_is_asked_again() {
    let mut conversation = Conversation::with_mysql(settings(Durability::Async));
    let question = [&b"\xfe"[..], OWN_WAY.as_bytes(), b"\0", b"12345678abcdefghijkl\0"].concat();
    conversation.feed(&greeting("8.0.36-28", "mysql_native_password")).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    conversation.unsent().clear();
    conversation.feed(&packet(2, &question)).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    assert_eq!(hex(conversation.unsent()), format!("20000003{PROOF}"));
}

#[test]
fn the_password_itself_is_told_over_tls_only() {
    let mut encrypted = settings(Durability::Async);
    encrypted.encrypted = true;
    let mut conversation = Conversation::with_mysql(encrypted);
    conversation.feed(&[greeting("8.0.36", OWN_WAY), packet(3, &[1, 4])].concat()).unwrap();
    assert_eq!(conversation.next_reply(), Ok(None));
    let sent = std::mem::take(conversation.unsent());
    assert!(sent.ends_with(&packet(4, &[SECRET.as_bytes(), &[0]].concat())));

    let mut conversation = Conversation::with_mysql(settings(Durability::Async));
    conversation.send(&Command::Ping);
    conversation.feed(&[greeting("8.0.36", OWN_WAY), packet(2, &[1, 4])].concat()).unwrap();
    assert_eq!(conversation.next_reply(), Ok(Some(Reply::Refused(Fault::NeedsTls))));
    assert_eq!(conversation.next_reply(), Err(ConversationError::Ended));
    assert!(!String::from_utf8_lossy(conversation.unsent()).contains(SECRET));
    assert!(conversation.trouble().unwrap().text.contains("TLS"));
}

#[test]
fn who_is_not_let_in_is_told_why() {
    for (bytes, fault) in [
        (error(1040, "#08004", "Too many connections"), Fault::TooManyClients),
        (greeting("10.11.19-MariaDB", OWN_WAY), Fault::NotTheEngine),
        (greeting("5.5.5-10.11.19-MariaDB", OWN_WAY), Fault::NotTheEngine),
        (greeting("8.0.25", OWN_WAY), Fault::Unsuitable),
        (greeting("5.7.44-log", OWN_WAY), Fault::Unsuitable),
        (greeting("eight", OWN_WAY), Fault::NotTheEngine),
        ([greeting("8.0.26", OWN_WAY), error(1045, "#28000", "denied")].concat(), Fault::WrongPassword),
        ([greeting("9.1.0", OWN_WAY), error(3118, "#HY000", "locked")].concat(), Fault::WrongPassword),
        ([greeting("8.4.3", OWN_WAY), error(3159, "#HY000", "insecure")].concat(), Fault::NeedsTls),
        (
            [greeting("8.4.3", OWN_WAY), packet(2, b"\xfeauthentication_ldap_sasl\0x")].concat(),
            Fault::WrongPassword,
        ),
    ] {
        let mut conversation = Conversation::with_mysql(settings(Durability::Async));
        conversation.send(&Command::Identify);
        conversation.feed(&bytes).unwrap();
        assert_eq!(conversation.next_reply(), Ok(Some(Reply::Refused(fault))));
        assert_eq!(conversation.login_outcome(), Some(Err(fault)));
    }
}
