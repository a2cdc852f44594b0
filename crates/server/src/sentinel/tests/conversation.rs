//! What clients ask and are told, byte by byte.

use super::node::{Client, Node, PATIENCE, address, talk, until};
use crate::sentinel::Settings;
use backstay_model::{Epoch, EventKind};
use std::time::Duration;

async fn port() -> std::net::SocketAddr {
    Node::new().open(Node::settings()).await
}

#[tokio::test]
async fn the_address_of_a_primary_is_two_strings_and_of_anything_else_nothing() {
    let port = port().await;
    let replies = talk(
        port,
        "SENTINEL get-master-addr-by-name mymaster\r\n\
         sentinel GET-PRIMARY-ADDR-BY-NAME mymaster\r\n\
         SENTINEL get-master-addr-by-name fresh\r\n\
         SENTINEL get-master-addr-by-name nobody\r\n",
    )
    .await;
    let known = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n";
    assert_eq!(replies, format!("{known}{known}*-1\r\n*-1\r\n"));
    let replies = talk(port, "HELLO 3\r\nSENTINEL get-master-addr-by-name fresh").await;
    assert!(replies.ends_with("_\r\n"), "{replies}");
}

#[tokio::test]
async fn what_client_libraries_send_when_they_connect_is_accepted() {
    let replies = talk(
        port().await,
        "CLIENT SETINFO LIB-NAME redis-py\r\nCLIENT SETINFO LIB-VER 5.0\r\nCLIENT SETNAME shop-1\r\nCLIENT GETNAME\r\n\
         CLIENT NO-EVICT on\r\nCLIENT ID\r\nPING\r\nPING hi\r\nCOMMAND COUNT\r\nCOMMAND DOCS\r\nROLE\r\nRESET\r\n\
         CLIENT GETNAME\r\n",
    )
    .await;
    assert_eq!(
        replies,
        "+OK\r\n+OK\r\n+OK\r\n$6\r\nshop-1\r\n+OK\r\n:1\r\n+PONG\r\n$2\r\nhi\r\n:15\r\n*0\r\n\
         *2\r\n$8\r\nsentinel\r\n*2\r\n$5\r\nfresh\r\n$8\r\nmymaster\r\n+RESET\r\n$-1\r\n"
    );
}

#[tokio::test]
async fn errors_are_spelt_as_redis_spells_them() {
    let port = port().await;
    for (request, reply) in [
        ("get x", "ERR unknown command 'get', with args beginning with: 'x' "),
        ("get", "ERR unknown command 'get', with args beginning with: "),
        ("ping a b", "ERR wrong number of arguments for 'ping' command"),
        ("sentinel", "ERR wrong number of arguments for 'sentinel' command"),
        ("SENTINEL master", "ERR wrong number of arguments for 'sentinel|master' command"),
        ("sentinel foo", "ERR unknown subcommand 'foo'. Try SENTINEL HELP."),
        ("sentinel master nope", "ERR No such master with that name"),
        ("sentinel replicas nope", "ERR No such master with that name"),
        ("sentinel ckquorum nope", "ERR No such master with that name"),
        ("hello 4", "NOPROTO unsupported protocol version"),
        ("hello x", "ERR Protocol version is not an integer or out of range"),
        ("hello 3 foo", "ERR Syntax error in HELLO option 'foo'"),
        ("auth a b c", "ERR syntax error"),
        ("auth a b", "WRONGPASS invalid username-password pair or user is disabled."),
        ("client foo", "ERR unknown subcommand 'foo'. Try CLIENT HELP."),
        ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
        ("publish x y", "ERR Only HELLO messages are accepted by Sentinel instances."),
        ("subscribe", "ERR wrong number of arguments for 'subscribe' command"),
        (
            "auth x",
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
        ("client setname \"a b\"", "ERR Client names cannot contain spaces, newlines or special characters."),
    ] {
        assert_eq!(talk(port, request).await, format!("-{reply}\r\n"), "{request}");
    }
}

#[tokio::test]
async fn nothing_is_told_before_the_right_password() {
    let settings = Settings { password: Some(b"hush".to_vec()), ..Node::settings() };
    let port = Node::new().open(settings).await;
    let denied = "-NOAUTH Authentication required.\r\n";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let requests = "PING\r\nSENTINEL masters\r\nSUBSCRIBE x\r\nAUTH hus\r\nAUTH hushhush\r\nAUTH other hush\r\nPING\r\n\
                    HELLO 3\r\nHELLO 3 AUTH default hus\r\nAUTH hush\r\nPING\r\nRESET\r\nPING\r\n";
    let replies = talk(port, requests).await;
    let (before, after) = replies.split_once("-NOAUTH HELLO must be called").unwrap();
    assert_eq!(before, [denied, denied, denied, wrong, wrong, wrong, denied].concat());
    let (_, after) = after.split_once("\r\n").unwrap();
    assert_eq!(after, [wrong, "+OK\r\n+PONG\r\n+RESET\r\n", denied].concat());
    let greeting = talk(port, "HELLO 3 AUTH default hush SETNAME shop\r\nCLIENT GETNAME\r\n").await;
    assert!(greeting.starts_with("%6\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{greeting}");
    assert!(greeting.ends_with("$4\r\nshop\r\n"), "{greeting}");
}

#[tokio::test]
async fn a_service_without_a_primary_is_shown_as_down() {
    let replies = talk(port().await, "SENTINEL master fresh").await;
    assert!(replies.contains("$2\r\nip\r\n$1\r\n?\r\n$4\r\nport\r\n$1\r\n0\r\n"), "{replies}");
    assert!(replies.contains("$33\r\ns_down,o_down,master,disconnected\r\n"), "{replies}");
}

#[tokio::test]
async fn info_shows_the_services_as_sentinel_does() {
    let node = Node::new();
    let port = node.open(Node::settings()).await;
    let info = talk(port, "INFO sentinel").await;
    assert!(
        info.ends_with(
            "# Sentinel\r\nsentinel_masters:2\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
             sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\nsentinel_simulate_failure_flags:0\r\n\
             master0:name=fresh,status=odown,address=?:0,slaves=1,sentinels=3\r\n\
             master1:name=mymaster,status=ok,address=127.0.0.1:6379,slaves=2,sentinels=3\r\n\r\n"
        ),
        "{info}"
    );
    let all = talk(port, "INFO").await;
    for section in ["# Server", "# Clients", "# Stats", "# CPU", "# Sentinel"] {
        assert!(all.contains(section), "{section}");
    }
    assert_eq!(talk(port, "INFO nothing").await, "$0\r\n\r\n");
}

#[tokio::test]
async fn the_quorum_is_answered_for_and_refused() {
    let node = Node::new();
    let port = node.open(Node::settings()).await;
    assert_eq!(
        talk(port, "SENTINEL ckquorum mymaster").await,
        "+OK 3 usable Sentinels. Quorum and failover authorization can be reached\r\n"
    );
    {
        let mut picture = node.picture.lock().unwrap();
        picture.quorum = false;
        picture.controllers[1].connected = false;
        picture.controllers[2].connected = false;
    }
    // A picture serves for a moment.
    until("a refusal", async || {
        let reply = talk(port, "SENTINEL ckquorum mymaster").await;
        reply.starts_with("-NOQUORUM 1 usable Sentinels. ")
    })
    .await;
}

#[tokio::test]
async fn requests_in_one_piece_or_byte_by_byte_are_answered_alike() {
    let port = port().await;
    let requests = "*2\r\n$8\r\nSENTINEL\r\n$4\r\nMYID\r\nPING\r\n*1\r\n$4\r\nPING\r\n";
    let at_once = talk(port, requests).await;
    let mut client = Client::connect(port).await;
    for byte in requests.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read_to("+PONG\r\n+PONG\r\n").await, at_once);
    assert_eq!(at_once.len(), "$40\r\n\r\n+PONG\r\n+PONG\r\n".len() + 40);
}

/// A port on which a planned move was begun and heard of.
async fn moving(node: &Node, move_wait_max: Duration) -> std::net::SocketAddr {
    let mut settings = Node::settings();
    settings.bounds.move_wait_max = move_wait_max;
    let port = node.open(settings).await;
    let mut listener = Client::connect(port).await;
    listener.send("SUBSCRIBE +odown\r\n").await;
    listener.read_to(":1\r\n").await;
    node.tell(EventKind::SwitchoverBegun {
        epoch: Epoch(2),
        from: Some("r1".into()),
        to: "r2".into(),
        by: "ada".into(),
    });
    node.tell(EventKind::VerdictDown {
        instance: "r1".into(),
        address: address(6379),
        votes: 3,
        controllers: 3,
    });
    listener.read_to("#quorum 3/2\r\n").await;
    port
}

#[tokio::test]
async fn during_a_planned_move_an_address_is_told_when_the_move_is_made() {
    let node = Node::new();
    let port = moving(&node, PATIENCE).await;
    let mut clients = Vec::new();
    for request in ["get-master-addr-by-name mymaster", "MASTER mymaster", "MASTERS"] {
        let mut client = Client::connect(port).await;
        // Other services do not wait.
        client.send("SENTINEL get-master-addr-by-name fresh\r\n").await;
        assert_eq!(client.read_to("\r\n").await, "*-1\r\n");
        client.send(format!("SENTINEL {request}\r\nQUIT\r\n")).await;
        clients.push(client);
    }
    node.promote_r2();
    for mut client in clients {
        let answer = client.read_to_end().await;
        assert!(answer.contains("\r\n6380\r\n") && answer.ends_with("+OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_planned_move_that_takes_long_keeps_nobody_waiting_for_the_old_address() {
    let node = Node::new();
    let port = moving(&node, Duration::from_millis(1)).await;
    let old = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n";
    assert_eq!(talk(port, "SENTINEL get-master-addr-by-name mymaster").await, old);
}
