//! A storm of short connections, as PHP makes them: connect, ask, read, close, and again. A few threads hold many
//! connections each, so that the machine's cores are left to those who are measured.

use crate::load::exchange::{Exchange, Outcome};
use crate::load::latencies::Latencies;
use crate::load::link::{LOOK, Link};
use mio::{Events, Poll, Token};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One storm.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Where to connect to.
    pub target: SocketAddr,
    /// What is asked on each connection, one after the other.
    pub exchanges: Vec<Exchange>,
    /// How many connections at a time.
    pub concurrency: usize,
    /// For how long.
    pub duration: Duration,
    /// How long one connection may take before the storm counts as failed.
    pub limit: Duration,
}

/// Threads of the generator.
const THREADS: usize = 2;

impl Storm {
    /// Lets it rage. Any error of any connection ends it.
    pub fn run(&self) -> io::Result<Outcome> {
        let end = Instant::now() + self.duration;
        Outcome::gather(THREADS, |part| self.rage((self.concurrency + part) / THREADS, end))
    }

    fn rage(&self, connections: usize, end: Instant) -> io::Result<Latencies> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(connections.max(1));
        let mut latencies = Latencies::default();
        let mut visits = Vec::new();
        for token in 0..connections {
            visits.push(Some(Visit::begin(self, &poll, Token(token))?));
        }
        let mut looked = Instant::now();
        while visits.iter().any(Option::is_some) {
            poll.poll(&mut events, Some(LOOK))?;
            for event in &events {
                let token = event.token();
                let Some(visit) = visits[token.0].as_mut() else { continue };
                visit.link.handle(event);
                if !visit.go_on(self, &poll, token)? {
                    continue;
                }
                let now = Instant::now();
                latencies.note(now - visit.began);
                // The old connection is closed before the next one is made.
                visits[token.0] = None;
                if now < end {
                    visits[token.0] = Some(Visit::begin(self, &poll, token)?);
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.check_limit(&visits)?;
            }
        }
        Ok(latencies)
    }

    fn check_limit(&self, visits: &[Option<Visit>]) -> io::Result<()> {
        let stuck = visits.iter().flatten().any(|visit| visit.began.elapsed() > self.limit);
        if stuck { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

/// One connection's life.
struct Visit {
    link: Link,
    began: Instant,
    /// Exchanges that are done.
    done: usize,
}

impl Visit {
    fn begin(storm: &Storm, poll: &Poll, token: Token) -> io::Result<Self> {
        let began = Instant::now();
        let mut link = Link::open(storm.target)?;
        link.reset_when_dropped()?;
        if let Some(first) = storm.exchanges.first() {
            link.send(&first.request)?;
        }
        link.register(poll.registry(), token)?;
        Ok(Self { link, began, done: 0 })
    }

    /// Takes replies and sends what comes next; true: everything was answered.
    fn go_on(&mut self, storm: &Storm, poll: &Poll, token: Token) -> io::Result<bool> {
        while let Some(reply) = self.link.reply()? {
            let Some(exchange) = storm.exchanges.get(self.done) else { return Ok(true) };
            exchange.judge(&reply)?;
            self.done += 1;
            let Some(next) = storm.exchanges.get(self.done) else { return Ok(true) };
            self.link.send(&next.request)?;
            self.link.register(poll.registry(), token)?;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::connection::Reply;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    fn storm(target: SocketAddr) -> Storm {
        let ping = Exchange::new(&["PING"], Reply::Simple("PONG".to_owned()));
        let limit = Duration::from_secs(10);
        Storm { target, exchanges: vec![ping], concurrency: 1, duration: limit, limit }
    }

    #[test]
    fn a_reply_that_is_no_answer_ends_the_storm_and_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let _ = stream.read(&mut [0; 64])?;
            stream.write_all(b"-ERR too many clients\r\n")
        });
        let error = storm(target).run().unwrap_err().to_string();
        server.join().unwrap().unwrap();
        assert!(error.contains("ERR too many clients"), "{error}");
    }

    #[test]
    fn a_refused_connection_ends_the_storm() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(storm(target).run().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
