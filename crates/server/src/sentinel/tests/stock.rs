//! Side by side with the stock `redis-sentinel` over an equal group: the same fields in the same order.

use super::node::{Node, talk, until};
use backstay_lab::servers::ports::Ports;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is ours and has no state that anybody needs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that no other test has, nor any lab, nor somebody's outgoing connection.
fn free_port() -> u16 {
    static PORTS: Mutex<Option<Ports>> = Mutex::new(None);
    let mut ports = PORTS.lock().unwrap();
    ports.get_or_insert_with(|| Ports::open().unwrap()).claim().unwrap()
}

fn start(program: &str, arguments: &[&str], port: u16, folder: &Path) -> Server {
    let child = Command::new(program)
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("Redis is installed");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Server { child, address }
}

fn redis(folder: &Path, primary: Option<&Server>) -> Server {
    let of = primary.map_or(String::new(), |primary| primary.address.port().to_string());
    let mut arguments = vec!["--save", "", "--repl-diskless-sync-delay", "0"];
    if primary.is_some() {
        arguments.extend(["--replicaof", "127.0.0.1", &of]);
    }
    start("redis-server", &arguments, free_port(), folder)
}

fn sentinel(folder: &Path, name: &str, primary: &Server) -> Server {
    let file = folder.join(name);
    let port = primary.address.port();
    let text = format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 2\nsentinel down-after-milliseconds mymaster 500\n"
    );
    std::fs::write(&file, text).unwrap();
    start("redis-sentinel", &[file.to_str().unwrap()], free_port(), folder)
}

/// What the real `redis-cli` prints, line by line.
async fn cli(port: u16, words: &[&str]) -> Vec<String> {
    let output = tokio::process::Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(words)
        .output()
        .await
        .expect("redis-cli is installed");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Every other line: the names of the fields.
fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().step_by(2).map(String::as_str).collect()
}

#[tokio::test]
async fn the_fields_and_their_order_are_those_of_the_stock_sentinel() {
    let folder = tempfile::tempdir().unwrap();
    let primary = redis(folder.path(), None);
    until("a primary", async || cli(primary.address.port(), &["ping"]).await == ["PONG"]).await;
    let replica = redis(folder.path(), Some(&primary));
    // A Sentinel asks its primary for replicas when it starts, and then only every ten seconds.
    until("a replica", async || {
        let info = cli(primary.address.port(), &["info", "replication"]).await;
        info.iter().any(|line| line.trim() == "connected_slaves:1")
    })
    .await;
    let stock = sentinel(folder.path(), "first.conf", &primary);
    let other = sentinel(folder.path(), "second.conf", &primary);
    let theirs = stock.address.port();
    until("a complete view", async || {
        let master = cli(theirs, &["sentinel", "master", "mymaster"]).await;
        let has = |name: &str, value: &str| master.windows(2).any(|pair| pair == [name, value]);
        has("num-slaves", "1") && has("num-other-sentinels", "1") && has("flags", "master")
    })
    .await;

    let node = Node::new();
    let ours = node.open(Node::settings()).await.port();
    for command in ["master", "replicas", "sentinels"] {
        let (their, our) = (
            cli(theirs, &["sentinel", command, "mymaster"]).await,
            cli(ours, &["sentinel", command, "mymaster"]).await,
        );
        let (their, our) = (names(&their), names(&our));
        assert!(!their.is_empty(), "{command}");
        // Each of ours has the fields of their one.
        for map in our.chunks(their.len()) {
            assert_eq!(map, their, "{command}");
        }
    }

    // A replica that is down has one field more, in the same place.
    drop(replica);
    until("the replica is down", async || {
        cli(theirs, &["sentinel", "replicas", "mymaster"])
            .await
            .contains(&"s_down,slave,disconnected".to_owned())
    })
    .await;
    node.picture.lock().unwrap().services[1].instances[1].suspected = true;
    until("ours is, too", async || {
        cli(ours, &["sentinel", "slaves", "mymaster"]).await.contains(&"s_down,slave,disconnected".to_owned())
    })
    .await;
    let (their, our) = (
        cli(theirs, &["sentinel", "replicas", "mymaster"]).await,
        cli(ours, &["sentinel", "slaves", "mymaster"]).await,
    );
    assert_eq!(names(&our)[..names(&their).len()], names(&their));
    drop(other);
}

#[tokio::test]
async fn the_real_redis_cli_can_talk_to_the_port_in_both_protocols() {
    let port = Node::new().open(Node::settings()).await;
    for protocol in ["-2", "-3"] {
        let address = cli(port.port(), &[protocol, "sentinel", "get-master-addr-by-name", "mymaster"]).await;
        assert_eq!(address, ["127.0.0.1", "6379"]);
        assert_eq!(cli(port.port(), &[protocol, "ping"]).await, ["PONG"]);
        let info = cli(port.port(), &[protocol, "info", "sentinel"]).await;
        assert!(info.iter().any(|line| line.starts_with("master1:name=mymaster,status=ok")), "{info:?}");
    }
    assert!(talk(port, "CLIENT LIST").await.contains("cmd=client|list"));
}
