use super::*;
use std::time::Duration;

const LEASE: Duration = backstay_model::LEASE;

fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1000)
}

fn shop() -> ServiceName {
    "shop".into()
}

fn address(host: &str) -> Address {
    format!("{host}:6379").parse().unwrap()
}

fn serve(host: &str) -> PrimaryOrder {
    PrimaryOrder::Serve(address(host))
}

fn orders(answers: Option<u64>, epoch: u64, primary: PrimaryOrder) -> GatewayOrders {
    let told = ServiceOrders { service: shop(), epoch: Epoch(epoch), primary, readers: Vec::new() };
    GatewayOrders { answers, lease: LEASE, services: vec![told] }
}

/// Asked at 100 ms, and told to serve r1 in epoch 5: until 500 ms.
fn serving() -> Leases {
    let mut leases = Leases::default();
    leases.report(at(100), GatewayLoad::default());
    assert!(leases.told(at(100), orders(Some(1), 5, serve("r1"))));
    leases
}

fn served_by(leases: &Leases, now: u64) -> Option<String> {
    match leases.standing(&shop(), at(now)) {
        Some(Standing::Serve { primary, .. }) => Some(primary.host.to_string()),
        _ => None,
    }
}

fn holding(leases: &mut Leases, now: u64) -> Option<Epoch> {
    leases.report(at(now), GatewayLoad::default()).holding.get(&shop()).copied()
}

#[test]
fn a_lease_lasts_from_the_question_and_not_from_the_answer() {
    let leases = serving();
    assert_eq!(served_by(&leases, 499).as_deref(), Some("r1"));
    assert_eq!(leases.standing(&shop(), at(500)), Some(Standing::Hold { epoch: Epoch(5) }));
}

#[test]
fn nothing_is_served_of_which_nothing_was_said() {
    assert_eq!(serving().standing(&"other".into(), at(200)), None);
}

#[test]
fn an_answer_to_a_question_never_asked_or_long_forgotten_is_no_lease() {
    let mut leases = Leases::default();
    leases.told(at(100), orders(Some(1), 5, serve("r1")));
    assert_eq!(served_by(&leases, 0), None);
    for ms in 0..=ASKED_MAX as u64 {
        leases.report(at(ms), GatewayLoad::default());
    }
    leases.told(at(100), orders(Some(1), 5, serve("r1")));
    assert_eq!(served_by(&leases, 70), None);
    leases.told(at(100), orders(Some(2), 5, serve("r1")));
    assert_eq!(served_by(&leases, 70).as_deref(), Some("r1"));
}

#[test]
fn what_is_said_unasked_extends_nothing() {
    let mut leases = serving();
    assert!(!leases.told(at(100), orders(None, 5, serve("r1"))));
    assert_eq!(served_by(&leases, 499).as_deref(), Some("r1"));
    assert_eq!(served_by(&leases, 500), None);
}

#[test]
fn an_older_answer_that_comes_late_shortens_nothing() {
    let mut leases = serving();
    leases.report(at(200), GatewayLoad::default());
    leases.told(at(100), orders(Some(2), 5, serve("r1")));
    leases.told(at(100), orders(Some(1), 5, serve("r1")));
    assert_eq!(served_by(&leases, 599).as_deref(), Some("r1"));
}

#[test]
fn what_an_older_epoch_said_counts_for_nothing_however_late() {
    let mut leases = serving();
    assert!(leases.told(at(100), orders(None, 6, PrimaryOrder::Hold)));
    leases.held(&shop(), Epoch(6));
    leases.report(at(150), GatewayLoad::default());
    assert!(!leases.told(at(100), orders(Some(2), 5, serve("r1"))));
    assert_eq!(leases.standing(&shop(), at(160)), Some(Standing::Hold { epoch: Epoch(6) }));
    assert_eq!(holding(&mut leases, 170), Some(Epoch(6)));
}

#[test]
fn the_lease_of_one_primary_is_none_of_the_next() {
    let mut leases = serving();
    leases.told(at(100), orders(None, 6, serve("r2")));
    assert_eq!(leases.standing(&shop(), at(110)), Some(Standing::Hold { epoch: Epoch(6) }));
}

#[test]
fn in_one_epoch_to_serve_is_the_last_word() {
    let mut leases = serving();
    for late in [PrimaryOrder::Hold, PrimaryOrder::Drain] {
        assert!(!leases.told(at(100), orders(None, 5, late)));
        assert_eq!(served_by(&leases, 499).as_deref(), Some("r1"));
    }
}

#[test]
fn draining_lasts_as_long_as_the_lease_and_nothing_extends_it() {
    let mut leases = serving();
    leases.told(at(100), orders(None, 6, PrimaryOrder::Drain));
    assert_eq!(leases.standing(&shop(), at(499)), Some(Standing::Drain { epoch: Epoch(6), until: at(500) }));
    leases.report(at(200), GatewayLoad::default());
    leases.told(at(100), orders(Some(2), 6, PrimaryOrder::Drain));
    assert_eq!(leases.standing(&shop(), at(500)), Some(Standing::Hold { epoch: Epoch(6) }));
}

#[test]
fn a_move_that_is_given_up_serves_the_same_primary_again_with_a_lease_of_its_own() {
    let mut leases = serving();
    leases.told(at(100), orders(None, 6, PrimaryOrder::Drain));
    leases.held(&shop(), Epoch(6));
    leases.report(at(300), GatewayLoad::default());
    leases.told(at(100), orders(Some(2), 6, serve("r1")));
    assert_eq!(served_by(&leases, 699).as_deref(), Some("r1"));
    assert_eq!(served_by(&leases, 700), None);
    assert_eq!(holding(&mut leases, 400), None, "it serves again");
}

#[test]
fn only_what_was_demanded_can_be_confirmed() {
    let mut leases = serving();
    leases.held(&shop(), Epoch(5));
    assert_eq!(holding(&mut leases, 110), None, "a lease that ran out may be renewed");
    leases.told(at(100), orders(None, 6, PrimaryOrder::Hold));
    leases.held(&shop(), Epoch(5));
    assert_eq!(holding(&mut leases, 120), None, "another epoch is waited for");
    leases.held(&shop(), Epoch(6));
    assert_eq!(holding(&mut leases, 130), Some(Epoch(6)));
    leases.told(at(100), orders(None, 7, PrimaryOrder::Hold));
    assert_eq!(holding(&mut leases, 140), Some(Epoch(6)), "until that is done, too");
}

#[test]
fn one_that_leaves_holds_whatever_it_is_told() {
    let mut leases = serving();
    leases.leave();
    assert_eq!(leases.standing(&shop(), at(110)), Some(Standing::Hold { epoch: Epoch(5) }));
    assert!(leases.report(at(120), GatewayLoad::default()).leaving);
    leases.told(at(100), orders(Some(2), 5, serve("r1")));
    assert_eq!(served_by(&leases, 130), None);
}

#[test]
fn a_service_that_is_not_named_stays_as_it_was() {
    let mut leases = serving();
    leases.report(at(200), GatewayLoad::default());
    leases.told(at(200), GatewayOrders { answers: Some(2), lease: LEASE, services: Vec::new() });
    assert_eq!(served_by(&leases, 499).as_deref(), Some("r1"));
    assert_eq!(served_by(&leases, 500), None);
}

#[test]
fn readers_come_and_go_without_a_change_of_the_primary() {
    let mut leases = serving();
    let mut told = orders(None, 5, serve("r1"));
    told.services[0].readers =
        vec![Reader { instance: "r2".into(), address: address("r2"), zone: String::new(), lag_bytes: 7 }];
    assert!(!leases.told(at(100), told));
    assert_eq!(leases.readers(&shop()).len(), 1);
}

#[test]
fn a_service_of_another_name_has_its_own_epochs() {
    let mut leases = serving();
    let mut told = orders(Some(1), 2, serve("x1"));
    told.services[0].service = "other".into();
    leases.told(at(100), told);
    assert!(matches!(leases.standing(&"other".into(), at(200)), Some(Standing::Serve { .. })));
    assert_eq!(served_by(&leases, 200).as_deref(), Some("r1"));
}
