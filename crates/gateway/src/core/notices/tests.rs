//! Where frames stand that a client did not ask for.

use super::Here;
use crate::core::{Core, Effect, Key};
use crate::direction::{Direction, Target};
use crate::settings::{Endpoint, EndpointKind, EndpointLimits, Settings};
use backstay_model::{Epoch, Time};
use std::time::Duration;

/// Longer than what is kept back until a reply is whole.
const LONG: usize = 100_000;

/// One client at one endpoint, and the connection to the primary that they share.
struct Play {
    core: Core,
    client: Key,
    link: Key,
}

impl Play {
    fn new(limits: EndpointLimits) -> Self {
        let endpoint = Endpoint { limits, ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary) };
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let mut core = Core::new(settings, Time::ZERO);
        core.set_now(Time::from_micros(1_000));
        let client = core.client_opened(0, "peer").unwrap();
        let mut play = Self { core, client, link: Key::NONE };
        play.serve(1);
        play.say("HELLO 3\r\nCLIENT MAINT_NOTIFICATIONS ON\r\n*1\r\n$4\r\nPING\r\n");
        let Some(Effect::Connect { link, .. }) = play.core.effect() else {
            panic!("it connects");
        };
        play.link = link;
        play.core.link_connected(link);
        play.answer("%1\r\n+proto\r\n:3\r\n+OK\r\n:7\r\n");
        play.answer("+PONG\r\n");
        assert!(play.heard().ends_with("+OK\r\n+PONG\r\n"));
        play
    }

    fn route(&mut self, direction: &Direction) {
        self.core.route(&"shop".into(), direction, &[]);
        self.core.tick();
        self.core.settle();
    }

    fn serve(&mut self, epoch: u64) {
        let target = Target { address: "127.0.0.1:1".parse().unwrap(), host: "127.0.0.1".into() };
        self.route(&Direction::Serve { epoch: Epoch(epoch), target, until: Time::MAX });
    }

    fn drain(&mut self, epoch: u64) {
        self.route(&Direction::Drain { epoch: Epoch(epoch), until: Time::MAX });
    }

    fn say(&mut self, text: &str) {
        self.core.client_read(self.client, text.as_bytes());
        self.core.settle();
    }

    /// The server reads everything, and answers.
    fn answer(&mut self, text: &str) {
        if let Some((output, sent)) = self.core.link_output(self.link) {
            let unsent = output.len() - sent;
            self.core.link_wrote(self.link, unsent);
        }
        self.core.link_read(self.link, text.as_bytes());
        self.core.settle();
    }

    /// What the client has been sent since.
    fn heard(&mut self) -> String {
        let Some((output, sent)) = self.core.client_output(self.client) else {
            return "closed".to_owned();
        };
        let text = String::from_utf8_lossy(&output[sent..]).into_owned();
        self.core.client_wrote(self.client, text.len());
        text
    }
}

fn begins(number: u64) -> String {
    format!(">4\r\n$9\r\nMIGRATING\r\n:{number}\r\n:10\r\n$4\r\nshop\r\n")
}

fn ends(number: u64) -> String {
    format!(">3\r\n$8\r\nMIGRATED\r\n:{number}\r\n$4\r\nshop\r\n")
}

/// As `assert_eq`, for what nobody wants to read in full.
fn same(left: &str, right: &str) {
    assert!(left == right, "{}\n{}", left.replace(['x', 'y'], ""), right.replace(['x', 'y'], ""));
}

#[test]
fn a_notice_waits_for_the_end_of_the_reply_and_comes_before_the_next_one() {
    let mut play = Play::new(EndpointLimits::default());
    let (half, rest) = ("x".repeat(LONG / 2), "y".repeat(LONG / 2));
    play.say("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n");
    play.answer(&format!("${LONG}\r\n{half}"));
    let mut heard = play.heard();
    assert!(heard.starts_with(&format!("${LONG}\r\nxxx")), "a long reply is passed on before it is whole");
    play.drain(2);
    assert_eq!(play.heard(), "");
    play.answer(&format!("{rest}\r\n$1\r\nb\r\n"));
    heard += &play.heard();
    same(&heard, &format!("${LONG}\r\n{half}{rest}\r\n{}$1\r\nb\r\n", begins(1)));
    play.serve(2);
    assert_eq!(play.heard(), ends(2));
}

#[test]
fn between_two_long_replies_there_is_a_place_too() {
    let mut play = Play::new(EndpointLimits::default());
    let half = "x".repeat(LONG / 2);
    play.say("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n");
    play.answer(&format!("${LONG}\r\n{half}"));
    let mut heard = play.heard();
    play.drain(2);
    // The next reply begins in the bytes that end the first.
    play.answer(&format!("{half}\r\n${LONG}\r\n{half}"));
    play.answer(&format!("{half}\r\n"));
    heard += &play.heard();
    let reply = format!("${LONG}\r\n{half}{half}\r\n");
    same(&heard, &format!("{reply}{}{reply}", begins(1)));
}

#[test]
fn a_reply_that_is_not_passed_on_yet_holds_no_notice_back() {
    let mut play = Play::new(EndpointLimits::default());
    play.say("*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    play.answer("$5\r\nhe");
    play.drain(2);
    assert_eq!(play.heard(), begins(1));
    play.answer("llo\r\n");
    assert_eq!(play.heard(), "$5\r\nhello\r\n");
}

#[test]
fn a_notice_that_was_held_back_is_forgotten_with_its_client() {
    let mut play = Play::new(EndpointLimits::default());
    play.say("*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    play.answer(&format!("${LONG}\r\n{}", "x".repeat(LONG / 2)));
    play.heard();
    play.drain(2);
    // The rest of the reply will never come.
    play.core.link_lost(play.link, "test");
    assert_eq!(play.heard(), "closed");
}

#[test]
fn notices_that_nobody_fetches_end_their_client() {
    let mut play = Play::new(EndpointLimits { output_bytes_max: 1000, ..EndpointLimits::default() });
    let mut epoch = 2;
    while play.core.client_output(play.client).is_some() {
        play.drain(epoch);
        play.serve(epoch);
        epoch += 1;
        assert!(epoch < 100);
    }
    assert!(epoch > 5);
}

#[test]
fn who_was_told_to_go_is_let_stay_and_who_was_not_goes() {
    let mut play = Play::new(EndpointLimits::default());
    let other = play.core.client_opened(0, "other").unwrap();
    let here = Here { address: None, name: None };
    play.core.leave(Duration::from_millis(10_900), |_| Some(here.clone()));
    play.core.end_settled_clients(Duration::ZERO);
    assert_eq!(play.heard(), ">4\r\n$6\r\nMOVING\r\n:1\r\n:10\r\n_\r\n");
    assert!(play.core.client_output(other).is_none());
    play.core.client_eof(play.client);
    assert!(play.core.is_empty());
}

#[test]
fn nobody_is_told_to_go_who_has_no_time_for_it() {
    let mut play = Play::new(EndpointLimits::default());
    play.core.leave(Duration::from_millis(900), |_| Some(Here { address: None, name: None }));
    assert_eq!(play.heard(), "");
    play.core.end_settled_clients(Duration::ZERO);
    assert!(play.core.is_empty());
}
