//! A MariaDB group in a lab, watched by controllers, with a gateway before it: what operators and Sentinel clients are told.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::load::orders::OrderWriters;
use backstay_lab::stack::mariadb::application;
use backstay_lab::{Fault, Options, admin};
use backstay_model::{EngineKind, ServiceStatus, Unit};
use serde_json::Value;
use std::net::SocketAddr;
use support::group::{Group, LIMIT, until};

/// So many orders show that writers go on.
const ENOUGH: u64 = 100;

fn orders(group: &Group) -> Option<ServiceStatus> {
    let status = admin::status(&group.socket("a")).ok()?;
    status.services.into_iter().find(|service| service.name.as_str() == "orders")
}

fn door(group: &Group) -> SocketAddr {
    group.gateways().unwrap()[0].sql_addresses().unwrap()[0]
}

fn await_more(writers: &OrderWriters) {
    let enough = writers.acknowledged() + ENOUGH;
    until("more orders", || (writers.acknowledged() >= enough).then_some(()));
}

fn json(group: &Group, arguments: &[&str]) -> Value {
    serde_json::from_str(&group.told(arguments)).unwrap()
}

#[test]
fn of_a_mariadb_that_fails_over_operators_read_the_engine_and_transactions() {
    let group = Group::with(Options { redis: 1, mariadb: 3, gateways: 1, ..Options::default() });
    until("copies in step", || orders(&group)?.instances.iter().all(|one| one.in_sync).then_some(()));
    let writers = OrderWriters::start(door(&group), &application(), "crash", 2);
    await_more(&writers);
    let shown = group.told(&["status"]);
    assert!(shown.contains("orders (MariaDB), async: stable in epoch 1, clients go to m1"), "{shown}");
    assert!(shown.contains("transaction") && !shown.contains("OrdersRefused"), "{shown}");
    assert!(group.told(&["explain", "orders"]).starts_with("orders (MariaDB): no failover"));

    group.fault(Fault::Kill, "m1").unwrap();
    let service = until("the next primary", || {
        orders(&group).filter(|service| service.epoch.0 > 1 && service.phase == "stable")
    });
    await_more(&writers);
    drop(writers.stop());
    assert_eq!((service.engine, service.unit), (EngineKind::MariaDb, Unit::Transactions));
    assert_ne!(service.primary, Some("m1".into()));

    let told = json(&group, &["history", "orders", "-o", "json"]);
    let last = told.as_array().unwrap().last().unwrap();
    assert_eq!((&last["engine"], &last["unit"]), (&"mariadb".into(), &"transactions".into()));
    let history = group.told(&["history", "orders"]);
    assert!(
        history.contains("orders (MariaDB), epoch 2: m1 to ") && !history.contains(" of writes"),
        "{history}"
    );
}

#[test]
fn sentinel_clients_of_a_real_controller_know_redis_alone() {
    let group = Group::with(Options { redis: 1, mariadb: 1, ..Options::default() });
    let port = group.sentinels().unwrap()[0];
    let mut link = backstay_lab::load::connection::Connection::open(port, LIMIT).unwrap();
    let masters = link.call(&["SENTINEL", "masters"]).unwrap();
    let masters = format!("{masters:?}");
    assert!(!masters.contains("orders"), "{masters}");
}
