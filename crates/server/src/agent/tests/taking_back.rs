//! What only an old primary changed is taken back, where that can be done.

use super::support::{Bed, ask, order, orders, until};
use backstay_lab::stack::mariadb::{application, status};
use backstay_model::{Method, Progress, Rebuild};

#[test]
fn rows_that_only_an_old_primary_changed_are_saved_and_taken_back_and_it_follows() {
    let bed = Bed::diverged(
        "INSERT INTO shop.orders (note) VALUES ('surplus'), ('surplus too'); \
         UPDATE shop.orders SET note='touched' WHERE note='common'; FLUSH BINARY LOGS; \
         DELETE FROM shop.orders WHERE note='surplus too'",
    );
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    let rebuild = bed.rebuild(Method::Auto, &donor);
    agent.order(Some(&rebuild), false);
    let (file, transactions) = agent.saved();
    assert_eq!(transactions, 3);
    let text = std::fs::read_to_string(file.unwrap()).unwrap();
    assert!(["'surplus'", "'surplus too'", "'touched'"].iter().all(|note| text.contains(note)), "{text}");
    assert!(!text.contains("after") && !text.contains("CREATE"), "{text}");
    let about = bed.saved("about.json");
    assert!(about.contains("\"shop.orders\"") && about.contains("\"transactions\": 3"), "{about}");
    assert!(!bed.old.answers());

    agent.order(Some(&rebuild), true);
    let (method, because) = agent.done();
    assert_eq!(method, Method::Flashback);
    assert_eq!(because, "all that only it held are 3 transactions of whole rows");
    assert_eq!(orders(&bed.old), ["common"]);
    bed.follows();
    bed.is_tidy();
}

#[test]
fn what_no_log_tells_row_by_row_is_copied_and_the_reason_is_told() {
    let cases = [
        ("ALTER TABLE shop.orders ADD COLUMN extra INT", "definition"),
        (
            "SET SESSION binlog_format=STATEMENT; INSERT INTO shop.orders (note) VALUES ('x')",
            "as a statement",
        ),
        (
            "SET SESSION binlog_row_image=MINIMAL; UPDATE shop.orders SET note='x' WHERE id=1",
            "only parts of rows",
        ),
    ];
    for (surplus, reason) in cases {
        let bed = Bed::diverged(surplus);
        let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
        agent.order(Some(&bed.rebuild(Method::Auto, &donor)), true);
        let (method, because) = agent.done();
        assert_eq!(method, Method::Copy, "{surplus}");
        assert!(because.contains(reason), "{because}");
        bed.follows();
        bed.is_tidy();
    }
}

#[test]
fn rows_under_a_cascading_key_are_not_taken_back_when_only_that_was_asked_for() {
    let bed = Bed::diverged("DO 1");
    ask(
        &bed.old,
        "SET SESSION sql_log_bin=0; CREATE TABLE shop.items (id INT PRIMARY KEY, of BIGINT, FOREIGN KEY (of) \
         REFERENCES shop.orders (id) ON DELETE CASCADE)",
    );
    order(&bed.old, "surplus");
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    agent.order(Some(&bed.rebuild(Method::Flashback, &donor)), true);
    let why = agent.failed();
    assert!(why.contains("a foreign key on shop.orders") && why.contains("Rebuild it by a copy"), "{why}");
    assert!(!matches!(agent.progress(), Some(Progress::Done { .. })));
}

#[test]
fn what_a_crash_cuts_off_needs_no_taking_back() {
    let bed = Bed::diverged("SET GLOBAL rpl_semi_sync_master_enabled=ON");
    // Written to the log and acknowledged by nobody: the recovery of a server that comes back as a replica cuts it off.
    let mut shop = bed.old.connect_as(&application()).unwrap();
    let waiting = std::thread::spawn(move || shop.ask("INSERT INTO shop.orders (note) VALUES ('waits')"));
    until("it waits", || status(&bed.old, "Rpl_semi_sync_master_wait_sessions").unwrap() == "1");
    bed.group.kill("m1").unwrap();
    assert!(waiting.join().unwrap().is_err());
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    let rebuild = bed.rebuild(Method::Auto, &donor);
    agent.order(Some(&rebuild), false);
    let (file, transactions) = agent.saved();
    assert_eq!(transactions, 1);
    assert!(std::fs::read_to_string(file.unwrap()).unwrap().contains("'waits'"));
    agent.order(Some(&rebuild), true);
    let (method, because) = agent.done();
    assert_eq!(
        (method, because.as_str()),
        (Method::Flashback, "its own recovery had cut off all that only it held")
    );
    bed.follows();
}

#[test]
fn what_cannot_be_taken_back_after_all_is_copied() {
    // A row that the log knows and the table does not.
    let bed = Bed::diverged(
        "INSERT INTO shop.orders (note) VALUES ('surplus'); SET SESSION sql_log_bin=0; \
         DELETE FROM shop.orders WHERE note='surplus'",
    );
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    agent.order(Some(&bed.rebuild(Method::Auto, &donor)), true);
    assert_eq!(agent.done(), (Method::Copy, "the flashback failed".to_owned()));
    bed.follows();
    bed.is_tidy();
}

#[test]
fn an_instance_that_holds_nothing_of_its_own_is_copied() {
    let bed = Bed::diverged("SET SESSION sql_log_bin=0; INSERT INTO shop.orders (note) VALUES ('in no log')");
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    let rebuild = bed.rebuild(Method::Auto, &donor);
    agent.order(Some(&rebuild), false);
    assert_eq!(agent.saved(), (None, 0));
    agent.order(Some(&rebuild), true);
    let (method, because) = agent.done();
    assert!(method == Method::Copy && because.contains("nothing that others have not"), "{because}");
    bed.follows();
}

#[test]
fn what_was_partly_taken_back_is_neither_started_nor_taken_back_again() {
    let bed = Bed::diverged("INSERT INTO shop.orders (note) VALUES ('surplus')");
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    let marker = bed.rescue(&bed.old).join("orders-m1.partly-taken-back");
    std::fs::write(&marker, "").unwrap();
    agent.order(Some(&bed.rebuild(Method::Flashback, &donor)), true);
    let why = agent.failed();
    assert!(why.contains("cut in the middle") && bed.old.answers(), "{why}");
    let second = Rebuild { number: 2, ..bed.rebuild(Method::Auto, &donor) };
    agent.order(Some(&second), false);
    until("it is saved", || matches!(agent.progress(), Some(Progress::Saved { .. })));
    agent.order(None, false);
    let why = agent.failed();
    assert!(why.contains("not started") && why.contains("partly taken back") && !bed.old.answers(), "{why}");
    let third = Rebuild { number: 3, ..second };
    agent.order(Some(&third), true);
    until("it is done", || matches!(agent.progress(), Some(Progress::Done { .. })));
    assert_eq!(agent.done(), (Method::Copy, "an earlier flashback was cut in the middle".to_owned()));
    assert!(!marker.exists());
    bed.follows();
}
