//! A gateway with endpoints of both kinds, and one that follows another.

use crate::server::Server;
use crate::support::{Front, endpoint, until};
use crate::wire::Client;
use backstay_gateway::{Endpoint, EndpointKind, Gateway, Heritage, Listen, Otherwise, Protocol, Settings};
use backstay_lease::Standing;
use backstay_model::{Address, Epoch, Reader, Time};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn redis(service: &str) -> Endpoint {
    Endpoint { protocol: Protocol::Redis, service: service.into(), name: "cache".to_owned(), ..endpoint() }
}

#[test]
fn redis_and_sql_are_served_side_by_side() {
    let server = Server::start();
    let front =
        Front::of_all(vec![endpoint(), redis("cache"), Endpoint { name: "second".to_owned(), ..endpoint() }]);
    front.serve(1, &server);
    let names: Vec<&str> = front.gateway.addresses().iter().map(|it| &*it.0).collect();
    assert_eq!(names, ["shop", "cache", "second"]);
    assert_eq!(front.client().value("SELECT 1"), "1");
    let Listen::Tcp(cache) = front.gateway.addresses()[1].1.clone() else { panic!("it listens on TCP") };
    let mut client = TcpStream::connect(cache).unwrap();
    client.write_all(b"CLIENT ID\r\n").unwrap();
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b":");
    let traffic = front.gateway.look().traffic();
    let names: Vec<&str> = traffic.iter().map(|it| &*it.endpoint).collect();
    assert_eq!((names, traffic[1].sql.is_none()), (vec!["shop", "cache", "second"], true));
    assert_eq!(front.gateway.load().commands, 2);
}

#[test]
fn a_service_of_both_kinds_is_held_once_both_have_let_go() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let heard = held.clone();
    let settings = Settings { zone: String::new(), endpoints: vec![endpoint(), redis("shop")] };
    let gateway =
        Gateway::start(settings, move |service, epoch| heard.lock().unwrap().push((service, epoch)));
    let gateway = gateway.unwrap();
    gateway.route("shop".into(), Standing::Hold { epoch: Epoch(2) }, Vec::new());
    gateway.route("other".into(), Standing::Hold { epoch: Epoch(3) }, Vec::new());
    until("both", || held.lock().unwrap().len() == 2);
    let mut all = held.lock().unwrap().clone();
    all.sort();
    assert_eq!(all, [("other".into(), Epoch(3)), ("shop".into(), Epoch(2))]);
    gateway.stop(Duration::ZERO);
    assert_eq!(held.lock().unwrap().len(), 2);
}

#[test]
fn a_gateway_takes_the_place_of_another_one_and_no_client_notices() {
    let server = Server::start();
    let front = Front::of_all(vec![endpoint(), redis("cache")]);
    front.serve(1, &server);
    let mut early = front.client();
    let (give, given) = mpsc::channel();
    front.gateway.share(move |sockets| give.send(sockets).unwrap());
    let sockets = given.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(sockets.len(), 2);
    let here: Vec<Listen> = front.gateway.addresses().iter().map(|it| it.1.clone()).collect();
    let endpoints = [endpoint(), redis("cache")].into_iter().zip(&here);
    let endpoints = endpoints.map(|(endpoint, at)| Endpoint { listen: vec![at.clone()], ..endpoint });
    let settings = Settings { zone: String::new(), endpoints: endpoints.collect() };
    let heritage = Heritage { sockets, replaces: false };
    let heir = Gateway::succeed(settings, heritage, |_, _| {}).unwrap();
    assert_eq!((heir.inherited().len(), heir.addresses()), (2, front.gateway.addresses()));
    let serve = Standing::Serve {
        epoch: Epoch(1),
        primary: server.address.to_string().parse().unwrap(),
        until: Time::MAX,
    };
    heir.route("shop".into(), serve, Vec::new());
    heir.take_over();
    front.gateway.hand_over(Duration::from_secs(30), here);
    for _ in 0..20 {
        assert_eq!(front.client().value("SELECT 1"), "1");
        assert_eq!(early.value("SELECT 2"), "2");
    }
    until("a client of the new one", || heir.look().traffic()[0].bytes_in > 0);
    drop(early);
    until("the end of the old one", || front.gateway.has_left());
    assert_eq!(front.client().value("SELECT 3"), "3");
}

#[test]
fn readers_are_spread_over_real_replicas_and_refused_without_any() {
    let servers = [Server::start(), Server::start()];
    let kind = EndpointKind::Reader { max_lag_bytes: 1000, otherwise: Otherwise::Refuse };
    let front = Front::start(Endpoint { kind, ..endpoint() });
    let reader = |server: &Server| Reader {
        instance: server.address.to_string().as_str().into(),
        address: server.address.to_string().parse::<Address>().unwrap(),
        zone: "a".to_owned(),
        lag_bytes: 0,
    };
    let hold = || Standing::Hold { epoch: Epoch(1) };
    front.route(hold(), servers.iter().map(reader).collect());
    let mut clients: Vec<Client> = (0..6).map(|_| front.client()).collect();
    assert_eq!(servers.each_ref().map(Server::clients), [3, 3]);
    // One of them is not read from any more.
    front.route(hold(), vec![reader(&servers[1])]);
    until("left", || servers[0].clients() == 0);
    let gone = clients.iter_mut().filter_map(|client| client.query("SELECT 1").err()).count();
    assert_eq!((gone, front.sql().parted), (3, 3));
    front.route(hold(), Vec::new());
    until("refused", || Client::open(front.address, "root", "").is_err());
}
