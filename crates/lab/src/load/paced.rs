//! A steady rate of operations over a few connections, sent when the plan says so, whether earlier ones were answered or
//! not. A latency counts from the planned moment: an answer that keeps the generator waiting does not hide what would
//! have been sent meanwhile (no coordinated omission).

use crate::load::exchange::{Exchange, Outcome};
use crate::load::latencies::Latencies;
use crate::load::link::{LOOK, Link};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// What to send.
#[derive(Clone, Debug)]
pub struct Paced {
    /// Where to.
    pub target: SocketAddr,
    /// Sent in turn.
    pub exchanges: Vec<Exchange>,
    /// Used in turn.
    pub connections: usize,
    /// From one operation to the next.
    pub interval: Duration,
    /// Not counted: connections and caches get warm.
    pub warm_up: Duration,
    /// Counted.
    pub duration: Duration,
    /// How long the last answers may take before the round counts as failed.
    pub limit: Duration,
}

struct Lane {
    link: Link,
    /// What is not answered yet, in order: which operation, and when it was due.
    unanswered: VecDeque<(usize, Instant)>,
}

struct Run<'a> {
    plan: &'a Paced,
    lanes: Vec<Lane>,
    poll: Poll,
    began: Instant,
    sent: usize,
    answered: usize,
    latencies: Latencies,
    lateness: Latencies,
}

impl Paced {
    /// Sends it all, and waits for the answers. Any error of any connection ends it.
    pub fn run(&self) -> io::Result<Outcome> {
        let poll = Poll::new()?;
        // A timer of its own: the poll's deadline is good for whole milliseconds only.
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let tick = Expiration::Interval(TimeSpec::from(self.interval));
        timer.set(tick, TimerSetTimeFlags::empty())?;
        let alarm = Token(self.connections);
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), alarm, Interest::READABLE)?;
        let mut run = Run::begin(self, poll)?;
        let mut events = Events::with_capacity(self.connections + 1);
        let total = self.total();
        let deadline = run.began + self.warm_up + self.duration + self.limit;
        while run.answered < total {
            run.poll.poll(&mut events, Some(LOOK))?;
            for event in &events {
                if event.token() == alarm {
                    // Read in time or not: how many ticks there were follows from the clock.
                    let _ = timer.wait();
                } else {
                    run.lanes[event.token().0].link.handle(event);
                    run.take_replies(event.token().0)?;
                }
            }
            run.send_due(total)?;
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(Outcome {
            operations: run.answered as u64,
            wall: run.began.elapsed(),
            latencies: run.latencies,
            lateness: run.lateness,
        })
    }

    fn total(&self) -> usize {
        ((self.warm_up + self.duration).as_nanos() / self.interval.as_nanos().max(1)) as usize
    }
}

impl<'a> Run<'a> {
    fn begin(plan: &'a Paced, poll: Poll) -> io::Result<Self> {
        let mut lanes = Vec::new();
        for _ in 0..plan.connections {
            lanes.push(Lane { link: Link::open(plan.target)?, unanswered: VecDeque::new() });
        }
        let (latencies, lateness) = (Latencies::default(), Latencies::default());
        let mut run =
            Self { plan, lanes, poll, began: Instant::now(), sent: 0, answered: 0, latencies, lateness };
        for lane in 0..plan.connections {
            run.lanes[lane].link.register(run.poll.registry(), Token(lane))?;
        }
        Ok(run)
    }

    fn send_due(&mut self, total: usize) -> io::Result<()> {
        loop {
            let now = Instant::now();
            let due = self.began + self.plan.interval * self.sent as u32;
            if due > now || self.sent == total {
                return Ok(());
            }
            let index = self.sent % self.lanes.len();
            let lane = &mut self.lanes[index];
            lane.link.send(&self.plan.exchanges[self.sent % self.plan.exchanges.len()].request)?;
            lane.link.register(self.poll.registry(), Token(index))?;
            lane.unanswered.push_back((self.sent, due));
            self.lateness.note(now - due);
            self.sent += 1;
        }
    }

    fn take_replies(&mut self, index: usize) -> io::Result<()> {
        let lane = &mut self.lanes[index];
        while let Some(reply) = lane.link.reply()? {
            let (number, due) = lane
                .unanswered
                .pop_front()
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a reply to nothing"))?;
            self.plan.exchanges[number % self.plan.exchanges.len()].judge(&reply)?;
            self.answered += 1;
            if due >= self.began + self.plan.warm_up {
                self.latencies.note(due.elapsed());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::connection::Reply;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread::spawn;

    const OPERATIONS: usize = 50;

    /// A server that answers nothing before it has everything.
    fn answer_at_the_end(listener: &TcpListener, bytes: usize) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut vec![0; bytes])?;
        stream.write_all("+PONG\r\n".repeat(OPERATIONS).as_bytes())?;
        // The end of the connection is the client's to make.
        stream.read(&mut [0]).map(drop)
    }

    #[test]
    fn a_server_that_stops_answering_is_asked_on_and_all_that_waits_counts() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let ping = Exchange::new(&["PING"], Reply::Simple("PONG".to_owned()));
        let bytes = ping.request.len() * OPERATIONS;
        let server = spawn(move || answer_at_the_end(&listener, bytes));
        let interval = Duration::from_millis(1);
        let plan = Paced {
            target,
            exchanges: vec![ping],
            connections: 1,
            interval,
            warm_up: Duration::ZERO,
            duration: interval * OPERATIONS as u32,
            limit: Duration::from_secs(10),
        };
        let mut outcome = plan.run().unwrap();
        server.join().unwrap().unwrap();
        assert_eq!((outcome.operations, outcome.latencies.count()), (OPERATIONS as u64, OPERATIONS as u64));
        // The first was due 49 intervals before the last was sent, and no answer came earlier.
        let [longest] = outcome.latencies.quantiles_us([100]).unwrap();
        assert!(longest >= 49_000.0, "{longest}");
    }
}
