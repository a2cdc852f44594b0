//! Files that are refused: every mistake at once, each as the user sees it.

use backstay_config::Config;
use proptest::prelude::*;

/// What the user sees, without colours.
fn rendered(text: &str) -> String {
    let errors = Config::parse("backstay.toml", text).unwrap_err();
    let mut out = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .with_width(110)
        .render_report(&mut out, &errors)
        .unwrap();
    out.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn notes(text: &str) -> Vec<String> {
    let errors = Config::parse("backstay.toml", text).unwrap_err();
    let notes = errors.notes();
    notes.iter().map(|note| format!("{}:{} {}", note.line, note.column, note.message)).collect()
}

#[test]
fn mistakes_of_spelling_come_all_at_once() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "my shop"
quorum = 2

[[controllers]]
name = "a"
adress = "127.0.0.1:7601"

[[controllers]]
name = "b"
address = "10.0.0.2:7601"
state = "var/b"
sentinel = 26380

[[redis]]
name = "my master"
down_after = 500
probe_interval = "fast"
parallel_syncs = 0
password = "hunter2"
instances = [
  { name = "r1", address = "10.0.0.1", prio = 1 },
  { name = "r2", address = "10.0.0.2:6379", priority = "high" },
  "10.0.0.3:6379",
]
"#
    ));
}

#[test]
fn mistakes_of_meaning_come_all_at_once() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"

[[controllers]]
name = "a"
address = "127.0.0.1:7601"

[[controllers]]
name = "a"
address = "localhost:7601"
state = "/var/lib/backstay/a"

[[redis]]
name = "mymaster"
down_after = "150ms"
username = "backstay"
min_replicas_to_write = 3
preference = { site = "ams", zone = "fra-1" }
instances = [
  { name = "r1", address = "10.0.0.1:6379", site = "fra", zone = "fra-1" },
  { name = "r2", address = "10.0.0.1:6379", site = "fra", zone = "fra-2" },
  { name = "r3", address = "0.0.0.0:6379" },
]

[[redis]]
name = "mymaster"
password_file = "/etc/pass"
password_env = "PASS"
preference = { site = "fra", zone = "ams-1" }
instances = [
  { name = "r1", address = "10.0.0.2:6379", site = "fra" },
  { name = "r4", address = "127.0.0.1:26379", zone = "ams-1" },
]
"#
    ));
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    insta::assert_snapshot!(rendered("cluster = \"shop\ncluster = 3\n[[controllers\n"));
}

#[test]
fn an_empty_file_learns_what_it_needs() {
    insta::assert_snapshot!(rendered(""));
}

#[test]
fn wrong_shapes_are_named() {
    let head = "cluster = \"shop\"\n";
    assert_eq!(notes(&format!("{head}[controllers]\nname = \"a\"\n")), ["2:1 controllers must be a list"]);
    assert_eq!(notes(&format!("{head}controllers = []\n")), ["2:1 there are no controllers"]);
    let controller = "[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";
    assert_eq!(
        notes(&format!("{head}{controller}[[redis]]\nname = \"m\"\n")),
        [
            "5:1 a Redis service has no instances",
            "2:1 one controller: nothing fails over while it, or its machine, is down"
        ]
    );
}

#[test]
fn numbers_have_bounds_whatever_they_are() {
    for (setting, message) in [
        ("down_after = \"11m\"", "down_after = \"11m\" is out of bounds"),
        ("probe_interval = \"1ms\"", "probe_interval = \"1ms\" is out of bounds"),
        ("drain_wait = \"1m\"", "drain_wait = \"1m\" is out of bounds"),
        ("cooldown = \"25h\"", "cooldown = \"25h\" is out of bounds"),
        ("parallel_syncs = -1", "parallel_syncs = -1 is out of bounds"),
        (
            "parallel_syncs = 99999999999999999999999999999999999999999",
            "parallel_syncs = 99999999999999999999999999999999999999999 is out of bounds",
        ),
        ("parallel_syncs = 1.5", "parallel_syncs must be a whole number"),
        ("min_replicas_to_write = 0x10000000", "min_replicas_to_write = 10000000 is out of bounds"),
        ("canary_key = \"\"", "'' cannot be a key"),
        ("preference = { max_lag = 0x20000000000 }", "max_lag = 20000000000 is out of bounds"),
    ] {
        let text = format!(
            "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[redis]]\nname = \"m\"\n\
             {setting}\n[[redis.instances]]\nname = \"r\"\naddress = \"r:1\"\n"
        );
        let notes = notes(&text);
        assert!(notes[0].ends_with(message), "{notes:?}");
    }
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let lines: Vec<_> = (0..1000).map(|n| format!("unknown_{n} = 1")).collect();
    let flood = lines.join("\n");
    let errors = Config::parse("backstay.toml", &flood).unwrap_err();
    assert_eq!(errors.findings().len(), 50);
    assert_eq!(errors.to_string(), "backstay.toml has 1002 mistakes; these are the first 50");
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    let text = "sentinel_password = \"hunter2\"\n";
    insta::assert_snapshot!(rendered(text));
    assert!(!format!("{:?}", Config::parse("f", text)).contains("hunter2"));
}

#[test]
fn folders_are_not_shared() {
    let controller = |name: &str| {
        format!("[[controllers]]\nname = \"{name}\"\naddress = \"{name}:1\"\nstate = \"/state\"\n")
    };
    let text = format!("cluster = \"shop\"\n{}{}", controller("a"), controller("b"));
    let text = text.replace("\"a:1", "\"127.0.0.1:1").replace("\"b:1", "\"127.0.0.2:1");
    assert_eq!(
        notes(&text)[0],
        "9:9 /state is used twice: it is the state folder of a and the state folder of b"
    );
    let text = text.replace("state = \"/state\"", &format!("admin = \"/{}\"", "s".repeat(107)));
    assert_eq!(notes(&text)[0], "5:9 the path of the socket has 108 bytes");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        if let Err(errors) = Config::parse("f", &text) {
            prop_assert!(!errors.notes().is_empty());
            rendered(&text);
        }
    }

    #[test]
    fn no_toml_makes_it_panic(
        lines in prop::collection::vec(
            "(cluster|controllers|redis|mariadb|durability|username|name|address|instances|down_after|\\[\\[redis\\]\\]|\\[\\[mariadb\\]\\]|\\[\\[controllers\\]\\]|preference)( = (\"[a-z0-9:.é]{0,6}\"|-?[0-9]{1,25}|\\[\\]|\\{\\}|\\[1\\]|true|1\\.5|\\{ name = \"é\" \\}))?",
            0..12,
        ),
    ) {
        let text = lines.join("\n");
        if Config::parse("f", &text).is_err() {
            rendered(&text);
        }
    }
}

#[test]
fn half_a_client_certificate_and_a_name_that_is_none_are_refused() {
    let service = |tls: &str| {
        format!(
            "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:7601\"\n[[redis]]\nname = \"m\"\n\
             tls = {tls}\ninstances = [{{ name = \"r1\", address = \"127.0.0.1:1\" }}]\n"
        )
    };
    for (tls, said) in [
        ("{ ca = \"/ca.pem\", key = \"/k.pem\" }", "has no certificate"),
        ("{ ca = \"/ca.pem\", certificate = \"/c.pem\" }", "has no key"),
        ("{ server_name = \"redis\" }", "has no ca"),
        ("{ ca = \"ca.pem\" }", "not an absolute path"),
        ("{ ca = \"/ca.pem\", server_name = \"redis:6379/\" }", "cannot be a server's name"),
        ("true", "must be a table"),
    ] {
        let found = notes(&service(tls));
        assert!(found.iter().any(|note| note.contains(said)), "{tls}: {found:?}");
    }
}

#[test]
fn mistakes_about_endpoints_come_all_at_once() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]

[[endpoints]]
name = "shop"
service = "mymater"
listen = "0.0.0.0:6390"

[[endpoints]]
name = "shop"
service = "mymaster"
max_lag = 5

[[endpoints]]
name = "catalogue"
service = "mymaster"
role = "replica"
otherwise = "guess"
auth = "nobody"
users = [ { name = "app" }, { name = "web", password = "x" } ]
listen = "127.0.0.1:7601"
hold = "1d"
"#
    ));
}

#[test]
fn a_gateway_without_an_endpoint_is_refused() {
    let text = r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601", gateway = true } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]
"#;
    assert!(notes(text).contains(&"2:59 a gateway without an endpoint serves nobody".to_owned()));
}

#[test]
fn a_server_username_without_its_password_is_refused_where_it_stands() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]

[[endpoints]]
name = "shop"
service = "mymaster"
listen = "127.0.0.1:6390"
server_username = "shop"
users = [
  { name = "app", password_env = "APP", server_username = "app" },
  { name = "web", password_env = "WEB", server_password_file = "pass" },
]
"#
    ));
}

#[test]
fn limits_of_endpoints_have_bounds() {
    for (setting, message) in [
        ("proxy_protocol = \"v2\"", "proxy_protocol must be true or false"),
        ("commands_per_second = -1", "commands_per_second = -1 is out of bounds"),
        ("commands_per_second = \"10/s\"", "commands_per_second must be a whole number"),
        ("memory_max = 1000", "memory_max = 1000 is out of bounds"),
        ("unread_max = 1", "unread_max = 1 is out of bounds"),
        ("clients_max = 0", "clients_max = 0 is out of bounds"),
        ("idle_timeout = 5", "idle_timeout must be a duration such as \"500ms\""),
    ] {
        let text = format!(
            "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[redis]]\nname = \"m\"\n\
             instances = [{{ name = \"r\", address = \"r:1\" }}]\n[[endpoints]]\nname = \"e\"\nservice = \"m\"\n\
             listen = \"127.0.0.1:2\"\n{setting}\n"
        );
        let notes = notes(&text);
        assert!(notes[0].ends_with(message), "{notes:?}");
    }
}

#[test]
fn a_failsafe_that_does_not_exist_is_refused_with_those_that_do() {
    let file = |value: &str| {
        format!(
            "cluster = \"shop\"\ncontrollers = [ {{ name = \"a\", address = \"127.0.0.1:7601\" }} ]\n[[redis]]\n\
             name = \"m\"\nfailsafe = {value}\ninstances = [ {{ name = \"r1\", address = \"10.0.0.1:6379\" }} ]\n"
        )
    };
    for (value, message) in [
        ("\"on\"", "'on' is no failsafe"),
        ("\"Risk-Two-Primaries\"", "'Risk-Two-Primaries' is no failsafe"),
        ("true", "failsafe must be a text"),
    ] {
        assert_eq!(notes(&file(value))[0], format!("5:12 {message}"));
        let seen = rendered(&file(value));
        assert!(value == "true" || seen.contains("risk-two-primaries\""), "{seen}");
    }
}

#[test]
fn mistakes_about_a_mariadb_come_all_at_once() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]

[[redis]]
name = "orders"
events = true
durability = "async"
replication_username = "r"
username = "backstay"
password_env = "PASS"
instances = [ { name = "r1", address = "10.0.0.1:6379" }, { name = "r2", address = "10.0.0.2:6379" } ]

[[mariadb]]
name = "orders"
durability = "majority"
canary_key = "k"
min_replicas_to_write = 1
ignore_sentinels = true
failsafe = "risk-two-primaries"
replication_user = "replica"
replication_password = "hunter2"
instances = [
  { name = "r1", address = "10.0.0.3:3306" },
  { name = "db2", address = "10.0.0.1:6379" },
]

[[mariadb]]
name = "stock"
durability = "bounded"
events = "on"
username = "back stay"
password_env = "PASS"
replication_username = "replica"
instances = []

[[mariadb]]
name = "returns"
username = "backstay"
replication_password_file = "/etc/replica.pass"
"#
    ));
}

#[test]
fn what_is_not_tried_on_a_mysql_is_refused() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]

[[mysql]]
name = "orders"
durability = "majority"
events = true
rebuild = "auto"
failsafe = "risk-two-primaries"
canary_key = "k"
flavour = "mysql"
instances = [ { name = "db1", address = "10.0.0.1:3306", agent = "10.0.0.1:7701" }, { name = "db2", address = "10.0.0.2:3306" } ]
"#
    ));
}

#[test]
fn mistakes_about_agents_are_told_where_they_stand() {
    let file = |agent: &str, rest: &str| {
        format!(
            "cluster = \"shop\"\ncontrollers = [ {{ name = \"a\", address = \"127.0.0.1:7601\", sentinel = \"off\" }} ]\n\
             [[mariadb]]\nname = \"orders\"\nusername = \"b\"\npassword_env = \"P\"\n{rest}instances = [\n\
             {{ name = \"db1\", address = \"127.0.0.1:3306\", agent = \"{agent}\" }},\n\
             {{ name = \"db2\", address = \"127.0.0.1:3307\" }},\n]\n"
        )
    };
    assert_eq!(
        notes(&file("10.0.0.1:7701", ""))[..1],
        ["8:53 10.0.0.1:7701 is not a loopback address, and there is no [tls]"]
    );
    assert_eq!(
        notes(&file("localhost:3307", ""))[..1],
        ["8:53 localhost:3307 is used twice: it is the address of db2 and where the agent of db1 listens"]
    );
    assert_eq!(notes(&file("0.0.0.0:7701", ""))[0], "8:53 nobody can connect to 0.0.0.0:7701");
    assert_eq!(
        notes(&file("127.0.0.1:7701", "rebuild = \"never\"\n"))[0],
        "7:11 'never' says nobody who decides"
    );
    let redis = "cluster = \"shop\"\ncontrollers = [ { name = \"a\", address = \"127.0.0.1:7601\" } ]\n[[redis]]\n\
                 name = \"m\"\nrebuild = \"auto\"\ninstances = [ { name = \"r1\", address = \"127.0.0.1:6379\", agent = \
                 \"127.0.0.1:7701\" } ]\n";
    assert_eq!(
        notes(redis)[..2],
        ["5:1 rebuild is a setting of [[mariadb]]", "6:58 agent is a setting of instances of [[mariadb]]"]
    );
}

#[test]
fn a_majority_of_a_mariadb_is_of_three() {
    let file = |count: u16| {
        let instances = (1..=count).map(|n| format!("{{ name = \"db{n}\", address = \"10.0.0.{n}:3306\" }}"));
        format!(
            "cluster = \"shop\"\ncontrollers = [ {{ name = \"a\", address = \"127.0.0.1:7601\" }} ]\n[[mariadb]]\n\
             name = \"orders\"\nusername = \"b\"\npassword_env = \"P\"\ndurability = \"majority\"\n\
             instances = [ {} ]\n",
            instances.collect::<Vec<_>>().join(", ")
        )
    };
    assert!(Config::parse("backstay.toml", &file(3)).is_ok());
    for (count, found) in
        [(1, "there is 1 instance"), (2, "there are 2 instances"), (4, "there are 4 instances")]
    {
        let sentence = format!("7:14 durability = \"majority\" needs exactly three instances, and {found}");
        assert!(notes(&file(count)).contains(&sentence), "{:?}", notes(&file(count)));
    }
}

#[test]
fn what_means_nothing_for_an_endpoint_is_refused_by_name() {
    insta::assert_snapshot!(rendered(
        r#"cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]
[[mariadb]]
name = "orders"
username = "backstay"
password_env = "P"
instances = [ { name = "db1", address = "10.0.0.1:3306" }, { name = "db2", address = "10.0.0.2:3306" } ]

[[endpoints]]
name = "orders"
service = "orders"
users = [ { name = "app" } ]
auth = "none"
server_username = "shop"
server_password_file = "shop.pass"
server_password_env = "SHOP"
tls = { certificate = "/etc/shop.crt" }
commands_per_second = 100
unread_max = 1
slow = "never"

[[endpoints]]
name = "shop"
service = "mymaster"
listen = "127.0.0.1:6390"
send_proxy_protocol = true
"#
    ));
}
