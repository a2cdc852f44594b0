//! What becomes of what is sent after something was refused.

use crate::core::shop::Shop;
use crate::settings::EndpointLimits;
use std::time::Duration;

const MAX: Duration = Duration::from_millis(200);

fn shop() -> Shop {
    Shop::new(1, EndpointLimits { hold_max: MAX, ..EndpointLimits::default() })
}

fn answers(shop: &mut Shop) -> Vec<String> {
    shop.heard(0).lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn of_a_transaction_whose_beginning_was_refused_nothing_is_executed() {
    for first in [&["MULTI", "SET a"][..], &["GET 1", "MULTI"], &["MULTI", "EXEC", "MULTI", "SET a"]] {
        let mut shop = shop();
        shop.hold(2);
        shop.say(0, first);
        shop.pass(MAX);
        assert_eq!(answers(&mut shop), vec!["-HOLDTIMEOUT"; first.len()], "{first:?}");
        shop.serve(3);
        shop.settle();
        shop.say(0, &["SET b", "EXEC"]);
        assert_eq!(answers(&mut shop), ["-ERR", "-EXECABORT"], "{first:?}");
        // The next one is as good as any.
        shop.say(0, &["SET b"]);
        assert_eq!(answers(&mut shop), [":7"]);
    }
}

#[test]
fn the_same_holds_for_a_transaction_that_is_too_long_to_wait() {
    let mut shop = Shop::new(1, EndpointLimits { held_bytes_max: 30, ..EndpointLimits::default() });
    shop.hold(2);
    shop.say(0, &["MULTI", "SET a"]);
    assert_eq!(answers(&mut shop), ["-HOLDFULL"; 2]);
    shop.serve(3);
    shop.settle();
    shop.say(0, &["SET b", "DISCARD", "SET c"]);
    assert_eq!(answers(&mut shop), ["-ERR", "+OK", ":7"]);
}

#[test]
fn a_transaction_that_was_refused_as_a_whole_leaves_nothing_behind() {
    let mut shop = shop();
    shop.hold(2);
    shop.say(0, &["MULTI", "SET a", "EXEC"]);
    shop.pass(MAX);
    assert_eq!(answers(&mut shop), ["-HOLDTIMEOUT"; 3]);
    shop.serve(3);
    shop.settle();
    shop.say(0, &["SET b", "EXEC"]);
    assert_eq!(answers(&mut shop), [":7", "-ERR"]);
}

#[test]
fn of_refused_commands_only_the_one_behind_skip_is_not_answered() {
    let mut shop = shop();
    shop.hold(2);
    shop.say(0, &["CLIENT REPLY SKIP", "GET 1", "GET 2"]);
    shop.pass(MAX);
    assert_eq!(answers(&mut shop), ["-HOLDTIMEOUT"]);
    shop.serve(3);
    shop.settle();
    shop.say(0, &["SET b"]);
    assert_eq!(answers(&mut shop), [":7"]);
}

#[test]
fn a_request_not_to_be_answered_that_is_itself_refused_has_no_effect() {
    for (asked, heard) in [
        (&["GET 1", "CLIENT REPLY SKIP", "GET 2"][..], 3),
        (&["GET 1", "CLIENT REPLY OFF", "GET 2"], 3),
        (&["CLIENT REPLY SKIP", "GET 1", "CLIENT REPLY SKIP"], 1),
    ] {
        let mut shop = shop();
        shop.hold(2);
        shop.say(0, asked);
        shop.pass(MAX);
        assert_eq!(answers(&mut shop), vec!["-HOLDTIMEOUT"; heard], "{asked:?}");
        shop.serve(3);
        shop.settle();
        shop.say(0, &["SET b", "SET b"]);
        assert_eq!(answers(&mut shop), [":7", ":7"], "{asked:?}");
    }
    for wrong in ["CLIENT REPLY OFF x", "CLIENT REPLY SKIP x", "CLIENT REPLY", "CLIENT REPLY MAYBE"] {
        let mut shop = shop();
        shop.say(0, &[wrong, "SET b"]);
        assert_eq!(answers(&mut shop), ["-ERR", ":7"], "{wrong}");
    }
    let mut shop = shop();
    shop.say(0, &["CLIENT REPLY OFF", "CLIENT REPLY ON x", "SET b"]);
    assert_eq!(shop.heard(0), "");
}

#[test]
fn skip_behind_skip_is_about_the_command_behind_both() {
    let mut shop = shop();
    shop.say(0, &["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "SET b", "GET 1"]);
    assert_eq!(answers(&mut shop), ["$1", "x"]);
}

#[test]
fn who_hears_nothing_can_have_answers_again_while_its_commands_are_refused() {
    let mut shop = shop();
    shop.say(0, &["CLIENT REPLY OFF"]);
    shop.hold(2);
    shop.say(0, &["SET b", "CLIENT REPLY ON", "SET b"]);
    shop.pass(MAX);
    assert_eq!(answers(&mut shop), ["+OK", "-HOLDTIMEOUT"]);
    shop.serve(3);
    shop.settle();
    shop.say(0, &["SET b"]);
    assert_eq!(answers(&mut shop), [":7"]);
}

#[test]
fn what_follows_upon_a_refused_multi_was_not_part_of_a_transaction_if_it_is_lost() {
    let mut shop = shop();
    shop.say(0, &["WATCH a"]);
    shop.stalled = true;
    shop.say(0, &["MULTI x", "SET a"]);
    shop.heard(0);
    shop.reply("-ERR wrong number of arguments\r\n");
    shop.lose();
    shop.serve(2);
    shop.stalled = false;
    shop.settle();
    assert_eq!(answers(&mut shop), ["-ERR", "-UNKNOWNOUTCOME"]);
}

#[test]
fn a_request_that_is_too_long_is_refused_behind_the_replies_under_way() {
    let mut shop = Shop::new(1, EndpointLimits { request_bytes_max: 1000, ..EndpointLimits::default() });
    shop.say(0, &["GET 1"]);
    shop.heard(0);
    shop.stalled = true;
    shop.say(0, &["GET 1"]);
    let long = format!("*2\r\n$3\r\nGET\r\n$5000\r\n{}", "x".repeat(2000));
    shop.core.client_read(shop.clients[0], long.as_bytes());
    shop.settle();
    assert_eq!(shop.heard(0), "");
    shop.stalled = false;
    shop.settle();
    let heard = shop.heard(0);
    assert!(heard.starts_with("$1\r\nx\r\n-ERR Protocol error: the request is longer"), "{heard}");
    assert_eq!(shop.heard(0), "closed");
}

#[test]
fn who_heard_that_its_transaction_was_refused_may_begin_another_one_or_none() {
    for first in ["MULTI", "SET b"] {
        let mut shop = shop();
        shop.hold(2);
        shop.say(0, &["MULTI"]);
        shop.pass(MAX);
        assert_eq!(answers(&mut shop), ["-HOLDTIMEOUT"]);
        shop.serve(3);
        shop.settle();
        if first == "SET b" {
            shop.say(0, &["SET b"]);
            assert_eq!(answers(&mut shop), ["-ERR"]);
            shop.pass(Duration::from_secs(1));
        }
        shop.say(0, &[first]);
        assert_eq!(answers(&mut shop), [":7"], "{first}");
    }
}

#[test]
fn a_client_that_always_has_something_begun_is_not_one_that_does_not_end_it() {
    let request_timeout = Duration::from_secs(60);
    let mut shop = Shop::new(1, EndpointLimits { request_timeout, ..EndpointLimits::default() });
    let (begin, end) = (b"*1\r\n$4\r\nPI", b"NG\r\n");
    shop.core.client_read(shop.clients[0], begin);
    for _ in 0..5 {
        shop.pass(request_timeout / 2);
        shop.core.client_read(shop.clients[0], &[&end[..], &begin[..]].concat());
        shop.settle();
        assert_eq!(shop.heard(0), "+PONG\r\n");
    }
    shop.pass(request_timeout);
    assert_eq!(shop.heard(0), "closed");
}
