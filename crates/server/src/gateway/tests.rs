//! From the file to clients of a real gateway.

use super::certificates::{Shown, shown};
use super::sampler::Sampler;
use super::settings::{GatewayOptions, settings};
use backstay_config::Config;
use backstay_gateway::{Gateway, Listen, Protocol};
use backstay_lab::load::connection::{Connection, text};
use backstay_lab::load::sql::{Account, Sql, Way};
use backstay_lab::servers::mariadb;
use backstay_lab::servers::ports::Ports;
use backstay_lab::servers::process::Process;
use backstay_lab::servers::redis::{Boot, RedisServer};
use backstay_lab::stack::mariadb::{APPLICATION_USER, MariaDbGroup, application};
use backstay_lab::wait::wait_until;
use backstay_lease::Standing;
use backstay_model::{Address, Epoch, Time};
use nix::sys::signal::Signal;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// A file with one endpoint, and these settings of it.
fn config(endpoint: &str) -> Config {
    let text = format!(
        "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[redis]]\nname = \"shop\"\n\
         instances = [{{ name = \"r\", address = \"127.0.0.1:2\" }}]\n[[endpoints]]\nname = \"door\"\nservice = \"shop\"\n\
         listen = \"127.0.0.1:3\"\n{endpoint}\n"
    );
    Config::parse("backstay.toml", &text).unwrap()
}

fn start(config: &Config) -> (Gateway, SocketAddr) {
    let free = Address { host: "127.0.0.1".into(), port: 0 };
    let listen = BTreeMap::from([("door".to_owned(), free)]);
    let options = GatewayOptions { name: "g".into(), zone: String::new(), listen, control: Vec::new() };
    let gateway = Gateway::start(settings(config, &options).unwrap(), |_, _| {}).unwrap();
    let Listen::Tcp(address) = gateway.addresses()[0].1.clone() else { panic!("it listens on TCP") };
    (gateway, address)
}

#[test]
fn what_the_file_bounds_is_bounded() {
    let config = config(
        "hold = \"3s\"\nheld_max = 4\nclients_max = 5\nunread_max = 0x100000\nmemory_max = 0x2000000\n\
         commands_per_second = 6\nidle_timeout = \"7s\"\nproxy_protocol = true",
    );
    let options = GatewayOptions {
        name: "g".into(),
        zone: String::new(),
        listen: BTreeMap::new(),
        control: Vec::new(),
    };
    let endpoint = settings(&config, &options).unwrap().endpoints.remove(0);
    let limits = endpoint.limits;
    assert_eq!(
        (limits.hold_max, limits.idle_timeout),
        (Duration::from_secs(3), Some(Duration::from_secs(7)))
    );
    assert_eq!((limits.held_commands_max, limits.clients_max, limits.commands_per_second), (4, 5, 6));
    assert_eq!((limits.output_bytes_max, limits.memory_max), (1 << 20, 32 << 20));
    assert!(endpoint.proxy_protocol);
}

/// A file with one endpoint of a MariaDB, and these settings of it.
fn config_of_mariadb(endpoint: &str) -> Config {
    let text = format!(
        "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[mariadb]]\nname = \"orders\"\n\
         username = \"backstay\"\npassword_file = \"/nobody/reads/this\"\ntls = {{ ca = \"/nor/this\" }}\n\
         instances = [{{ name = \"m1\", address = \"127.0.0.1:2\" }}]\n[[endpoints]]\nname = \"door\"\n\
         service = \"orders\"\nlisten = \"127.0.0.1:3\"\n{endpoint}\n"
    );
    Config::parse("backstay.toml", &text).unwrap()
}

#[test]
fn an_endpoint_of_a_mariadb_is_told_to_speak_sql_and_gets_no_secret_of_backstays() {
    let config =
        config_of_mariadb("send_proxy_protocol = true\nproxy_protocol = true\nhold = \"3s\"\nheld_max = 4");
    let listen = BTreeMap::new();
    let options = GatewayOptions { name: "g".into(), zone: String::new(), listen, control: Vec::new() };
    let endpoint = settings(&config, &options).unwrap().endpoints.remove(0);
    assert_eq!(
        (endpoint.protocol, endpoint.send_proxy, endpoint.proxy_protocol),
        (Protocol::Sql, true, true)
    );
    assert_eq!((endpoint.limits.hold_max, endpoint.limits.held_commands_max), (Duration::from_secs(3), 4));
    assert!(endpoint.backend.login.is_none() && endpoint.backend.tls.is_none() && endpoint.users.is_empty());
}

#[test]
fn clients_of_an_sql_endpoint_log_in_at_the_database_itself() {
    let group = MariaDbGroup::start(1, &mariadb::Settings::recipe()).unwrap();
    let (gateway, address) = start(&config_of_mariadb(""));
    let primary = group.instances()[0].address().to_string().parse().unwrap();
    let standing = Standing::Serve { epoch: Epoch(1), primary, until: Time::MAX };
    gateway.route("orders".into(), standing, Vec::new());
    let mut client = Sql::open(&Way::Tcp(address), &application(), LIMIT).unwrap();
    client.ask("INSERT INTO orders (note) VALUES ('through the gateway')").unwrap();
    assert_eq!(group.instances()[0].value("SELECT COUNT(*) FROM shop.orders").unwrap(), "1");
    let stranger = Account::new(APPLICATION_USER, "wrong");
    let Err(refused) = Sql::open(&Way::Tcp(address), &stranger, LIMIT) else { panic!("it lets anybody in") };
    assert!(refused.to_string().contains("1045"), "{refused}");
}

/// Ends with the test.
struct Server(Process);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::SIGKILL);
    }
}

#[test]
fn users_of_one_endpoint_arrive_as_the_users_that_the_file_says() {
    let (folder, mut ports) = (tempfile::tempdir().unwrap(), Ports::open().unwrap());
    let redis =
        RedisServer { name: "r".to_owned(), port: ports.claim().unwrap(), folder: folder.path().to_owned() };
    redis.write_configuration(Boot::Open).unwrap();
    let process = redis.start().unwrap();
    let _server = Server(process);
    redis.await_answer(process).unwrap();
    for (user, password) in [("all", ">inner"), ("reports", ">deep")] {
        redis.ask(&["ACL", "SETUSER", user, "on", password, "~*", "+@all"]).unwrap();
    }
    let secret = |name: &str, password: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, password).unwrap();
        path.display().to_string()
    };
    let (app, web, report) = (secret("app", "one"), secret("web", "two"), secret("report", "three\n"));
    let (inner, deep) = (secret("inner", "inner"), secret("deep", "deep\n"));
    let config = config(&format!(
        "server_username = \"all\"\nserver_password_file = \"{inner}\"\nusers = [\n\
         {{ name = \"app\", password_file = \"{app}\" }},\n{{ name = \"web\", password_file = \"{web}\" }},\n\
         {{ name = \"report\", password_file = \"{report}\", server_username = \"reports\", \
         server_password_file = \"{deep}\" }} ]"
    ));
    let (gateway, address) = start(&config);
    let primary = redis.address().to_string().parse().unwrap();
    gateway.route("shop".into(), Standing::Serve { epoch: Epoch(1), primary, until: Time::MAX }, Vec::new());
    for (user, password, arrives_as) in
        [("app", "one", "all"), ("report", "three", "reports"), ("web", "two", "all")]
    {
        let mut client = Connection::open(address, LIMIT).unwrap();
        assert_eq!(text(&client.call(&["AUTH", user, password]).unwrap()), "OK");
        // Within a transaction and without: on a connection of its own, and on a shared one.
        assert_eq!(text(&client.call(&["ACL", "WHOAMI"]).unwrap()), arrives_as);
        client.call(&["WATCH", "key"]).unwrap();
        assert_eq!(text(&client.call(&["ACL", "WHOAMI"]).unwrap()), arrives_as);
    }
}

/// Writes a new certificate and its key; returns the certificate.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["redis.shop".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts these certificates alone, and the one that it was shown.
fn connect(address: SocketAddr, trusted: &[&CertificateDer<'static>]) -> (Client, CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    for one in trusted {
        roots.add((*one).clone()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let name = ServerName::try_from("redis.shop").unwrap();
    let mut client = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    ask(&mut client);
    let shown = client.conn.peer_certificates().unwrap()[0].clone();
    (client, shown)
}

/// One question that the gateway answers itself.
fn ask(client: &mut Client) {
    client.write_all(b"CLIENT ID\r\n").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], b':');
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_next_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let first = certify(folder.path());
    let config =
        config(&format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", path("cert.pem"), path("key.pem")));
    let (gateway, address) = start(&config);
    let [shown] = &mut shown(&config)[..] else { panic!("one endpoint shows a certificate") };
    let settle = |shown: &mut Shown| {
        // It must stand still before it counts.
        assert!(shown.look().is_none());
        shown.look()
    };
    let (endpoint, tls) = settle(shown).expect("what was there at the start");
    gateway.show(endpoint, tls);
    let (mut old, seen) = connect(address, &[&first]);
    assert_eq!(seen, first);
    assert!(shown.look().is_none());

    let second = certify(folder.path());
    let good = std::fs::read(path("cert.pem")).unwrap();
    std::fs::write(path("cert.pem"), &good[..good.len() / 2]).unwrap();
    assert!(settle(shown).is_none(), "half a certificate");
    std::fs::remove_file(path("cert.pem")).unwrap();
    assert!(settle(shown).is_none(), "none");
    assert_eq!(connect(address, &[&first]).1, first);

    std::fs::write(path("cert.pem"), &good).unwrap();
    let (endpoint, tls) = settle(shown).expect("the new one");
    gateway.show(endpoint, tls);
    let shows = || (connect(address, &[&first, &second]).1 == second).then_some(());
    wait_until("the new certificate", LIMIT, shows).unwrap();
    ask(&mut old);
}

#[test]
fn a_key_of_another_certificate_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    certify(folder.path());
    let config =
        config(&format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", path("cert.pem"), path("key.pem")));
    let [shown] = &mut shown(&config)[..] else { panic!("one endpoint shows a certificate") };
    assert!(shown.look().is_none());
    assert!(shown.look().is_some());
    let key = std::fs::read(path("key.pem")).unwrap();
    certify(folder.path());
    std::fs::write(path("key.pem"), key).unwrap();
    assert!(shown.look().is_none());
    assert!(shown.look().is_none());
}

#[tokio::test]
async fn a_primary_is_looked_at_while_no_name_can_be_looked_up_any_more() {
    let (folder, mut ports) = (tempfile::tempdir().unwrap(), Ports::open().unwrap());
    let redis =
        RedisServer { name: "r".to_owned(), port: ports.claim().unwrap(), folder: folder.path().to_owned() };
    redis.write_configuration(Boot::Open).unwrap();
    let process = redis.start().unwrap();
    let _server = Server(process);
    redis.await_answer(process).unwrap();
    let mut instances = format!("{{ name = \"r\", address = \"r.invalid:{}\" }}", redis.port);
    for number in 0..8 {
        let _ = write!(instances, ", {{ name = \"r{number}\", address = \"r{number}.invalid:1\" }}");
    }
    let text = format!(
        "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[redis]]\nname = \"shop\"\n\
         failsafe = \"risk-two-primaries\"\ninstances = [{instances}]\n[[endpoints]]\nname = \"door\"\n\
         service = \"shop\"\nlisten = \"127.0.0.1:3\"\n"
    );
    let config = Config::parse("backstay.toml", &text).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let answers = Arc::new(AtomicBool::new(true));
    // The resolver knows one name, once.
    let look_up = move |host: String| {
        let known = host == "r.invalid" && answers.swap(false, Ordering::Relaxed);
        async move { if known { Ok(vec![[127, 0, 0, 1].into()]) } else { std::future::pending().await } }
    };
    let (aims, mut samples) = Sampler::spawn(Sampler::all(&config).unwrap(), look_up, &mut tasks);
    let primary: Address = format!("r.invalid:{}", redis.port).parse().unwrap();
    aims[&"shop".into()].send_replace(Some(primary.clone()));
    for _ in 0..3 {
        let (_, sample) = timeout(LIMIT, samples.recv()).await.unwrap().unwrap();
        assert!(sample.is_primary && sample.address == primary);
        // Each look needs a new connection.
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).unwrap();
    }
}
