//! What people see, as they see it.

use super::{EventLine, Picture, event_line, explanation, history, watch};
use crate::output::Paint;
use backstay_model::{
    Address, CandidateStatus, ClusterStatus, ControllerStatus, EngineKind, Epoch, Explanation,
    FailoverRecord, FailoverStatus, GatewayLoad, GatewayStatus, InstanceStatus, LeaseStatus, LostWrites,
    MemberRole, Moments, PauseStatus, PrimaryOrder, ProblemStatus, ReplOffset, ServiceStatus, Severity, Term,
    Unit, UnixMicros,
};

const MOMENT: UnixMicros = UnixMicros(1_795_235_922_123_456);

fn address(port: u16) -> Address {
    Address { host: "10.0.0.1".into(), port }
}

fn instance(name: &str, port: u16, role: &str) -> InstanceStatus {
    InstanceStatus {
        name: name.into(),
        address: address(port),
        site: "fra".into(),
        zone: format!("fra-{name}"),
        priority: 100,
        role: role.into(),
        health: "up".into(),
        suspected: false,
        run_id: Some("f00".into()),
        version: Some("7.0.15".into()),
        offset: Some(ReplOffset(40_000)),
        lag_bytes: Some(0),
        link_up: (role == "replica").then_some(true),
        in_sync: true,
        closed: false,
    }
}

fn cluster() -> ClusterStatus {
    let controller = |name: &str, connected| ControllerStatus {
        name: name.into(),
        address: address(7600),
        connected,
        leader: name == "a",
        certificate_expires: None,
        member: MemberRole::Voter,
        protocol: Some(2),
    };
    let lagging = InstanceStatus {
        health: "late to answer".into(),
        lag_bytes: Some(123_456),
        link_up: Some(false),
        in_sync: false,
        ..instance("r2", 6380, "replica")
    };
    let dead = InstanceStatus {
        health: "refuses connections".into(),
        suspected: true,
        ..instance("r3", 6381, "primary")
    };
    ClusterStatus {
        cluster: "shop".into(),
        node: "b".into(),
        leader: Some("a".into()),
        term: Term(3),
        quorum: true,
        controllers: vec![controller("a", true), controller("b", true), controller("c", false)],
        level: 2,
        gateways: Vec::new(),
        problems: Vec::new(),
        services: vec![ServiceStatus {
            name: "mymaster".into(),
            engine: EngineKind::Redis,
            unit: Unit::Bytes,
            durability: None,
            epoch: Epoch(2),
            phase: "stable".into(),
            primary: Some("r1".into()),
            address: Some(address(6379)),
            paused: Some(PauseStatus { until: MOMENT, by: "ada".into() }),
            rebuilds: Vec::new(),
            instances: vec![instance("r1", 6379, "primary"), lagging, dead],
            problems: vec![problem(Severity::Error, "Stuck"), problem(Severity::Warning, "ReplicaDown")],
        }],
    }
}

fn problem(severity: Severity, code: &str) -> ProblemStatus {
    ProblemStatus {
        code: code.into(),
        severity,
        sentence: "r3 does not answer; start it or mend its network".into(),
    }
}

/// The same of a MariaDB.
fn orders() -> ClusterStatus {
    let mut cluster = cluster();
    let service = &mut cluster.services[0];
    (service.name, service.engine, service.unit) = ("orders".into(), EngineKind::MariaDb, Unit::Transactions);
    service.durability = Some("majority".into());
    cluster
}

fn failover() -> FailoverStatus {
    FailoverStatus { record: record(), engine: EngineKind::Redis, unit: Unit::Bytes }
}

fn record() -> FailoverRecord {
    let at = |micros| Some(UnixMicros(MOMENT.0 + micros));
    FailoverRecord {
        service: "mymaster".into(),
        epoch: Epoch(2),
        from: Some("r3".into()),
        to: Some("r1".into()),
        cause: "2 controllers found its port closed".into(),
        choice: "2 instances received equally much, and it is preferred".into(),
        moments: Moments {
            suspected: at(0),
            verdict: at(900),
            committed: at(2100),
            paused: None,
            fenced: at(5300),
            promoted: at(1_006_850),
            routed: None,
            first_write: None,
        },
        lost: Vec::new(),
        planned: false,
    }
}

fn status(status: &ClusterStatus, paint: Paint) -> String {
    super::status(status, paint, usize::MAX)
}

#[test]
fn status_shows_what_each_gateway_may_do_and_is_busy_with() {
    let service = |name: &str, told, lease_ms| LeaseStatus {
        service: name.into(),
        epoch: Epoch(2),
        told,
        holds: lease_ms == 0,
        lease_ms,
    };
    let serve = || PrimaryOrder::Serve(address(6379));
    let gateway = |name: &str, process, services| GatewayStatus {
        name: name.into(),
        process,
        registered: true,
        connected: true,
        services,
        load: GatewayLoad::default(),
    };
    let load = GatewayLoad {
        clients: 900,
        backends: 4,
        held: 12,
        commands: 1_234_567,
        refused: 3,
        ..GatewayLoad::default()
    };
    let busy = GatewayStatus {
        load: GatewayLoad { unknown: 2, ..load },
        ..gateway("app1", 7, vec![service("a", serve(), 391), service("b", PrimaryOrder::Hold, 0)])
    };
    let lost = GatewayStatus { connected: false, ..gateway("app2", 8, vec![service("a", serve(), 120)]) };
    let new = GatewayStatus { registered: false, ..gateway("app3", 9, Vec::new()) };
    let drains = gateway("app4", 10, vec![service("a", PrimaryOrder::Drain, 12)]);
    let gateways = vec![busy, lost, new, drains, gateway("app5", 11, vec![service("a", serve(), 400)])];
    let status = ClusterStatus { gateways, ..cluster() };
    insta::assert_snapshot!(super::gateways::gateways(&status, Paint::Plain, usize::MAX), @r"
    gateway  process   state                   lease   clients  backends  held  commands  refused  unknown
    app1     00000007  serves 1 of 2 services  391 ms  900      4         12    1234567   3        2
    app2     00000008  not connected           120 ms  0        0         0     0         0        0
    app3     00000009  waits to be registered  -       0        0         0     0         0        0
    app4     0000000a  drains                  12 ms   0        0         0     0         0        0
    app5     0000000b  serves                  400 ms  0        0         0     0         0        0
    ");
}

#[test]
fn status_shows_who_leads_where_clients_go_and_what_is_wrong() {
    insta::assert_snapshot!(status(&cluster(), Paint::Plain), @r"
    cluster shop: a leads (term 3), quorum with 2 of 3 controllers (as b sees it)

      controller  address        state         member
      a           10.0.0.1:7600  leads         voter
      b           10.0.0.1:7600  connected     voter
      c           10.0.0.1:7600  not heard of  voter

    mymaster: stable in epoch 2, clients go to r1 at 10.0.0.1:6379
    paused until 2026-11-21 04:38:42.123 UTC by ada: nothing automatic happens

      instance  address        place       role         health               offset  lag        link  in sync
      r1        10.0.0.1:6379  fra/fra-r1  primary      up                   40000   -          -     yes
      r2        10.0.0.1:6380  fra/fra-r2  replica      late to answer       40000   120.6 KiB  down  no
      r3        10.0.0.1:6381  fra/fra-r3  was primary  refuses connections  40000   -          -     -

      error Stuck: r3 does not answer; start it or mend its network
      warning ReplicaDown: r3 does not answer; start it or mend its network
    ");
}

#[test]
fn status_without_a_quorum_warns_that_it_may_be_old() {
    let mut cluster = cluster();
    cluster.quorum = false;
    cluster.leader = None;
    cluster.services[0].primary = None;
    cluster.services[0].instances.clear();
    cluster.services[0].problems.clear();
    cluster.services[0].paused = None;
    insta::assert_snapshot!(status(&cluster, Paint::Plain), @r"
    cluster shop: nobody leads, no quorum with 2 of 3 controllers: nothing is acted on, and what follows may be old (as b sees it)

      controller  address        state         member
      a           10.0.0.1:7600  leads         voter
      b           10.0.0.1:7600  connected     voter
      c           10.0.0.1:7600  not heard of  voter

    mymaster: stable in epoch 2, no primary now; clients are still told 10.0.0.1:6379

      instance  address  role  health  offset  lag  link  in sync
    ");
}

#[test]
fn history_shows_each_failover_in_milliseconds_after_the_first_suspicion() {
    let lost = vec![LostWrites { instance: "r3".into(), bytes: Some(2048) }];
    let lossy = FailoverStatus { record: FailoverRecord { lost, ..record() }, ..failover() };
    insta::assert_snapshot!(history(&[failover(), lossy], Paint::Plain), @r"
    mymaster, epoch 2: r3 to r1  2026-11-21 04:38:42.123 UTC
      because  2 controllers found its port closed
      choice   2 instances received equally much, and it is preferred
      lost     nothing that is known of

      moment       after
      suspected          0.0 ms
      verdict            0.9 ms
      committed          2.1 ms
      fenced             5.3 ms
      promoted        1006.9 ms
      routed               -
      first write          -

    mymaster, epoch 2: r3 to r1  2026-11-21 04:38:42.123 UTC
      because  2 controllers found its port closed
      choice   2 instances received equally much, and it is preferred
      lost     2.0 KiB of writes on r3

      moment       after
      suspected          0.0 ms
      verdict            0.9 ms
      committed          2.1 ms
      fenced             5.3 ms
      promoted        1006.9 ms
      routed               -
      first write          -
    ");
    insta::assert_snapshot!(history(&[], Paint::Plain), @"there was no failover yet");
}

#[test]
fn what_may_be_lost_and_cannot_be_counted_is_said_and_null_in_json() {
    let lost = vec![
        LostWrites { instance: "r3".into(), bytes: Some(2048) },
        LostWrites { instance: "r2".into(), bytes: None },
    ];
    let record = FailoverRecord { lost, ..record() };
    let told = FailoverStatus { record: record.clone(), ..failover() };
    let shown = history(std::slice::from_ref(&told), Paint::Plain);
    let expected = "lost     2.0 KiB of writes on r3, perhaps writes on r2: how many cannot be told\n";
    assert!(shown.contains(expected), "{shown}");
    let json = serde_json::to_string(&record).unwrap();
    assert!(json.contains(r#"{"instance":"r2","bytes":null}"#), "{json}");
    assert_eq!(serde_json::from_str::<FailoverRecord>(&json).unwrap(), record);
    let json = serde_json::to_string(&told).unwrap();
    assert!(json.contains(r#"{"instance":"r2","bytes":null}"#), "{json}");
    assert_eq!(serde_json::from_str::<FailoverStatus>(&json).unwrap(), told);
}

#[test]
fn explain_shows_who_would_win_and_why_the_others_would_not() {
    let candidate = |name: &str, eligible, lag_bytes, reason: &str| CandidateStatus {
        instance: name.into(),
        eligible,
        lag_bytes,
        reason: reason.into(),
    };
    let explained = Explanation {
        service: "mymaster".into(),
        engine: EngineKind::Redis,
        unit: Unit::Bytes,
        node: "a".into(),
        verdict: "no failover: 0 of 3 controllers hold the primary r1 to be down, 2 would be needed".into(),
        opinions: vec![("a".into(), "up".into()), ("b".into(), "silent".into())],
        winner: Some("r2".into()),
        would_lose_bytes: Some(1536),
        candidates: vec![
            candidate("r2", true, Some(1536), "is 1536 bytes behind"),
            candidate("r3", false, None, "cannot be chosen: refuses connections"),
        ],
        problems: vec![problem(Severity::Warning, "ReplicaDown")],
    };
    insta::assert_snapshot!(explanation(&explained, Paint::Plain), @r"
    mymaster: no failover: 0 of 3 controllers hold the primary r1 to be down, 2 would be needed (as a sees it)
    if the primary failed now, r2 would win and about 1.5 KiB would be lost

      controller  sees the primary
      a           up
      b           silent

      candidate  eligible  behind   because it
      r2         yes       1.5 KiB  is 1536 bytes behind
      r3         no        -        cannot be chosen: refuses connections

      warning ReplicaDown: r3 does not answer; start it or mend its network
    ");
}

#[test]
fn colours_are_only_around_the_words() {
    let painted = status(&cluster(), Paint::Colours);
    assert!(painted.contains("\u{1b}["));
    assert_ne!(painted, status(&cluster(), Paint::Plain));
}

#[test]
fn status_on_a_narrow_terminal_does_without_the_least_important_columns() {
    insta::assert_snapshot!(super::status(&cluster(), Paint::Plain, 80), @"
    cluster shop: a leads (term 3), quorum with 2 of 3 controllers (as b sees it)

      controller  address        state         member
      a           10.0.0.1:7600  leads         voter
      b           10.0.0.1:7600  connected     voter
      c           10.0.0.1:7600  not heard of  voter

    mymaster: stable in epoch 2, clients go to r1 at 10.0.0.1:6379
    paused until 2026-11-21 04:38:42.123 UTC by ada: nothing automatic happens

      instance  address        role         health               lag        in sync
      r1        10.0.0.1:6379  primary      up                   -          yes
      r2        10.0.0.1:6380  replica      late to answer       120.6 KiB  no
      r3        10.0.0.1:6381  was primary  refuses connections  -          -

      error Stuck: r3 does not answer; start it or mend its network
      warning ReplicaDown: r3 does not answer; start it or mend its network
    ");
    insta::assert_snapshot!(super::status(&cluster(), Paint::Plain, 40), @"
    cluster shop: a leads (term 3), quorum with 2 of 3 controllers (as b sees it)

      controller  address        state         member
      a           10.0.0.1:7600  leads         voter
      b           10.0.0.1:7600  connected     voter
      c           10.0.0.1:7600  not heard of  voter

    mymaster: stable in epoch 2, clients go to r1 at 10.0.0.1:6379
    paused until 2026-11-21 04:38:42.123 UTC by ada: nothing automatic happens

      instance  role         health               lag
      r1        primary      up                   -
      r2        replica      late to answer       120.6 KiB
      r3        was primary  refuses connections  -

      error Stuck: r3 does not answer; start it or mend its network
      warning ReplicaDown: r3 does not answer; start it or mend its network
    ");
}

fn event(severity: &str, sentence: &str) -> EventLine {
    let line = serde_json::json!({
        "at": MOMENT, "seen_by": "b", "service": "mymaster", "severity": severity, "sentence": sentence,
        "kind": "unheard_of", "more": 1,
    });
    serde_json::from_value(line).unwrap()
}

#[test]
fn an_event_is_one_line() {
    insta::assert_snapshot!(event_line(&event("info", "r2 answers here again"), Paint::Plain), @"2026-11-21 04:38:42.123  b  mymaster: r2 answers here again");
}

fn picture() -> Picture {
    let mut running = failover();
    (running.record.moments.fenced, running.record.moments.promoted) = (None, None);
    let sentence = "r3 (10.0.0.1:6381) refuses connections, as seen from here";
    let mut given_up = running.clone();
    given_up.record.epoch = Epoch(1);
    let mut status = cluster();
    status.services[0].phase = "promoting".into();
    Picture {
        status: Some(status),
        history: vec![given_up, running],
        events: (0..9).map(|_| event("warning", sentence)).collect(),
        trouble: Some("no controller answers".to_owned()),
    }
}

#[test]
fn watch_shows_the_status_the_running_failover_and_the_last_events() {
    insta::assert_snapshot!(watch(&picture(), MOMENT, (80, 36), Paint::Plain).join("\n"), @"
    this may be old: no controller answers
    cluster shop: a leads (term 3), quorum with 2 of 3 controllers (as b sees it)

      controller  address        state         member
      a           10.0.0.1:7600  leads         voter
      b           10.0.0.1:7600  connected     voter
      c           10.0.0.1:7600  not heard of  voter

    mymaster: promoting in epoch 2, clients go to r1 at 10.0.0.1:6379
    paused until 2026-11-21 04:38:42.123 UTC by ada: nothing automatic happens

      instance  address        role         health               lag        in sync
      r1        10.0.0.1:6379  primary      up                   -          yes
      r2        10.0.0.1:6380  replica      late to answer       120.6 KiB  no
      r3        10.0.0.1:6381  was primary  refuses connections  -          -

      error Stuck: r3 does not answer; start it or mend its network
      warning ReplicaDown: r3 does not answer; start it or mend its network

    mymaster, epoch 2: r3 to r1, because 2 controllers found its port closed
      suspected 0.0 ms  verdict 0.9 ms  committed 2.1 ms

    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here

    q leaves
    ");
    insta::assert_snapshot!(watch(&picture(), MOMENT, (80, 24), Paint::Plain).join("\n"), @"
    this may be old: no controller answers
    cluster shop: a leads (term 3), quorum with 2 of 3 controllers (as b sees it)

    mymaster: promoting in epoch 2, clients go to r1 at 10.0.0.1:6379
    paused until 2026-11-21 04:38:42.123 UTC by ada: nothing automatic happens

      instance  address        role         health               lag        in sync
      r1        10.0.0.1:6379  primary      up                   -          yes
      r2        10.0.0.1:6380  replica      late to answer       120.6 KiB  no
      r3        10.0.0.1:6381  was primary  refuses connections  -          -

      error Stuck: r3 does not answer; start it or mend its network
      warning ReplicaDown: r3 does not answer; start it or mend its network

    mymaster, epoch 2: r3 to r1, because 2 controllers found its port closed
      suspected 0.0 ms  verdict 0.9 ms  committed 2.1 ms

    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    04:38:42.123  b  mymaster: r3 (10.0.0.1:6381) refuses connections, as seen from
        here
    q leaves
    ");
    insta::assert_snapshot!(watch(&Picture::default(), MOMENT, (80, 4), Paint::Plain).join("\n"), @"
    asking the controllers


    q leaves
    ");
}

#[test]
fn watch_fits_on_every_terminal() {
    for size in [(0, 0), (1, 1), (20, 5), (40, 10), (80, 24), (300, 100)] {
        let lines = watch(&picture(), MOMENT, size, Paint::Colours);
        assert_eq!(lines.len(), size.1);
        let widest = lines.iter().map(|line| super::fold::width(line)).max().unwrap_or(0);
        assert!(widest <= size.0.max(70), "{size:?}: {widest}");
    }
}

#[test]
fn of_a_mariadb_the_engine_is_named_and_transactions_are_counted() {
    let mut shown = super::status(&orders(), Paint::Plain, 80);
    let candidate = |lag_bytes, reason: &str| CandidateStatus {
        instance: "r2".into(),
        eligible: true,
        lag_bytes: Some(lag_bytes),
        reason: reason.into(),
    };
    let explained = Explanation {
        service: "orders".into(),
        engine: EngineKind::MariaDb,
        unit: Unit::Transactions,
        node: "a".into(),
        verdict: "orders has no primary yet".into(),
        opinions: Vec::new(),
        winner: Some("r2".into()),
        would_lose_bytes: Some(1536),
        candidates: vec![candidate(1536, "is 1536 transactions behind")],
        problems: Vec::new(),
    };
    let lost = [("r3", 2048), ("r2", 1)]
        .map(|(name, bytes)| LostWrites { instance: name.into(), bytes: Some(bytes) });
    let record = FailoverRecord { service: "orders".into(), lost: lost.into(), ..record() };
    let lossy = FailoverStatus { record, engine: EngineKind::MariaDb, unit: Unit::Transactions };
    for text in [explanation(&explained, Paint::Plain), history(&[lossy], Paint::Plain)] {
        shown.push('\n');
        shown.push_str(&text);
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn json_names_the_engine_and_the_unit_and_what_is_old_reads_as_redis() {
    let json = serde_json::to_value(orders()).unwrap();
    let service = &json["services"][0];
    assert_eq!((&service["engine"], &service["unit"]), (&"mariadb".into(), &"transactions".into()));
    assert_eq!(service["durability"], "majority");
    let json = serde_json::to_value(cluster()).unwrap();
    assert_eq!(json["services"][0].get("durability"), None);
    let record = serde_json::to_value(record()).unwrap();
    let told: FailoverStatus = serde_json::from_value(record.clone()).unwrap();
    assert_eq!(told, failover());
    let told = serde_json::to_value(told).unwrap();
    assert_eq!((&told["unit"], &told["lost"]), (&"bytes".into(), &record["lost"]));
}
