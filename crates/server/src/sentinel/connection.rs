//! One client's socket. It reads only as much as it can answer, keeps no more than its bounds, and gives up on a client
//! that stands in the middle of a request or takes nothing of what waits for it. An idle one may stay for ever.

use super::command::{Call, resolve};
use super::news::Message;
use super::port::Port;
use super::session::{Facts, Flow, Session};
use super::settings::Bounds;
use super::source::Source;
use backstay_wire::resp::{Limits, RequestDecoder};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep_until;

/// How much is read at a time.
const READ_BYTES: usize = 8 * 1024;
/// The most words of a request.
const WORDS_MAX: usize = 2048;
/// Capacity that is kept when everything was sent.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Talks to one client until one of both ends it.
pub(super) async fn attend<S: Source>(port: Arc<Port<S>>, stream: TcpStream, session: Session) {
    let bounds = port.shared.settings.bounds;
    let connection = Connection {
        port,
        stream,
        session,
        decoder: RequestDecoder::new(limits(bounds)),
        bounds,
        unsent: Vec::new(),
        sent: 0,
        news: None,
        closing: false,
        waiting_since: Some(Instant::now()),
        stalled_since: None,
    };
    // Whatever ended it, the client sees the end of its connection, and nobody else is concerned.
    let _ = connection.run().await;
}

/// What a request may be.
pub(super) const fn limits(bounds: Bounds) -> Limits {
    Limits {
        bulk_bytes_max: bounds.request_bytes_max,
        elements_max: WORDS_MAX,
        depth_max: 0,
        line_bytes_max: bounds.request_bytes_max,
        buffered_bytes_max: bounds.request_bytes_max + READ_BYTES,
    }
}

struct Connection<S> {
    port: Arc<Port<S>>,
    stream: TcpStream,
    session: Session,
    decoder: RequestDecoder,
    bounds: Bounds,
    /// Replies and messages; the first `sent` bytes are gone.
    unsent: Vec<u8>,
    sent: usize,
    /// Messages, while it subscribes to anything.
    news: Option<Receiver<Arc<Message>>>,
    /// Nothing more is read; it ends when everything was sent.
    closing: bool,
    /// Since when a request is awaited or incomplete.
    waiting_since: Option<Instant>,
    /// Since when the client takes nothing.
    stalled_since: Option<Instant>,
}

/// What a connection waits for.
enum Wake {
    Socket,
    News(Result<Arc<Message>, RecvError>),
    TooLate,
}

impl<S: Source> Connection<S> {
    async fn run(mut self) -> io::Result<()> {
        loop {
            let starving = self.answer_what_is_here().await;
            self.send()?;
            if self.closing && self.backlog() == 0 {
                return Ok(());
            }
            if !starving && self.backlog() < self.bounds.unsent_bytes_pause && !self.closing {
                // There was room again before anything had to be waited for.
                continue;
            }
            match self.wait(starving && !self.closing).await? {
                Wake::Socket => {}
                Wake::News(Ok(message)) => {
                    self.session.deliver(&message, &mut self.unsent);
                    if self.backlog() > self.bounds.unsent_bytes_max {
                        return Ok(());
                    }
                }
                Wake::News(Err(_)) | Wake::TooLate => return Ok(()),
            }
        }
    }

    /// Answers complete requests until there is none, or until enough waits to be sent. True: there is none.
    async fn answer_what_is_here(&mut self) -> bool {
        while !self.closing && self.backlog() < self.bounds.unsent_bytes_pause {
            match self.decoder.next() {
                Ok(Some(request)) => {
                    self.waiting_since = None;
                    self.answer(&request).await;
                }
                Ok(None) => {
                    if self.decoder.held_bytes() > 0 {
                        self.waiting_since.get_or_insert_with(Instant::now);
                    }
                    return true;
                }
                Err(error) => {
                    let text = format!("-ERR Protocol error: {error}\r\n");
                    self.unsent.extend_from_slice(text.as_bytes());
                    self.closing = true;
                }
            }
        }
        false
    }

    async fn answer(&mut self, request: &[Vec<u8>]) {
        let call = resolve(request);
        // Who may not ask gets no work done either.
        let shared = &self.port.shared;
        let trusted = call.as_ref().ok().filter(|_| self.session.trusted);
        if let Some(call) = trusted.filter(|call| call.asks_where()) {
            let service = call.arguments.first().map(Vec::as_slice);
            shared.news.settled(service, self.bounds.move_wait_max).await;
        }
        let looks = trusted.is_some_and(Call::needs_picture);
        let picture = if looks { self.port.picture().await } else { None };
        let facts = Facts { picture, address: &|service| shared.news.address(service) };
        if self.news.is_none() && call.as_ref().is_ok_and(Call::subscribes) {
            // From before the reply on, so that nothing is missed behind it.
            self.news = Some(shared.news.listen());
        }
        let flow = self.session.answer(call, &facts, &mut self.unsent);
        self.closing = flow == Flow::Close;
        if self.session.subscriptions.is_empty() {
            self.news = None;
        }
    }

    async fn wait(&mut self, reads: bool) -> io::Result<Wake> {
        let interest = match (reads, self.backlog() > 0) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let late = self.deadline();
        let (stream, news) = (&self.stream, &mut self.news);
        tokio::select! {
            ready = stream.ready(interest.unwrap_or(Interest::ERROR)), if interest.is_some() => {
                if reads && ready?.is_readable() {
                    self.receive()?;
                }
                Ok(Wake::Socket)
            }
            message = next(news) => Ok(Wake::News(message)),
            () = sleep_until(late.unwrap_or_else(Instant::now).into()), if late.is_some() => Ok(Wake::TooLate),
        }
    }

    /// When the client's time is up, if it is measured now.
    fn deadline(&self) -> Option<Instant> {
        let stalled = self.stalled_since.map(|since| since + self.bounds.send_time_max);
        let waiting = self.waiting_since.map(|since| since + self.bounds.request_time_max);
        // A request cannot be completed while nothing is read.
        stalled.or(waiting)
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => {
                self.closing = true;
                Ok(())
            }
            Ok(count) => {
                // The error is repeated by `next`, and answered there.
                let _ = self.decoder.feed(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends what the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while self.backlog() > 0 {
            match self.stream.try_write(&self.unsent[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.stalled_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    self.compact();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.unsent.shrink_to(KEPT_BYTES_MAX);
        self.sent = 0;
        Ok(())
    }

    fn compact(&mut self) {
        if self.sent > self.unsent.len() / 2 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn backlog(&self) -> usize {
        self.unsent.len() - self.sent
    }
}

/// The next message, or nothing for ever.
async fn next(news: &mut Option<Receiver<Arc<Message>>>) -> Result<Arc<Message>, RecvError> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}
