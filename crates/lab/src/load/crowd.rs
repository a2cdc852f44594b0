//! Many plain clients of one address: each has one connection and one write in flight, knows nothing of Sentinels, never
//! repeats a write, and connects again after its connection has failed. One thread plays them all.

use crate::load::connection::{Reply, encode, is_ok};
use crate::load::light::INTERVAL;
use crate::load::link::Link;
use crate::load::record::Failure;
use mio::{Events, Poll, Token};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// How long a client waits for a reply before it gives its connection up.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(1);

/// What one client saw.
#[derive(Clone, Debug, Default)]
pub struct ClientRecord {
    /// Acknowledged writes: the number, from which the key follows, and when.
    pub acks: Vec<(u64, Instant)>,
    /// How often each kind of error came.
    pub errors: BTreeMap<String, u64>,
}

/// Clients at work in a thread of their own.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Vec<ClientRecord>>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    acknowledged: Vec<AtomicU64>,
}

/// The key of write `number` of client `client` of run `run`. Its value is the number.
pub fn key(run: &str, client: usize, number: u64) -> String {
    format!("g:{run}:{client}:{number}")
}

impl Crowd {
    /// Begins to write: client after client is told the next of `targets`. `run` must be unique among the runs on these
    /// servers.
    pub fn start(targets: &[SocketAddr], clients: usize, run: &str) -> Self {
        let acknowledged = (0..clients).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), acknowledged });
        let members = targets.iter().cycle().take(clients).map(|target| Member::new(*target)).collect();
        let thread = {
            let (shared, run) = (Arc::clone(&shared), run.to_owned());
            spawn(move || write_until(members, &run, &shared))
        };
        Self { shared, thread: Some(thread) }
    }

    /// How many writes each client got acknowledged so far.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.shared.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Stops them, waits for the outcome of what is in flight, and returns what each saw.
    pub fn stop(mut self) -> io::Result<Vec<ClientRecord>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().and_then(|thread| thread.join().ok());
        joined.unwrap_or_else(|| Err(io::Error::other("the clients' thread panicked")))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody wants to know any more what they saw.
            let _ = thread.join();
        }
    }
}

/// One client.
struct Member {
    target: SocketAddr,
    link: Option<Link>,
    /// When the write in flight was sent; none: nothing is in flight.
    sent: Option<Instant>,
    /// When the next one is due.
    due: Instant,
    /// The last write's number.
    number: u64,
    record: ClientRecord,
}

fn write_until(mut members: Vec<Member>, run: &str, shared: &Shared) -> io::Result<Vec<ClientRecord>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(members.len().max(1));
    let mut stopped = false;
    while !stopped || members.iter().any(|member| member.sent.is_some()) {
        poll.poll(&mut events, Some(TICK))?;
        for event in &events {
            let client = event.token().0;
            members[client].hear(event, &shared.acknowledged[client]);
        }
        stopped = shared.stop.load(Ordering::Relaxed);
        for (client, member) in members.iter_mut().enumerate() {
            member.look(&poll, run, client, stopped);
        }
    }
    Ok(members.into_iter().map(|member| member.record).collect())
}

impl Member {
    fn new(target: SocketAddr) -> Self {
        let due = Instant::now();
        Self { target, link: None, sent: None, due, number: 0, record: ClientRecord::default() }
    }

    /// Takes what came on its connection.
    fn hear(&mut self, event: &mio::event::Event, acknowledged: &AtomicU64) {
        let Some(link) = self.link.as_mut() else { return };
        link.handle(event);
        loop {
            match self.link.as_mut().map_or(Ok(None), Link::reply) {
                Ok(Some(reply)) => self.take(&reply, acknowledged),
                Ok(None) => return,
                Err(error) => return self.fail(&Failure::Connection(error)),
            }
        }
    }

    fn take(&mut self, reply: &Reply, acknowledged: &AtomicU64) {
        let now = Instant::now();
        let Some(sent) = self.sent.take() else {
            return self.fail(&Failure::Refused("UNASKED".to_owned()));
        };
        self.due = (sent + INTERVAL).max(now);
        if is_ok(reply) {
            self.record.acks.push((self.number, now));
            acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            // An error reply leaves the connection as it was.
            self.note(&Failure::of_reply(reply));
            self.due = now + RETRY_PAUSE;
        }
    }

    /// Sends what is due, and gives up what took too long.
    fn look(&mut self, poll: &Poll, run: &str, client: usize, stopped: bool) {
        let now = Instant::now();
        match self.sent {
            Some(sent) if now - sent > PATIENCE => {
                self.fail(&Failure::Connection(io::ErrorKind::TimedOut.into()));
            }
            None if now >= self.due && !stopped => {
                self.number += 1;
                if let Err(error) = self.write(poll, run, client, now) {
                    self.fail(&Failure::Connection(error));
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, poll: &Poll, run: &str, client: usize, now: Instant) -> io::Result<()> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::open(self.target)?,
        };
        let mut bytes = Vec::new();
        encode(&["SET", &key(run, client, self.number), &self.number.to_string()], &mut bytes);
        link.send(&bytes)?;
        link.register(poll.registry(), Token(client))?;
        self.link = Some(link);
        self.sent = Some(now);
        Ok(())
    }

    /// The connection is of no use any more. One that ended between two writes is no error: client libraries look before
    /// they send.
    fn fail(&mut self, failure: &Failure) {
        let idle = self.sent.take().is_none() && self.link.take().is_some();
        if !(idle && matches!(failure, Failure::Connection(_))) {
            self.note(failure);
        }
        self.link = None;
        self.due = Instant::now() + RETRY_PAUSE;
    }

    fn note(&mut self, failure: &Failure) {
        *self.record.errors.entry(failure.kind()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    /// A server that acknowledges three writes, refuses one, closes that connection and the next one instead of an answer,
    /// and then acknowledges everything.
    fn moody(listener: &TcpListener) -> io::Result<()> {
        let mut chunk = [0; 1024];
        for answers in [&["+OK", "+OK", "+OK", "-UNKNOWNOUTCOME lost"][..], &[]] {
            let (mut stream, _) = listener.accept()?;
            for answer in answers {
                let _ = stream.read(&mut chunk)?;
                stream.write_all(format!("{answer}\r\n").as_bytes())?;
            }
            let _ = stream.read(&mut chunk)?;
        }
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut chunk)? > 0 {
            stream.write_all(b"+OK\r\n")?;
        }
        Ok(())
    }

    #[test]
    fn a_client_goes_on_after_an_error_and_after_a_closed_connection_and_counts_each() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let server = spawn(move || moody(&listener));
        let crowd = Crowd::start(&[target], 1, "t");
        let enough = || (crowd.acknowledged()[0] >= 6).then_some(());
        crate::wait::wait_until("six acknowledgements", Duration::from_secs(10), enough).unwrap();
        let record = crowd.stop().unwrap().remove(0);
        server.join().unwrap().unwrap();
        let numbers: Vec<u64> = record.acks.iter().map(|(number, _)| *number).take(6).collect();
        // The fourth was refused, the fifth and the sixth met a connection that was closed.
        assert_eq!(numbers, [1, 2, 3, 7, 8, 9]);
        let errors: Vec<_> = record.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(errors, [("UNKNOWNOUTCOME", 1), ("connection closed", 2)]);
    }
}
