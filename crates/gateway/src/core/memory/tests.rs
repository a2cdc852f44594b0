//! Memory, counted after whatever clients do.

use crate::core::shop::Shop;
use crate::settings::EndpointLimits;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MAX: usize = 32 << 20;
const HOUSEKEEPING: Duration = Duration::from_millis(100);

fn shop(clients: usize) -> Shop {
    Shop::new(clients, EndpointLimits { memory_max: MAX, ..EndpointLimits::default() })
}

fn held(shop: &mut Shop) -> usize {
    shop.core.count_memory();
    shop.settle();
    shop.core.endpoints[0].memory
}

#[test]
fn those_who_ask_for_much_and_fetch_nothing_are_let_go_until_the_rest_fits() {
    let mut shop = shop(20);
    for client in 1..20 {
        shop.ask(client, "GET 3000000", 2);
        // What one client was sent since it was last counted may lie above, twice if its buffer has just grown.
        let before = shop.core.memory.read;
        assert!(shop.core.endpoints[0].memory + before <= MAX + MAX / 4, "after {client}");
    }
    assert!(held(&mut shop) <= MAX);
    let gone = (1..20).filter(|client| shop.core.whence(shop.clients[*client]).is_none()).count();
    assert!((10..19).contains(&gone), "{gone}");
    assert_eq!(shop.core.endpoints[0].traffic.refused.load(Ordering::Relaxed), gone as u64);
    // Who holds nothing is still there.
    assert!(shop.core.whence(shop.clients[0]).is_some());
}

#[test]
fn many_who_hold_little_count_as_one_who_holds_much() {
    let mut shop = shop(400);
    for client in 0..400 {
        shop.ask(client, "GET 120000", 1);
    }
    assert!(held(&mut shop) <= MAX);
    let left = shop.clients.iter().filter(|key| shop.core.whence(**key).is_some()).count();
    assert!((200..300).contains(&left), "{left}");
}

#[test]
fn above_four_fifths_who_has_not_fetched_its_replies_is_not_read() {
    let mut shop = shop(4);
    shop.ask(0, "GET 14000000", 2);
    shop.ask(1, "GET 10", 1);
    shop.ask(2, "GET 10", 1);
    shop.core.client_read(shop.clients[2], b"*1\r\n$4\r\nPI");
    assert!(held(&mut shop) > MAX / 5 * 4);
    let wants =
        |shop: &Shop| -> Vec<bool> { shop.clients.iter().map(|key| shop.core.wants_input(*key)).collect() };
    let readable = |shop: &mut Shop| std::iter::from_fn(|| shop.core.readable()).collect::<Vec<_>>();
    readable(&mut shop);
    // What is begun is read to its end, and who owes nothing is served.
    assert_eq!(wants(&shop), [false, false, true, true]);
    shop.core.client_read(shop.clients[2], b"NG\r\n");
    shop.settle();
    assert!(!wants(&shop)[2]);
    readable(&mut shop);
    assert!(shop.heard(2).ends_with("+PONG\r\n"));
    assert_eq!(readable(&mut shop), [shop.clients[2]]);
    // Once the greedy one has fetched what it asked for, everybody is read again.
    shop.heard(0);
    shop.pass(HOUSEKEEPING);
    assert_eq!(wants(&shop), [true; 4]);
    let again = readable(&mut shop);
    assert!(shop.clients.iter().all(|key| again.contains(key)));
}

#[test]
fn what_a_slow_server_has_not_taken_costs_nobody_his_place() {
    let mut shop = shop(51);
    for client in 1..51 {
        shop.ask(client, "GET 250000", 1);
    }
    shop.stalled = true;
    shop.ask(0, &format!("SET a {}", "x".repeat(MAX)), 1);
    assert!(held(&mut shop) > MAX);
    assert_eq!(shop.core.endpoints[0].traffic.refused.load(Ordering::Relaxed), 0);
    // Those who hold more than what is left for clients still go.
    shop.stalled = false;
    shop.settle();
    shop.heard(0);
    for client in 1..51 {
        shop.ask(client, "GET 250000", 1);
    }
    shop.stalled = true;
    shop.ask(0, &format!("SET a {}", "x".repeat(MAX)), 1);
    held(&mut shop);
    let refused = shop.core.endpoints[0].traffic.refused.load(Ordering::Relaxed);
    assert!((10..40).contains(&refused), "{refused}");
}

/// A server that does nothing, and ten clients that each sent it much; how many of them are still read.
fn crowd() -> (Shop, usize) {
    let mut shop = shop(11);
    shop.ask(0, "PING", 1);
    shop.heard(0);
    shop.stalled = true;
    for client in 1..11 {
        shop.ask(client, &format!("SET a {}", "x".repeat(1 << 20)), 1);
    }
    let read = shop.clients[1..].iter().filter(|key| shop.core.wants_input(**key)).count();
    (shop, read)
}

#[test]
fn what_does_not_fit_to_a_slow_server_waits_and_goes_on_when_it_has_taken_some() {
    let (mut shop, read) = crowd();
    assert!((3..7).contains(&read), "{read}");
    shop.stalled = false;
    shop.settle();
    for client in 1..11 {
        assert_eq!(shop.heard(client), ":7\r\n", "{client}");
        assert!(shop.core.wants_input(shop.clients[client]));
    }
}

#[test]
fn what_does_not_fit_goes_on_elsewhere_when_the_connection_is_lost_or_the_primary_moves() {
    for moves in [false, true] {
        let (mut shop, read) = crowd();
        shop.stalled = false;
        if moves {
            shop.serve(2);
        } else {
            shop.lose();
        }
        shop.settle();
        shop.pass(HOUSEKEEPING);
        shop.pass(HOUSEKEEPING);
        let heard: Vec<String> = (1..11).map(|client| shop.heard(client)).collect();
        let done = heard.iter().filter(|text| *text == ":7\r\n").count();
        let known = heard.iter().filter(|text| *text == ":7\r\n" || text.starts_with("-UNKNOWNOUTCOME"));
        assert_eq!((known.count(), done >= 10 - read), (10, true), "{heard:?}");
    }
}

#[test]
fn who_leaves_while_it_waits_for_room_is_gone_at_once() {
    let (mut shop, _) = crowd();
    shop.core.client_hung_up(shop.clients[10]);
    shop.settle();
    assert!(shop.core.whence(shop.clients[10]).is_none());
    shop.stalled = false;
    shop.settle();
    assert_eq!(shop.heard(9), ":7\r\n");
}

#[test]
fn who_waits_for_room_in_vain_is_told_so_as_soon_as_who_waits_for_a_primary() {
    let hold = EndpointLimits::default().hold_max;
    let (mut shop, read) = crowd();
    let waits = |shop: &Shop, client: usize| !shop.core.wants_input(shop.clients[client]);
    shop.pass(hold / 2);
    // What comes later has its own time.
    shop.ask(0, "GET 1", 1);
    assert_eq!((1..11).filter(|client| waits(&shop, *client)).count(), 10 - read);
    shop.pass(hold / 2);
    for client in 1..11 {
        let told = shop.heard(client);
        assert_eq!(
            told.starts_with("-HOLDTIMEOUT waited 10000 ms for room"),
            !waits_for_answer(&shop, client)
        );
        assert!(!waits(&shop, client), "it may go on: {told}");
    }
    assert_eq!((shop.heard(0), waits(&shop, 0)), (String::new(), true));
    shop.stalled = false;
    shop.settle();
    assert_eq!(shop.heard(0), "$1\r\nx\r\n");
    shop.ask(10, "PING", 1);
    assert_eq!(shop.heard(10), "+PONG\r\n");
}

fn waits_for_answer(shop: &Shop, client: usize) -> bool {
    shop.core.clients.get(shop.clients[client]).unwrap().in_flight > 0
}

#[test]
fn what_is_remembered_of_a_client_counts_as_what_it_is_owed() {
    let long = "x".repeat(3 << 20);
    for commands in [
        &[format!("BLPOP {long} 0")][..],
        &["HELLO 3".to_owned(), format!("CLIENT TRACKING ON BCAST PREFIX {long}")],
    ] {
        let mut shop = shop(20);
        shop.stalled = true;
        for client in 0..20 {
            for command in commands {
                shop.ask(client, command, 1);
            }
            shop.pass(HOUSEKEEPING);
        }
        let left = shop.clients.iter().filter(|key| shop.core.whence(**key).is_some()).count();
        let special = |key| shop.core.clients.get(key)?.special.as_ref().map(|special| special.memory());
        let remembered: usize = shop.clients.iter().filter_map(|key| special(*key)).sum();
        assert!((1..20).contains(&left) && remembered > 0, "{left} clients, {remembered} bytes");
        // As much is under way on their own connections.
        assert!(remembered * 2 <= MAX, "{remembered}");
    }
}

#[test]
fn a_list_of_clients_is_no_longer_than_what_a_client_may_be_owed() {
    let limits = EndpointLimits { output_bytes_max: 2000, ..EndpointLimits::default() };
    let mut shop = Shop::new(100, limits);
    shop.ask(0, "CLIENT LIST", 1);
    assert_eq!(shop.heard(0), "closed");
    assert_eq!(shop.core.endpoints[0].traffic.refused.load(Ordering::Relaxed), 1);
}

#[test]
fn a_name_is_short() {
    let mut shop = shop(1);
    let (longest, longer) = ("x".repeat(1024), "x".repeat(1025));
    for (command, answer) in [
        (format!("CLIENT SETNAME {longest}"), "+OK\r\n"),
        (format!("CLIENT SETNAME {longer}"), "-ERR Client names cannot be longer than 1024 bytes"),
        (format!("HELLO 2 SETNAME {longer}"), "-ERR Client names cannot be longer than 1024 bytes"),
        ("CLIENT SETNAME \u{1}".to_owned(), "-ERR Client names cannot contain spaces"),
        ("CLIENT GETNAME".to_owned(), &format!("$1024\r\n{longest}\r\n")),
    ] {
        shop.ask(0, &command, 1);
        let heard = shop.heard(0);
        assert!(heard.starts_with(answer), "{heard}");
    }
}
