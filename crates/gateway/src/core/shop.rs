//! An endpoint to try things on: clients, time that is given, and a server that answers everything at once.

use crate::core::connect::request;
use crate::core::{Core, Effect, Key};
use crate::direction::{Direction, Target};
use crate::scan::{RequestScan, Words};
use crate::settings::{Endpoint, EndpointKind, EndpointLimits, Settings};
use backstay_model::{Epoch, Time};
use std::fmt::Write as _;
use std::time::Duration;

/// See the module's head.
pub(crate) struct Shop {
    pub(crate) core: Core,
    pub(crate) now: Time,
    pub(crate) clients: Vec<Key>,
    link: Key,
    /// How many PINGs the server has read.
    pub(crate) served: u64,
    /// The server does nothing now.
    pub(crate) stalled: bool,
}

impl Shop {
    pub(crate) fn new(clients: usize, limits: EndpointLimits) -> Self {
        let endpoint = Endpoint { limits, ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary) };
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let now = Time::from_micros(1_000_000);
        let mut core = Core::new(settings, now);
        core.set_now(now);
        let clients = (0..clients).map(|_| core.client_opened(0, "peer").unwrap()).collect();
        let mut shop = Self { core, now, clients, link: Key::NONE, served: 0, stalled: false };
        shop.serve(1);
        shop
    }

    pub(crate) fn serve(&mut self, epoch: u64) {
        let target = Target { address: "127.0.0.1:1".parse().unwrap(), host: "127.0.0.1".into() };
        let serve = Direction::Serve { epoch: Epoch(epoch), target, until: Time::MAX };
        self.core.route(&"shop".into(), &serve, &[]);
        self.core.tick();
    }

    /// Commands wait from now on.
    pub(crate) fn hold(&mut self, epoch: u64) {
        self.core.route(&"shop".into(), &Direction::Hold { epoch: Epoch(epoch) }, &[]);
        self.settle();
    }

    /// A client sends these commands together.
    pub(crate) fn say(&mut self, client: usize, commands: &[&str]) {
        let requests = commands.iter().map(|command| {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            request(&words)
        });
        let bytes = requests.collect::<Vec<_>>().concat();
        self.core.client_read(self.clients[client], &bytes);
        self.settle();
    }

    /// A client sends one command so many times.
    pub(crate) fn ask(&mut self, client: usize, command: &str, count: usize) {
        self.say(client, &vec![command; count]);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.core.set_now(self.now);
        self.core.tick();
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        loop {
            self.core.settle();
            while let Some(effect) = self.core.effect() {
                if let Effect::Connect { link, .. } = effect {
                    self.link = link;
                    self.core.link_connected(link);
                }
            }
            let Some((output, sent)) = self.core.link_output(self.link) else {
                return;
            };
            let unsent = output[sent..].to_vec();
            let greets = unsent.ends_with(b"ID\r\n");
            if unsent.is_empty() || (self.stalled && !greets) {
                return;
            }
            let (mut at, mut answers) = (0, String::new());
            while let Some(request) = RequestScan::default().next(&unsent[at..]).unwrap() {
                let mut words = Words::of(&unsent[at..]).map(String::from_utf8_lossy);
                match &*words.next().unwrap() {
                    "PING" => answers.push_str("+PONG\r\n"),
                    // A value as long as its key says.
                    "GET" => {
                        let length = words.next().unwrap().parse().unwrap();
                        let _ = write!(answers, "${length}\r\n{}\r\n", "x".repeat(length));
                    }
                    "CLIENT" if words.next().unwrap() == "TRACKING" => answers.push_str("+OK\r\n"),
                    _ => answers.push_str(":7\r\n"),
                }
                self.served += u64::from(unsent[at..].starts_with(b"*1\r\n$4\r\nPING"));
                at += request.len;
            }
            self.core.link_wrote(self.link, unsent.len());
            self.core.link_read(self.link, answers.as_bytes());
        }
    }

    /// The server reads everything, and answers this.
    pub(crate) fn reply(&mut self, answers: &str) {
        let unsent = self.core.link_output(self.link).map_or(0, |(output, sent)| output.len() - sent);
        self.core.link_wrote(self.link, unsent);
        self.core.link_read(self.link, answers.as_bytes());
    }

    /// The connection to the server breaks.
    pub(crate) fn lose(&mut self) {
        self.core.link_lost(self.link, "it is tried");
        self.settle();
    }

    /// What a client was answered since the last time.
    pub(crate) fn heard(&mut self, client: usize) -> String {
        let key = self.clients[client];
        let Some((output, sent)) = self.core.client_output(key) else {
            return "closed".to_owned();
        };
        let text = String::from_utf8_lossy(&output[sent..]).into_owned();
        self.core.client_wrote(key, text.len());
        text
    }
}
