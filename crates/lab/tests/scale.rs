//! The scale benchmark, small: real controllers take the fake instances for Redis, and fail over those that vanish.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

use backstay_lab::bench::scale::{ScaleOptions, scale};
use std::time::Duration;

#[test]
fn a_third_of_the_fake_groups_is_failed_over_and_no_other() {
    let options =
        ScaleOptions { groups: 6, calm: Duration::ZERO, measured: Duration::from_millis(1), backstay: None };
    let report = serde_json::to_value(scale(&options, |_| {}).unwrap()).unwrap();
    assert_eq!(
        (&report["bench"], &report["groups"], &report["failovers"]),
        (&"scale".into(), &6.into(), &2.into())
    );
    assert!(report["failover_all_ms"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["rss_mib"].as_f64().unwrap() > 1.0, "{report}");
}
