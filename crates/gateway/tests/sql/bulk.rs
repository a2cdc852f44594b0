//! Much at once.

use crate::server::Server;
use crate::support::{Front, LIMIT, endpoint, until};
use crate::wire::Client;
use std::io::Read;

#[test]
fn a_large_result_arrives_whole_also_when_the_client_is_slow_to_take_it() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    client.begin("SELECT seq, REPEAT(CHAR(65 + seq % 26), 300) FROM seq_1_to_200000").unwrap();
    // Nobody fetches it: it stays at the server, but for what the kernel and one buffer take.
    let out = || front.traffic().bytes_out;
    let mut last = 0;
    until("a standstill", || {
        let now = out();
        let stands = now > 1_000_000 && now == last;
        last = now;
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        stands
    });
    assert!(out() < 40_000_000, "{}", out());
    let rows = client.rows().unwrap();
    assert_eq!(rows.len(), 200_000);
    for (at, row) in rows.iter().enumerate() {
        let letter = char::from(b'A' + u8::try_from((at + 1) % 26).unwrap());
        assert!(row[0] == (at + 1).to_string() && row[1].len() == 300 && row[1].starts_with(letter), "{at}");
    }
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_statement_of_more_than_one_packet_arrives_whole() {
    let server = Server::with(&["--max-allowed-packet=64M", "--wait-timeout=100"]);
    let front = Front::of(&server);
    let mut client = front.client();
    let statement = format!("\x03SELECT LENGTH('{}')", "x".repeat(20_000_000));
    let (first, second) = statement.as_bytes().split_at(0x00ff_ffff);
    client.send(0, first).unwrap();
    client.send(1, second).unwrap();
    assert_eq!(client.rows().unwrap(), [["20000000"]]);
    assert_eq!(front.sql().commands, 1);
}

#[test]
fn a_connection_per_statement_is_served_many_times_over() {
    let server = Server::start();
    let front = Front::of(&server);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..60 {
                    let mut client = front.client();
                    assert_eq!(client.value(&format!("SELECT {number}")), number.to_string());
                    client.send(0, &[1]).unwrap();
                    // The server ends it.
                    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
                }
            });
        }
    });
    until("nobody", || front.traffic().clients == 0 && server.clients() == 0);
    let traffic = front.traffic();
    assert_eq!((traffic.connections.own_opened, traffic.connections.own_closed), (480, 480));
    assert_eq!((traffic.refused, front.sql().commands), (0, 960));
}

#[test]
fn the_command_line_client_prepares_fetches_and_loads_through_it() {
    let server = Server::with(&["--local-infile=ON"]);
    let front = Front::start(endpoint());
    front.serve(1, &server);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.csv");
    let lines: Vec<String> = (0..50_000).map(|number| format!("{number}\tshirt\n")).collect();
    std::fs::write(&file, lines.concat()).unwrap();
    let script = format!(
        "CREATE TABLE orders (id INT PRIMARY KEY, what TEXT);\n\
         LOAD DATA LOCAL INFILE '{}' INTO TABLE orders;\n\
         PREPARE how_many FROM 'SELECT COUNT(*) FROM orders WHERE id >= ?';\n\
         SET @from = 10; EXECUTE how_many USING @from;\n",
        file.display()
    );
    let port = format!("-P{}", front.address.port());
    let shown = std::process::Command::new("mariadb")
        .args(["--no-defaults", "-h127.0.0.1", &port, "-uroot", "--skip-ssl", "--local-infile=1", "-N"])
        .args(["-D", "shop", "-e", &script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stderr);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "49990", "{said}");
    // The file was no command, and everything was answered: a drain waits for nobody.
    let mut idle = Client::connect(front.address).unwrap();
    idle.stream.set_read_timeout(Some(LIMIT)).unwrap();
    idle.sign_in("root", "shop").unwrap();
    front.drain(2);
    front.await_held(2);
    assert_eq!((front.traffic().unknown, front.sql().parted), (0, 1));
}
