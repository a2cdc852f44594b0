//! What subscribers hear, in which order, and how often.

use super::node::{Client, Node, address, promotion_of_r2, talk};
use backstay_model::EventKind;

const SWITCH: &str = "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$14\r\n+switch-master\r\n\
                      $38\r\nmymaster 127.0.0.1 6379 127.0.0.1 6380\r\n";

fn pmessage(channel: &str, payload: &str) -> String {
    let (channel_bytes, payload_bytes) = (channel.len(), payload.len());
    format!(
        "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${channel_bytes}\r\n{channel}\r\n${payload_bytes}\r\n{payload}\r\n"
    )
}

async fn listening(requests: &str) -> (Node, std::net::SocketAddr, Client) {
    let node = Node::new();
    let port = node.open(Node::settings()).await;
    let mut client = Client::connect(port).await;
    client.send(requests).await;
    client.read_to(":1\r\n").await;
    (node, port, client)
}

fn suspected(instance: &str, port: u16) -> EventKind {
    EventKind::SuspectedHere {
        instance: instance.into(),
        address: address(port),
        primary: port == 6379,
        hard: true,
    }
}

fn answering(instance: &str, port: u16) -> EventKind {
    EventKind::AnsweringHere { instance: instance.into(), address: address(port), primary: port == 6379 }
}

#[tokio::test]
async fn a_failover_is_told_in_sentinels_words_and_order() {
    let (node, port, mut client) = listening("PSUBSCRIBE *\r\n").await;
    node.tell(suspected("r3", 6381));
    node.tell(answering("r3", 6381));
    node.tell(suspected("r1", 6379));
    node.tell(EventKind::VerdictDown {
        instance: "r1".into(),
        address: address(6379),
        votes: 3,
        controllers: 3,
    });
    node.promote_r2();
    node.tell(answering("r1", 6379));
    let heard = client
        .read_to("-sdown\r\n$61\r\nslave 127.0.0.1:6379 127.0.0.1 6379 @ mymaster 127.0.0.1 6380\r\n")
        .await;
    let replica = "slave 127.0.0.1:6381 127.0.0.1 6381 @ mymaster 127.0.0.1 6379";
    let old = "slave 127.0.0.1:6379 127.0.0.1 6379 @ mymaster 127.0.0.1 6380";
    let expected = [
        pmessage("+sdown", replica),
        pmessage("-sdown", replica),
        pmessage("+sdown", "master mymaster 127.0.0.1 6379"),
        pmessage("+odown", "master mymaster 127.0.0.1 6379 #quorum 3/2"),
        pmessage("+switch-master", "mymaster 127.0.0.1 6379 127.0.0.1 6380"),
        pmessage("+sdown", old),
        pmessage("-sdown", old),
    ];
    assert_eq!(heard, expected.concat());
    let address = talk(port, "SENTINEL get-master-addr-by-name mymaster").await;
    assert_eq!(address, "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n");
}

#[tokio::test]
async fn a_switch_is_told_once_however_often_it_is_heard_of() {
    let (node, _, mut client) = listening("PSUBSCRIBE *\r\n").await;
    node.promote_r2();
    node.tell(promotion_of_r2());
    // What an older epoch says is no news either.
    node.tell(EventKind::Promoted {
        epoch: backstay_model::Epoch(1),
        from: None,
        from_address: None,
        to: "r1".into(),
        to_address: address(6379),
    });
    node.tell(suspected("r3", 6381));
    let heard = client.read_to("mymaster 127.0.0.1 6380\r\n").await;
    let replica = "slave 127.0.0.1:6381 127.0.0.1 6381 @ mymaster 127.0.0.1 6380";
    assert_eq!(heard, [SWITCH.to_owned(), pmessage("+sdown", replica)].concat());
}

#[tokio::test]
async fn a_switch_that_no_event_told_is_noticed() {
    let (node, _, mut client) = listening("SUBSCRIBE +switch-master\r\n").await;
    {
        let mut picture = node.picture.lock().unwrap();
        picture.services[1].epoch = backstay_model::Epoch(7);
        picture.services[1].address = Some(address(6381));
    }
    let heard = client.read_to("mymaster 127.0.0.1 6379 127.0.0.1 6381\r\n").await;
    assert!(heard.starts_with("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n"), "{heard}");
}

#[tokio::test]
async fn resp3_subscribers_get_pushes_and_may_ask_meanwhile() {
    let node = Node::new();
    let port = node.open(Node::settings()).await;
    let mut client = Client::connect(port).await;
    client.send("HELLO 3\r\nSUBSCRIBE +switch-master\r\nROLE\r\n").await;
    client
        .read_to(">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n*2\r\n$8\r\nsentinel\r\n*2\r\n$5\r\nfresh\r\n$8\r\nmymaster\r\n")
        .await;
    node.promote_r2();
    let heard = client.read_to("6380\r\n").await;
    assert_eq!(
        heard,
        ">3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$38\r\nmymaster 127.0.0.1 6379 127.0.0.1 6380\r\n"
    );
}

#[tokio::test]
async fn resp2_subscribers_may_only_change_their_subscriptions() {
    let node = Node::new();
    let port = node.open(Node::settings()).await;
    let mut client = Client::connect(port).await;
    client
        .send(
            "SUBSCRIBE a b\r\nPING\r\nPING x\r\nSENTINEL masters\r\nUNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nPING\r\n",
        )
        .await;
    let replies = client.read_to("+PONG\r\n").await;
    assert_eq!(
        replies,
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n\
         *2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$1\r\nx\r\n\
         -ERR Can't execute 'sentinel|masters': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context\r\n\
         *3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n\
         *3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n+PONG\r\n"
    );
}

#[tokio::test]
async fn a_subscriber_that_reads_nothing_is_dropped_and_the_others_miss_nothing() {
    let node = Node::new();
    let mut settings = Node::settings();
    settings.bounds.unsent_bytes_max = 64 * 1024;
    let port = node.open(settings).await;
    let mut sleeper = Client::connect(port).await;
    let mut reader = Client::connect(port).await;
    for client in [&mut sleeper, &mut reader] {
        client.send("PSUBSCRIBE *\r\n").await;
        client.read_to(":1\r\n").await;
    }
    // The sockets' own buffers hold some megabytes; a message has about a hundred bytes.
    let mut heard = 0_u32;
    for round in 0..200_000_u32 {
        let kind = if round % 2 == 0 { suspected("r3", 6381) } else { answering("r3", 6381) };
        node.tell(kind);
        if round % 16 == 15 {
            while heard <= round {
                reader.read_to("mymaster 127.0.0.1 6379\r\n").await;
                heard += 1;
            }
            let clients = talk(port, "CLIENT LIST TYPE pubsub").await;
            if clients.matches("psub=1").count() == 1 {
                return;
            }
        }
    }
    panic!("the sleeper was kept");
}
