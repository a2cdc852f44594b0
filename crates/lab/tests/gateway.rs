//! The gateway benchmark itself: every generator against a real server, and a gateway that does not start.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

use backstay_lab::Result;
use backstay_lab::bench::Progress;
use backstay_lab::bench::gateway::case::{Case, System};
use backstay_lab::bench::gateway::report::Report;
use backstay_lab::bench::gateway::{GatewayOptions, gateway};
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[derive(Default)]
struct Lines(Vec<String>);

impl Progress for Lines {
    fn begin(&mut self, _: usize) {}

    fn run(&mut self, _: &dyn Display) {}

    fn done(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

fn options(systems: &[System], cases: &[Case]) -> GatewayOptions {
    GatewayOptions {
        rounds: 1,
        round: Duration::from_millis(100),
        cases: cases.to_vec(),
        systems: systems.to_vec(),
        idle_clients: 0,
        runs: 0,
        faults: Vec::new(),
        backstay: None,
    }
}

fn measure(options: &GatewayOptions) -> (Result<Report>, Lines) {
    let mut lines = Lines::default();
    (gateway(options, &mut lines), lines)
}

#[test]
fn every_generator_measures_a_server_without_anything_in_between() {
    let cases = [Case::GetC50, Case::Set10k, Case::Connect, Case::ConnectAuth, Case::Latency10k];
    let (report, lines) = measure(&options(&[System::Direct], &cases));
    let report = report.unwrap();
    assert!(report.is_complete(), "{:?}", lines.0);
    assert_eq!(report.cases.iter().map(|row| row.case).collect::<Vec<_>>(), cases);
    for row in &report.cases {
        let figures = row.figures.unwrap();
        assert!(figures.ops > 0.0 && figures.p50_us > 0.0 && figures.p99_us >= figures.p50_us, "{row:?}");
        let own_connections = matches!(row.case, Case::Connect | Case::ConnectAuth);
        // Each operation was a connection at the server, and nobody else connected.
        assert_eq!(figures.server_connections_per_op, own_connections.then_some(1.0), "{row:?}");
        assert_eq!(row.ratio_to_direct, Some(1.0));
    }
}

#[test]
fn a_gateway_that_ends_at_its_start_is_named_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gateway");
    fs::write(&program, "#!/bin/sh\necho \"no route to the moon\"\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = GatewayOptions {
        backstay: Some(program),
        ..options(&[System::Direct, System::Backstay], &[Case::GetC50])
    };
    let (report, lines) = measure(&options);
    assert!(!report.unwrap().is_complete());
    let line = &lines.0[0];
    assert!(line.contains("FAILED: backstay") && line.contains("no route to the moon"), "{line}");
}
