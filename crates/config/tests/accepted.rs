//! Files that are taken: what they mean, what is the default, what they are doubted for.

use backstay_config::{
    Config, Endpoint, EndpointProtocol, EndpointRole, Finding, Otherwise, ReplicationUser, SecretSource,
};
use backstay_model::{Durability, EngineKind, Failsafe, MariaDbSpec, RebuildPolicy, ServiceSpec};
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../examples/backstay.toml");

/// The example with the block under `heading`, which is commented out there, in force: without sentences, and without what
/// `left_out` begins a line with.
fn with_block(heading: &str, left_out: &[&str]) -> String {
    let (head, block) = EXAMPLE.split_once(&format!("# {heading}\n")).unwrap();
    let lines = block.lines().take_while(|line| line.starts_with('#'));
    let lines = lines.filter_map(|line| line.strip_prefix("# "));
    let settings = lines.filter(|line| {
        // What is left are sentences.
        let wanted = !left_out.iter().any(|key| line.starts_with(key));
        wanted && (line.contains(" = ") || line.ends_with(']'))
    });
    format!("{head}{heading}\n{}\n", settings.collect::<Vec<_>>().join("\n"))
}

const SHORT: &str = r#"
cluster = "shop"
controllers = [
  { name = "a", address = "127.0.0.1:7601" },
  { name = "b", address = "[::1]:7601" },
  { name = "c", address = "127.0.0.2:7601", sentinel = "off" },
]
[[redis]]
name = "mymaster"
username = "backstay"
password_env = "PASS"
[[redis.instances]]
name = "r1"
address = "10.0.0.1:6379"
[[redis.instances]]
name = "r2"
address = "redis-2.shop.internal:6379"
priority = 0
"#;

fn parsed(text: &str) -> Config {
    Config::parse("backstay.toml", text).unwrap_or_else(|errors| panic!("{:#?}", errors.notes()))
}

fn warnings(text: &str) -> Vec<String> {
    parsed(text).warnings.iter().map(ToString::to_string).collect()
}

fn digest(text: &str) -> String {
    parsed(text).spec.services[0].digest.to_string()
}

#[test]
fn the_example_is_taken_without_a_word() {
    let config = parsed(EXAMPLE);
    assert_eq!(warnings(EXAMPLE), Vec::<String>::new());
    assert_eq!((config.nodes.len(), config.spec.services[0].instances.len()), (3, 3));
}

#[test]
fn the_example_spells_out_the_defaults() {
    let (spec, short) = (parsed(EXAMPLE).spec, parsed(SHORT).spec);
    let (example, short) = (&spec.services[0], &short.services[0]);
    assert_eq!(example.down_after, short.down_after);
    assert_eq!(example.probe_interval, short.probe_interval);
    assert_eq!(example.drain_wait, short.drain_wait);
    assert_eq!(example.cooldown, short.cooldown);
    assert_eq!(example.parallel_syncs, short.parallel_syncs);
    assert_eq!(example.engine, short.engine);
    assert_eq!(example.failsafe, short.failsafe);
    assert_eq!(example.instances[0].priority, short.instances[0].priority);
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = parsed(SHORT);
    let node = config.node(&"b".into()).unwrap();
    assert_eq!(node.sentinel.as_ref().unwrap().to_string(), "[::1]:26379");
    assert_eq!(node.admin.to_str(), Some("/run/backstay/b.sock"));
    assert_eq!(node.state.to_str(), Some("/var/lib/backstay/b"));
    assert_eq!(config.node(&"c".into()).unwrap().sentinel, None);
    let service = &config.spec.services[0];
    assert_eq!(service.down_after, Duration::from_secs(1));
    assert_eq!(service.instances[1].priority, 0);
    let credentials = config.credentials(&"mymaster".into()).unwrap();
    assert_eq!(credentials.username.as_deref(), Some("backstay"));
    assert_eq!(credentials.password, Some(SecretSource::Env("PASS".into())));
}

#[test]
fn what_is_shown_reads_back_to_the_same() {
    for text in [EXAMPLE, SHORT] {
        let config = parsed(text);
        let again = parsed(&config.show());
        assert_eq!(again.spec, config.spec);
        assert_eq!(again.nodes, config.nodes);
        assert_eq!(again.credentials, config.credentials);
        assert_eq!(again.cluster_digest, config.cluster_digest);
        assert_eq!(again.show(), config.show());
    }
    insta::assert_snapshot!(parsed(SHORT).show());
}

#[test]
fn the_digest_ignores_layout_and_sees_meaning() {
    let before = digest(SHORT);
    assert_eq!(before.len(), 64);
    let laid_out =
        SHORT.replace("name = \"mymaster\"", "# a comment\nname   =   'mymaster'\ncooldown = \"10000ms\"");
    assert_eq!(digest(&laid_out), before);
    for (from, to) in [
        ("priority = 0", "priority = 1"),
        ("\"PASS\"", "\"PASS2\""),
        ("10.0.0.1:6379", "10.0.0.1:6380"),
        ("name = \"mymaster\"", "name = \"mymaster\"\ndown_after = \"2s\""),
    ] {
        assert_ne!(digest(&SHORT.replace(from, to)), before, "{to}");
    }
    // Who votes is not the service's matter.
    let other_controller = SHORT.replace("127.0.0.2:7601", "127.0.0.3:7601");
    assert_eq!(digest(&other_controller), before);
    assert_ne!(parsed(&other_controller).cluster_digest, parsed(SHORT).cluster_digest);
}

#[test]
fn an_unknown_node_learns_which_ones_there_are() {
    let error = parsed(SHORT).node(&"aa".into()).unwrap_err();
    assert_eq!(error.to_string(), "backstay.toml has no controller called 'aa'");
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert_eq!(help, "It has these: a, b, c.");
    let long = SHORT.replace("\"b\"", "\"node-2\"");
    let error = parsed(&long).node(&"nod-2".into()).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert_eq!(help, "Did you mean 'node-2'? It has these: a, node-2, c.");
}

#[test]
fn what_works_but_protects_less_is_said() {
    let controller = |name: &str, port: u16| {
        format!("[[controllers]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nsentinel = \"off\"\n")
    };
    let with = |count: u16, rest: &str| {
        let controllers: String = (1..=count).map(|n| controller(&format!("n{n}"), 7600 + n)).collect();
        warnings(&format!("cluster = \"shop\"\n{controllers}{rest}"))
    };
    let instance =
        |n: u16, rest: &str| format!("{{ name = \"r{n}\", address = \"10.0.0.{n}:6379\"{rest} }},");
    let service =
        |instances: String, rest: &str| format!("[[redis]]\nname = \"m\"\ninstances = [{instances}]\n{rest}");
    let pair = service(instance(1, "") + &instance(2, ""), "");
    assert_eq!(with(1, &pair), ["one controller: nothing fails over while it, or its machine, is down"]);
    assert_eq!(
        with(2, &pair),
        ["two controllers: if either is lost, or they lose each other, nothing fails over"]
    );
    assert_eq!(with(4, &pair), ["4 controllers survive the loss of 1, as 3 would"]);
    assert_eq!(with(3, ""), ["there is no service to watch"]);
    assert_eq!(with(3, &service(instance(1, ""), "")), ["one instance: there is nothing to fail over to"]);
    let never = ", priority = 0";
    assert_eq!(
        with(3, &service(instance(1, never) + &instance(2, never), "")),
        ["every instance has priority 0: none is ever promoted"]
    );
    assert_eq!(
        with(3, &service(instance(1, "") + &instance(2, ""), "min_replicas_to_write = 1")),
        ["min_replicas_to_write is 1, all the replicas there are"]
    );
}

#[test]
fn tls_towards_a_service_is_shown_and_counts_in_its_digest() {
    let tls =
        r#"tls = { ca = "/ca.pem", certificate = "/c.pem", key = "/k.pem", server_name = "redis.shop" }"#;
    let text = SHORT.replace("name = \"mymaster\"", &format!("name = \"mymaster\"\n{tls}"));
    let config = parsed(&text);
    assert!(config.show().contains(tls), "{}", config.show());
    assert_eq!(parsed(&config.show()).credentials, config.credentials);
    assert_ne!(digest(&text), digest(SHORT));
    assert_ne!(digest(&text), digest(&text.replace("/ca.pem", "/other.pem")));
}

#[test]
fn the_endpoint_of_the_example_is_taken_and_spells_out_the_defaults() {
    let text = with_block("[[endpoints]]", &[]).replace("\"primary\"   ", "\"reader\"");
    let example = parsed(&text).endpoints.remove(0);
    let short = format!(
        "{EXAMPLE}\n[[endpoints]]\nname = \"shop\"\nservice = \"mymaster\"\nlisten = \"127.0.0.1:6390\"\n"
    );
    let short = parsed(&short).endpoints.remove(0);
    assert_eq!(example.users.len(), 2);
    assert_eq!(example.users[1].server_username.as_deref(), Some("reports"));
    let limits = |it: &Endpoint| {
        (
            it.hold,
            it.held_max,
            it.commands_per_second,
            it.clients_max,
            it.unread_max,
            it.memory_max,
            it.idle_timeout,
        )
    };
    assert_eq!(limits(&example), limits(&short));
    assert_eq!(example.proxy_protocol, short.proxy_protocol);
}

const ENDPOINTS: &str = r#"
cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601", gateway = true } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]

[[endpoints]]
name = "shop"
service = "mymaster"
listen = "0.0.0.0:6390"
socket = "/run/shop.sock"
users = [ { name = "default", password_file = "/etc/shop.pass" }, { name = "app", password_env = "APP", server_username = "app", server_password_file = "/etc/app.pass" } ]
server_username = "shop"
server_password_env = "SHOP"
tls = { certificate = "/etc/shop.crt", key = "/etc/shop.key" }
hold = "5s"
proxy_protocol = true
commands_per_second = 5000
memory_max = 0x10000000

[[endpoints]]
name = "catalogue"
service = "mymaster"
role = "reader"
listen = "0.0.0.0:6391"
auth = "none"
max_lag = 1000
otherwise = "refuse"
"#;

#[test]
fn endpoints_say_who_may_come_and_whom_they_reach() {
    let config = parsed(ENDPOINTS);
    assert!(config.nodes[0].gateway);
    let [shop, catalogue] = &config.endpoints[..] else { panic!("{:?}", config.endpoints) };
    assert_eq!((shop.users.len(), shop.role, shop.hold), (2, EndpointRole::Primary, Duration::from_secs(5)));
    assert_eq!(shop.server_password, Some(SecretSource::Env("SHOP".into())));
    let login =
        |at: usize| (shop.users[at].server_username.as_deref(), shop.users[at].server_password.clone());
    assert_eq!(login(0), (None, None));
    assert_eq!(login(1), (Some("app"), Some(SecretSource::File("/etc/app.pass".into()))));
    assert_eq!((shop.proxy_protocol, shop.commands_per_second, shop.memory_max), (true, 5000, 256 << 20));
    assert_eq!(
        (catalogue.proxy_protocol, catalogue.commands_per_second, catalogue.memory_max),
        (false, 0, 1 << 30)
    );
    let role = EndpointRole::Reader { max_lag: 1000, otherwise: Otherwise::Refuse };
    assert_eq!((catalogue.role, catalogue.clients_max), (role, 10_000));
    let again = parsed(&config.show());
    assert_eq!(again.endpoints, config.endpoints);
}

const FAILSAFE: &str = r#"
cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
[[redis]]
name = "mymaster"
failsafe = "risk-two-primaries"
instances = [ { name = "r1", address = "10.0.0.1:6379" } ]
"#;

#[test]
fn the_failsafe_is_off_unless_the_operator_takes_the_risk_by_name() {
    assert_eq!(parsed(SHORT).spec.services[0].failsafe, Failsafe::Off);
    let config = parsed(FAILSAFE);
    assert_eq!(config.spec.services[0].failsafe, Failsafe::RiskTwoPrimaries);
    assert!(config.show().contains("failsafe = \"risk-two-primaries\""), "{}", config.show());
    let off = FAILSAFE.replace("risk-two-primaries", "off");
    assert_ne!(digest(&off), digest(FAILSAFE));
    assert_eq!(digest(&off), digest(&FAILSAFE.replace("failsafe = \"risk-two-primaries\"\n", "")));
    assert!(warnings(FAILSAFE).iter().any(|it| it.contains("the failsafe never begins")));
    assert!(!warnings(&off).iter().any(|it| it.contains("failsafe")));
}

const MARIADB: &str = r#"
cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601", sentinel = "off" } ]
[[mariadb]]
name = "orders"
username = "backstay"
password_env = "PASS"
instances = [
  { name = "db1", address = "10.0.0.1:3306" },
  { name = "db2", address = "10.0.0.2:3306", priority = 0 },
  { name = "db3", address = "10.0.0.3:3306" },
]
"#;

fn with(setting: &str) -> String {
    MARIADB.replace("password_env", &format!("{setting}\npassword_env"))
}

#[test]
fn the_mariadb_of_the_example_is_taken_and_spells_out_the_defaults() {
    let text = with_block("[[mariadb]]", &["password_env", "replication_password_env", "#  "]);
    let (config, short) = (parsed(&text), parsed(MARIADB));
    assert_eq!(config.warnings.len(), 0);
    let (example, short) = (&config.spec.services[1], &short.spec.services[0]);
    assert_eq!((example.name.as_str(), &example.engine), ("orders", &short.engine));
    let durations = |it: &ServiceSpec| (it.down_after, it.probe_interval, it.drain_wait, it.cooldown);
    assert_eq!(durations(example), durations(short));
    assert_eq!((example.parallel_syncs, example.failsafe), (short.parallel_syncs, short.failsafe));
    assert_eq!(example.instances[0].priority, short.instances[0].priority);
    let credentials = config.credentials(&example.name).unwrap();
    assert_eq!(credentials.replication_user().unwrap().username, "replica");
    assert!(credentials.tls.is_some());
}

#[test]
fn a_mariadb_is_a_service_with_its_own_settings() {
    let text = with(
        "durability = \"majority\"\nevents = true\nreplication_username = \"r\"\nreplication_password_file = \"/r\"",
    );
    let config = parsed(&text);
    let service = &config.spec.services[0];
    let own = MariaDbSpec { durability: Durability::Majority, events: true, ..MariaDbSpec::default() };
    assert_eq!((service.engine.word(), service.engine.mariadb()), ("mariadb", Some(&own)));
    let credentials = config.credentials(&service.name).unwrap();
    let replica = ReplicationUser { username: "r".into(), password: SecretSource::File("/r".into()) };
    assert_eq!(credentials.replication_user(), Some(replica));
    let again = parsed(&config.show());
    assert_eq!((&again.spec, &again.credentials), (&config.spec, &config.credentials));
    insta::assert_snapshot!(config.show());
}

#[test]
fn a_mysql_is_set_up_as_a_mariadb_and_everybody_is_told_that_it_is_untried() {
    let text = MARIADB.replace("[[mariadb]]", "[[mysql]]").replace(
        "password_env",
        "durability = \"async\"\nreplication_username = \"r\"\nreplication_password_file = \"/r\"\npassword_env",
    );
    let config = parsed(&text);
    let service = &config.spec.services[0];
    assert_eq!((service.engine.word(), service.engine.kind()), ("mysql", EngineKind::MySql));
    assert_eq!(service.engine.mariadb(), Some(&MariaDbSpec::default()));
    let mut told = config.warnings.iter().map(Finding::note).map(|note| (note.line, note.message));
    assert!(told.any(|it| it == (4, "MySQL is not yet tried on a real server".to_owned())));
    let again = parsed(&config.show());
    assert_eq!((&again.spec, &again.credentials), (&config.spec, &config.credentials));
    assert_ne!(digest(&text), digest(&text.replace("[[mysql]]", "[[mariadb]]")));
    let endpoints = parsed(&format!("{text}{SQL_ENDPOINTS}")).endpoints;
    assert!(endpoints.iter().all(|endpoint| endpoint.protocol == EndpointProtocol::Sql));
}

#[test]
fn the_mysql_of_the_example_is_taken() {
    let config = parsed(&with_block("[[mysql]]", &[]));
    let service = &config.spec.services[1];
    assert_eq!((service.name.as_str(), service.engine.word()), ("stock", "mysql"));
    assert_eq!(config.credentials(&service.name).unwrap().replication_user().unwrap().username, "replica");
}

#[test]
fn instances_have_agents_and_who_decides_is_said() {
    let with_agents =
        with("rebuild = \"auto\"").replace("0.1:3306\"", "0.1:3306\", agent = \"127.0.0.1:7701\"");
    let config = parsed(&with_agents);
    assert!(
        config.warnings.iter().any(|it| it.note().message.starts_with("nothing is ever rebuilt by itself"))
    );
    let config = parsed(&with_agents.replace("0.3:3306\"", "0.3:3306\", agent = \"127.0.0.1:7703\""));
    let service = &config.spec.services[0];
    assert_eq!(service.engine.mariadb().unwrap().rebuild, RebuildPolicy::Auto);
    let agents: Vec<_> =
        service.instances.iter().map(|it| it.agent.as_ref().map(ToString::to_string)).collect();
    assert_eq!(agents, [Some("127.0.0.1:7701".to_owned()), None, Some("127.0.0.1:7703".to_owned())]);
    let again = parsed(&config.show());
    assert_eq!((&again.spec, config.warnings.len()), (&config.spec, 1), "{:?}", config.warnings);
}

#[test]
fn replicas_log_in_as_backstay_does_unless_the_file_names_another_user() {
    let credentials = parsed(MARIADB).credentials(&"orders".into()).unwrap().clone();
    let own = ReplicationUser { username: "backstay".into(), password: SecretSource::Env("PASS".into()) };
    assert_eq!((credentials.replication.clone(), credentials.replication_user()), (None, Some(own)));
}

#[test]
fn the_digest_of_a_mariadb_sees_what_it_alone_has() {
    let before = digest(MARIADB);
    assert_eq!(digest(&with("durability = \"async\"\nevents = false\nfailsafe = \"off\"")), before);
    for setting in [
        "durability = \"majority\"",
        "events = true",
        "replication_username = \"r\"\nreplication_password_env = \"R\"",
        "preference = { max_lag = 1 }",
        "rebuild = \"auto\"",
    ] {
        assert_ne!(digest(&with(setting)), before, "{setting}");
    }
    let agent = MARIADB.replace("10.0.0.1:3306\"", "10.0.0.1:3306\", agent = \"127.0.0.1:7701\"");
    assert_ne!(digest(&agent), before);
}

#[test]
fn the_digest_of_a_redis_service_is_what_it_always_was() {
    // Controllers of the last version compare with it.
    assert_eq!(digest(SHORT), "82ba071dfb8d286f21418be2d6914799bb45d20549a22e337388121fbae25c38");
}

const SQL_ENDPOINTS: &str = r#"
[[endpoints]]
name = "orders"
service = "orders"
listen = "0.0.0.0:3390"
socket = "/run/backstay/orders.sock"
proxy_protocol = true
send_proxy_protocol = true
hold = "5s"
held_max = 50
clients_max = 100
idle_timeout = "1h"

[[endpoints]]
name = "reports"
service = "orders"
role = "reader"
listen = "127.0.0.1:3391"
"#;

#[test]
fn an_endpoint_of_a_mariadb_speaks_sql_and_leaves_users_to_the_database() {
    let text = format!("{MARIADB}{SQL_ENDPOINTS}");
    let config = parsed(&text);
    let [orders, reports] = &config.endpoints[..] else { panic!("{:?}", config.endpoints) };
    assert_eq!((orders.protocol, reports.protocol), (EndpointProtocol::Sql, EndpointProtocol::Sql));
    assert_eq!((orders.proxy_protocol, orders.send_proxy_protocol), (true, true));
    assert_eq!((orders.held_max, orders.clients_max, orders.hold), (50, 100, Duration::from_secs(5)));
    // Transactions.
    assert_eq!(reports.role, EndpointRole::Reader { max_lag: 1000, otherwise: Otherwise::Primary });
    assert_eq!((reports.hold, reports.send_proxy_protocol), (Duration::from_secs(10), false));
    let again = parsed(&config.show());
    assert_eq!(again.endpoints, config.endpoints);
    let (_, shown) = config.show().split_once("[[endpoints]]").map(|(a, b)| (a.len(), b.to_owned())).unwrap();
    insta::assert_snapshot!(shown);
}

#[test]
fn the_sql_endpoint_of_the_example_is_taken_and_spells_out_the_defaults() {
    let service = MARIADB.split_once("[[mariadb]]").unwrap().1;
    let (head, block) = EXAMPLE.split_once("# [[endpoints]]         # an SQL endpoint\n").unwrap();
    let lines = block.lines().take_while(|line| line.contains(" = ")).map(|line| &line[2..]);
    let text = format!("{head}[[mariadb]]{service}[[endpoints]]\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    let example = parsed(&text).endpoints.remove(0);
    let short = format!(
        "{EXAMPLE}[[mariadb]]{service}[[endpoints]]\nname = \"orders\"\nservice = \"orders\"\nrole = \"reader\"\n\
         listen = \"127.0.0.1:3390\"\nsocket = \"/run/backstay/orders.sock\"\n"
    );
    assert_eq!(example, parsed(&short).endpoints.remove(0));
}
