//! Certificates in the file, and what may listen where with and without them.

use backstay_config::{Config, TlsSetting};

const TLS: &str = "[tls]\nauthority = \"/etc/backstay/authority.pem\"\ncertificate = \"/etc/backstay/{node}.pem\"\n\
                   key = \"/etc/backstay/{node}.key\"\n";

/// Three controllers on three machines, with these lines at the top and in each section, and this at the end.
fn file(top: &str, each: &str, end: &str) -> String {
    let controller = |(name, number): (&str, u8)| {
        format!("[[controllers]]\nname = \"{name}\"\naddress = \"10.0.0.{number}:7601\"\n{each}\n")
    };
    let controllers: String = [("a", 1), ("b", 2), ("c", 3)].map(controller).concat();
    let service = "[[redis]]\nname = \"m\"\ninstances = [{ name = \"r1\", address = \"10.0.0.1:6379\" }, { name = \
                   \"r2\", address = \"10.0.0.2:6379\" }]\n";
    format!("cluster = \"shop\"\n{top}\n{controllers}{service}{end}")
}

fn parsed(text: &str) -> Config {
    Config::parse("backstay.toml", text).unwrap_or_else(|errors| panic!("{:#?}", errors.notes()))
}

fn messages(text: &str) -> Vec<String> {
    Config::parse("backstay.toml", text).unwrap_err().notes().into_iter().map(|note| note.message).collect()
}

#[test]
fn one_file_serves_all_nodes() {
    let text = file("", "sentinel = \"off\"\nadmin_address = \"10.0.0.9:7701\"", TLS);
    // The same admin address three times is a mistake; one alone is not.
    assert!(messages(&text).iter().all(|message| message.contains("10.0.0.9:7701 is used twice")));
    let config = parsed(&file("", "sentinel = \"off\"", TLS));
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(tls.certificate(&"b".into()).to_str(), Some("/etc/backstay/b.pem"));
    assert_eq!(tls.key(&"c".into()).to_str(), Some("/etc/backstay/c.key"));
    let again = parsed(&config.show());
    assert_eq!(again.show(), config.show());
    assert_eq!(again.tls.unwrap().key(&"a".into()), tls.key(&"a".into()));
    let mistake = tls.mistake(TlsSetting::Key, "the key is gone", "Bring it back.");
    let note = &mistake.notes()[0];
    let line = file("", "sentinel = \"off\"", TLS).lines().position(|line| line.starts_with("key")).unwrap();
    assert_eq!((note.line, note.message.as_str()), (line + 1, "the key is gone"));
}

#[test]
fn without_certificates_nothing_listens_beyond_loopback() {
    let found = messages(&file("", "sentinel = \"off\"", ""));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("10.0.0.1:7601 is not a loopback address, and there is no [tls]"), "{found:?}");
    let loopback = "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:7601\"\n";
    let sentinel = format!("{loopback}sentinel = \"10.0.0.1:26379\"\n");
    assert!(messages(&sentinel)[0].contains("10.0.0.1:26379 is not a loopback address"));
    let admin = format!("{loopback}admin_address = \"127.0.0.1:7701\"\n");
    assert!(messages(&admin)[0].contains("needs certificates"));
    parsed(loopback);
    parsed(&format!("{loopback}admin_address = \"127.0.0.1:7701\"\n{TLS}"));
}

#[test]
fn beyond_loopback_the_sentinel_port_wants_a_password_or_a_word() {
    let found = messages(&file("", "", TLS));
    assert_eq!(found.len(), 3);
    assert!(found[0].contains("10.0.0.1:26379") && found[0].contains("without a password"), "{found:?}");
    parsed(&file("sentinel_password_env = \"PASS\"", "", TLS));
    let open = parsed(&file("sentinel_auth = \"none\"", "", TLS));
    assert!(open.sentinel_auth_none && open.show().contains("sentinel_auth = \"none\""));
    let found = messages(&file("sentinel_auth = \"some\"", "sentinel = \"off\"", TLS));
    assert_eq!(found, ["'some' is no way to authenticate"]);
}

#[test]
fn half_a_table_and_odd_paths_are_mistakes() {
    let with = |tls: &str| messages(&file("", "sentinel = \"off\"", tls));
    assert_eq!(with("[tls]\n"), ["[tls] has no authority", "[tls] has no certificate", "[tls] has no key"]);
    assert_eq!(with(&TLS.replace("/etc/backstay/{node}.key", "{node}.key")).len(), 1);
    assert_eq!(
        with(&TLS.replace("{node}.key", "{name}.key")),
        ["'/etc/backstay/{name}.key' holds braces that mean nothing"]
    );
    assert_eq!(
        with(&TLS.replace("{node}.key", "{node}.pem")),
        ["the certificate and its key are the same file"]
    );
}

#[test]
fn controllers_on_different_machines_may_use_the_same_folders() {
    let same = "sentinel = \"off\"\nstate = \"/var/lib/backstay\"\nadmin = \"/run/backstay.sock\"";
    parsed(&file("", same, TLS));
    let one_machine = file("", same, TLS).replace("10.0.0.2:7601", "10.0.0.1:7602");
    assert_eq!(messages(&one_machine).len(), 2);
}
