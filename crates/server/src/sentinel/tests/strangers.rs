//! Services that are no Redis do not exist for those who ask a Sentinel.

use super::node::{Client, Node, promotion_of_r2, talk};
use crate::sentinel::Settings;
use backstay_config::Config;

const FILE: &str = r#"
cluster = "shop"
controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
redis = [ { name = "mymaster", instances = [ { name = "r1", address = "10.0.0.1:6379" } ] } ]
[[mariadb]]
name = "orders"
username = "backstay"
password_env = "PASS"
instances = [ { name = "db1", address = "10.0.0.1:3306" } ]
"#;

#[test]
fn the_port_learns_of_redis_services_alone() {
    let config = Config::parse("backstay.toml", FILE).unwrap();
    let settings = Settings::of(&config, &"a".into(), None);
    assert_eq!(settings.services.into_keys().collect::<Vec<_>>(), ["mymaster".into()]);
}

#[tokio::test]
async fn a_mariadb_is_no_master() {
    let port = Node::with_orders().open(Node::settings()).await;
    assert_eq!(talk(port, "SENTINEL get-master-addr-by-name orders").await, "*-1\r\n");
    for subcommand in ["master", "replicas", "sentinels", "ckquorum"] {
        let reply = talk(port, &format!("SENTINEL {subcommand} orders")).await;
        assert_eq!(reply, "-ERR No such master with that name\r\n", "{subcommand}");
    }
    for request in ["SENTINEL masters", "INFO", "ROLE"] {
        let reply = talk(port, request).await;
        assert!(reply.contains("mymaster") && !reply.contains("orders"), "{request}: {reply}");
    }
}

#[tokio::test]
async fn subscribers_hear_nothing_of_a_mariadb() {
    let node = Node::with_orders();
    let port = node.open(Node::settings()).await;
    let mut client = Client::connect(port).await;
    client.send("SUBSCRIBE +switch-master\r\n").await;
    client.read_to(":1\r\n").await;
    node.picture.lock().unwrap().services[2].address = Some(super::node::address(6380));
    node.tell_of("orders".into(), promotion_of_r2());
    node.promote_r2();
    let heard = client.read_to("6380\r\n").await;
    assert!(heard.contains("mymaster") && !heard.contains("orders"), "{heard}");
}
