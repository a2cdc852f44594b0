//! Real binary logs, whole and damaged.

use super::support::{ask, order};
use crate::agent::binlog::{base, scan};
use crate::agent::gtid::GtidState;
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::MariaDbGroup;
use std::fs;

#[test]
fn a_log_is_read_to_its_last_whole_transaction_and_damage_is_no_crash() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = &group.instances()[0];
    order(server, "one");
    let known = GtidState::read(&server.value("SELECT @@gtid_binlog_state").unwrap()).unwrap();
    ask(server, "FLUSH BINARY LOGS");
    order(server, "two");
    ask(server, "UPDATE shop.orders SET note='three'; CREATE TABLE shop.other (id INT)");
    let whole = GtidState::read(&server.value("SELECT @@gtid_binlog_state").unwrap()).unwrap();
    let path = server.data().join("binlog.000002");
    let found = scan(&path, &known).unwrap();
    assert_eq!((found.transactions, &found.base, &found.after), (3, &known, &whole));
    assert_eq!((found.before.as_ref(), found.runs.len(), found.torn), (Some(&known), 1, false));
    assert!(found.lasting.is_some() && found.tables.contains(&("shop".to_owned(), "orders".to_owned())));
    assert_eq!(base(&path).unwrap(), known);
    assert_eq!(scan(&path, &whole).unwrap().transactions, 0);
    let all = scan(&server.data().join("binlog.000001"), &GtidState::default()).unwrap();
    assert_eq!((all.after, all.base), (known.clone(), GtidState::default()));

    let bytes = fs::read(&path).unwrap();
    let damaged = group.dir().join("damaged");
    let mut torn = 0;
    for length in 0..bytes.len() {
        fs::write(&damaged, &bytes[..length]).unwrap();
        let cut = scan(&damaged, &known).unwrap();
        assert!(cut.transactions <= 3 && cut.runs.iter().all(|run| run.end <= length as u64), "{length}");
        torn += u32::from(cut.torn);
    }
    assert!(torn > 0);
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0xff;
        fs::write(&damaged, &other).unwrap();
        // Whatever it is taken for.
        let _ = (scan(&damaged, &known), base(&damaged));
    }
}
