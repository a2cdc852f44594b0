//! What no real server can be made to show within a test.

use super::checks::{CHECKS, Group, Patient, examine};
use super::finding::{Severity, account, literal};
use super::look::{Seen, Variable};
use backstay_config::Config;
use backstay_model::ServiceSpec;
use std::collections::BTreeMap;

fn service() -> ServiceSpec {
    let text = "cluster = \"t\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nsentinel = \"off\"\n[[mariadb]]\n\
                name = \"orders\"\nusername = \"b\"\npassword_env = \"P\"\ninstances = [\n\
                { name = \"m1\", address = \"127.0.0.1:3\" }, { name = \"m2\", address = \"127.0.0.1:4\" } ]\n";
    Config::parse("t", text).expect("a right file").spec.services.remove(0)
}

fn seen(service: &ServiceSpec, place: usize, variables: &[(&str, &str, &str)], clock: f64) -> Seen {
    let variable = |(name, value, origin): &(&str, &str, &str)| {
        let variable = Variable { value: (*value).to_owned(), origin: (*origin).to_owned() };
        ((*name).to_owned(), variable)
    };
    Seen {
        spec: service.instances[place].clone(),
        version: "10.11.1-MariaDB".to_owned(),
        account: "b@%".to_owned(),
        variables: variables.iter().map(variable).collect(),
        binlog_state: String::new(),
        slave_pos: String::new(),
        links: Some(if place == 0 { Vec::new() } else { vec![BTreeMap::new()] }),
        grants: super::grants::Grants::default(),
        replicator: None,
        powerful: Some(Vec::new()),
        unfit_tables: Some(0),
        clock: Some((clock, 0.1)),
    }
}

/// What is said of the second one about `check`.
fn told(
    check: &str,
    variables: &[(&str, &str, &str)],
    clock: f64,
    majority: bool,
) -> Vec<(Severity, String, Vec<String>)> {
    let service = service();
    let (first, second) = (seen(&service, 0, variables, 0.0), seen(&service, 1, variables, clock));
    let both = [&first, &second];
    let group =
        Group { service: &service, majority, events: false, seen: &both, replicator: "b", clients_max: None };
    let found = examine(&Patient { seen: &second, group: &group }).into_iter();
    let found = found.filter(|(it, _)| it.name == check);
    found.map(|(_, found)| (found.severity, found.what, found.file)).collect()
}

#[test]
fn clocks_that_differ_by_more_than_the_look_took_are_told_with_how_much() {
    let far = told("clock", &[], -2.5, false);
    assert_eq!(far[0].0, Severity::Warning);
    assert_eq!(far[0].1, "its clock is 2.5 s behind that of m1");
    assert!(told("clock", &[], 3.0, false)[0].1.contains("ahead of"));
    // Each of the two looks may be wrong by a tenth of a second.
    assert!(told("clock", &[], 1.15, false).is_empty());
}

#[test]
fn what_may_be_lost_on_a_crash_of_the_host_weighs_more_where_nothing_may_be_lost() {
    for (name, value) in [("sync_binlog", "0"), ("innodb_flush_log_at_trx_commit", "2")] {
        let variables = [(name, value, "CONFIG")];
        assert_eq!(told(name, &variables, 0.0, false)[0].0, Severity::Warning);
        assert_eq!(told(name, &variables, 0.0, true)[0].0, Severity::Error);
    }
}

#[test]
fn what_is_right_by_a_statement_alone_is_a_note_with_the_line_and_from_the_file_it_is_nothing() {
    let by = |origin| told("slave_net_timeout", &[("slave_net_timeout", "5", origin)], 0.0, false);
    assert_eq!(
        (by("SQL")[0].0, &*by("SQL")[0].2),
        (Severity::Note, &["slave_net_timeout = 5".to_owned()][..])
    );
    assert!(by("CONFIG").is_empty() && by("COMPILE-TIME").is_empty());
    // No file says it, and a restart would show that too late.
    let boot = |value, origin| told("boot", &[("read_only", value, origin)], 0.0, false)[0].0;
    assert_eq!(boot("OFF", "COMPILE-TIME"), Severity::Error);
    assert_eq!(boot("OFF", "CONFIG"), Severity::Error);
    assert_eq!(boot("ON", "SQL"), Severity::Note);
    assert_eq!(boot("ON", "CONFIG"), Severity::Note);
}

#[test]
fn every_check_has_a_name_of_its_own_and_says_why() {
    let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| check.why.len() > 10));
}

#[test]
fn names_and_texts_cannot_leave_their_place_in_a_statement() {
    assert_eq!(account("o'x`y@10.%"), "`o'x``y`@`10.%`");
    assert_eq!(account("a@b@h"), "`a@b`@`h`");
    assert_eq!(literal("x'; DROP \\"), "'x''; DROP \\\\'");
}
