//! The client and the writers, against stock Sentinel: whoever measures Backstay with them measures Sentinel with the
//! same code.

use backstay_lab::load::checker::{Expected, missing};
use backstay_lab::load::light::{LightWriter, key};
use backstay_lab::stack::stock::StockStack;
use backstay_lab::wait::wait_until;
use nix::sys::signal::Signal;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_client_follows_a_stock_sentinel_failover_and_loses_nothing() {
    let stack = StockStack::watched(Duration::from_millis(300)).unwrap();
    let writer = LightWriter::start(stack.client(), "test");
    wait_until("the first writes", LIMIT, || (writer.record().lock().acks.len() > 20).then_some(())).unwrap();

    let old = stack.instance("r1").unwrap().address();
    let at = stack.signal("r1", Signal::SIGKILL).unwrap();
    let first = wait_until("a write elsewhere", LIMIT, || writer.record().lock().first_elsewhere(old, at.at))
        .unwrap();
    let record = writer.stop();

    assert_ne!(first.server, old);
    assert!(record.errors_total() > 0);
    let expected: Vec<_> = record
        .acks
        .iter()
        .map(|ack| Expected { key: key("test", ack.number), value: Some(ack.number.to_string()) })
        .collect();
    assert!(expected.len() > 20);
    assert_eq!(missing(first.server, &expected).unwrap(), Vec::<String>::new());
}
