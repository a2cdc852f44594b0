//! A rate, with time that is given.

use crate::core::shop::Shop;
use crate::settings::EndpointLimits;
use proptest::prelude::*;
use std::time::Duration;

fn at(per_second: u64, clients: usize) -> Shop {
    Shop::new(clients, EndpointLimits { commands_per_second: per_second, ..EndpointLimits::default() })
}

fn pongs(shop: &mut Shop, client: usize) -> usize {
    shop.heard(client).matches("+PONG").count()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn without_a_rate_nobody_waits() {
    let mut shop = at(0, 1);
    shop.ask(0, "PING", 10_000);
    assert_eq!(pongs(&mut shop, 0), 10_000);
}

#[test]
fn a_tenth_of_a_second_may_come_at_once_and_the_rest_comes_evenly() {
    let mut shop = at(1000, 1);
    shop.ask(0, "PING", 300);
    assert_eq!(pongs(&mut shop, 0), 100);
    assert!(!shop.core.wants_input(shop.clients[0]), "it is not read while it waits");
    shop.pass(ms(1));
    assert_eq!(pongs(&mut shop, 0), 1);
    shop.pass(Duration::from_micros(1500));
    assert_eq!(pongs(&mut shop, 0), 1);
    shop.pass(Duration::from_micros(500));
    assert_eq!(pongs(&mut shop, 0), 1);
    for _ in 0..197 {
        shop.pass(ms(1));
    }
    assert_eq!(pongs(&mut shop, 0), 197);
    assert!(shop.core.wants_input(shop.clients[0]));
    // Silence saves up no more than that.
    shop.pass(ms(60_000));
    shop.ask(0, "PING", 300);
    assert_eq!(pongs(&mut shop, 0), 100);
}

#[test]
fn a_rate_that_is_lower_than_its_burst_still_lets_one_through() {
    let mut shop = at(1, 1);
    shop.ask(0, "PING", 2);
    assert_eq!(pongs(&mut shop, 0), 1);
    shop.pass(ms(999));
    assert_eq!(pongs(&mut shop, 0), 0);
    shop.pass(ms(1));
    assert_eq!(pongs(&mut shop, 0), 1);
}

#[test]
fn who_asks_for_much_takes_no_more_than_those_who_ask_for_little() {
    let mut shop = at(1000, 4);
    shop.ask(0, "PING", 5_000);
    assert_eq!(pongs(&mut shop, 0), 100);
    let mut answered = [0; 4];
    for _ in 0..400 {
        for client in 1..4 {
            shop.ask(client, "PING", 1);
        }
        shop.pass(ms(1));
        for (client, count) in answered.iter_mut().enumerate() {
            *count += pongs(&mut shop, client);
        }
    }
    assert_eq!(answered.iter().sum::<usize>(), 400);
    assert!(answered.iter().all(|count| (95..=105).contains(count)), "{answered:?}");
}

#[test]
fn when_the_next_turn_is_somebody_wakes() {
    let mut shop = at(10_000, 1);
    shop.ask(0, "PING", 1_001);
    assert_eq!(pongs(&mut shop, 0), 1_000);
    assert_eq!(shop.core.next_wakeup().since(shop.now), Duration::from_micros(100));
    shop.pass(Duration::from_micros(100));
    assert_eq!(pongs(&mut shop, 0), 1);
    assert!(shop.core.next_wakeup().since(shop.now) > ms(1));
}

#[test]
fn who_waits_longer_than_hold_is_told_so_and_goes_on() {
    let limits = EndpointLimits { commands_per_second: 10, hold_max: ms(350), ..EndpointLimits::default() };
    let mut shop = Shop::new(20, limits);
    for client in 0..20 {
        shop.ask(client, "PING", 2);
    }
    for _ in 0..5 {
        shop.pass(ms(100));
    }
    let said: Vec<String> = (0..20).map(|client| shop.heard(client)).collect();
    let late = "-RATELIMIT waited 350 ms: this endpoint takes 10 commands per second\r\n";
    assert_eq!(said.iter().filter(|text| text.contains(late)).count(), 16, "{said:?}");
    for text in &said {
        let answers = text.matches("+PONG").count() + text.matches(late).count();
        assert!(answers == 2 || (answers == 1 && !text.contains(late)), "{text}");
    }
    // Their connections are as they were.
    shop.pass(ms(1000));
    shop.pass(ms(1000));
    shop.ask(7, "PING", 1);
    assert_eq!(shop.heard(7), "+PONG\r\n");
}

#[test]
fn half_a_command_waits_for_its_other_half_and_not_for_a_turn() {
    let mut shop = at(10, 2);
    shop.ask(0, "PING", 1);
    shop.core.client_read(shop.clients[0], b"*1\r\n$4\r\nPI");
    assert!(shop.core.wants_input(shop.clients[0]));
    shop.core.client_read(shop.clients[0], b"NG\r\n");
    assert!(!shop.core.wants_input(shop.clients[0]));
    // Somebody who goes while waiting takes nobody's turn.
    shop.core.end_client(shop.clients[0]);
    shop.ask(1, "PING", 1);
    shop.pass(ms(100));
    assert_eq!(pongs(&mut shop, 1), 1);
}

#[test]
fn what_the_gateway_answers_itself_counts_too() {
    let mut shop = at(20, 1);
    for _ in 0..5 {
        shop.core.client_read(shop.clients[0], b"CLIENT ID\r\n");
        shop.settle();
    }
    assert_eq!(shop.heard(0).matches(':').count(), 2);
    shop.pass(ms(50));
    assert_eq!(shop.heard(0).matches(':').count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn never_more_than_the_rate_and_nothing_is_forgotten(
        per_second in 1_u64..3000,
        events in prop::collection::vec((0_usize..4, 0_usize..60, 0_u64..40_000), 1..80),
    ) {
        let limits = EndpointLimits {
            commands_per_second: per_second,
            hold_max: Duration::from_secs(1 << 30),
            ..EndpointLimits::default()
        };
        let mut shop = Shop::new(4, limits);
        let (start, mut asked, mut heard) = (shop.now, [0; 4], [0; 4]);
        for (client, count, micros) in events {
            asked[client] += count;
            shop.ask(client, "PING", count);
            shop.pass(Duration::from_micros(micros));
            let burst = (per_second * 100_000).max(1_000_000);
            let most = burst + per_second * shop.now.since(start).as_micros() as u64;
            prop_assert!(shop.served * 1_000_000 <= most, "{} of {most}", shop.served);
        }
        for _ in 0..asked.iter().sum::<usize>() {
            let wait = shop.core.next_wakeup().since(shop.now);
            shop.pass(wait.max(Duration::from_micros(1_000_000_u64.div_ceil(per_second))));
        }
        for (client, count) in heard.iter_mut().enumerate() {
            *count += pongs(&mut shop, client);
        }
        prop_assert_eq!(heard, asked);
    }
}
