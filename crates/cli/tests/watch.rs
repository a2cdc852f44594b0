//! The live picture, on a real terminal.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use support::group::{Group, until};
use support::run;
use support::terminal::Terminal;

/// Leaves the alternate screen, with a cursor.
const GIVEN_BACK: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn a_failover_is_seen_live_and_the_terminal_is_given_back() {
    let group = Group::up();
    let primary = group.named_primary();
    let mut watch = group.on_terminal(&["watch", "mymaster"]);
    watch.await_text("cluster lab");
    watch.await_text(&format!("clients go to {}", primary.name));
    group.fault(Fault::Kill, &primary.name).unwrap();
    watch.await_text(&format!("mymaster, epoch 2: {} to ", primary.name));
    watch.await_text("clients go to r");
    watch.await_text("first\u{a0}write");
    assert!(!watch.raw().contains(GIVEN_BACK));
    watch.press("q");
    assert_eq!(watch.end(), Some(0));
    until("the terminal back", || watch.raw().contains(GIVEN_BACK).then_some(()));

    // The others are asked when one is lost, and Ctrl-C leaves, too.
    let mut watch = group.on_terminal(&["watch", "mymaster"]);
    watch.await_text("as a sees it");
    group.fault(Fault::Kill, "a").unwrap();
    watch.await_text("a was lost");
    watch.press("\u{3}");
    assert_eq!(watch.end(), Some(0));

    let mut refused = group.on_terminal(&["watch", "mymastr"]);
    assert_eq!(refused.end(), Some(1));
    refused.await_text("did you mean mymaster?");
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(folder.path(), &["watch"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("`backstay events --follow`"), "{refused:?}");
    // A terminal alone is not enough.
    let mut nobody = Terminal::run(folder.path(), &["watch"]);
    assert_eq!(nobody.end(), Some(4));
    nobody.await_text("no controller was named");
}
