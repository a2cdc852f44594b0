//! The listener: it lets clients in, up to a number, and keeps what they share up to date.

use super::connection;
use super::news::News;
use super::session::{Session, Shared};
use super::settings::Settings;
use super::source::Source;
use backstay_model::{ClusterStatus, Event};
use nix::sys::resource::{Resource, getrlimit};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// How long one whole picture serves all who ask, unless something happens.
const PICTURE_LIFETIME: Duration = Duration::from_millis(5);
/// How often what is remembered is compared with the whole picture: a state that came in one piece tells no events.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a failed `accept`, which is nearly always a lack of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// As Redis' `tcp-keepalive`.
const KEEPALIVE: Duration = Duration::from_secs(300);
const TURNED_AWAY: &[u8] = b"-ERR max number of clients reached\r\n";

/// Serves clients until the node stops or this future is dropped; then their connections are closed.
pub async fn serve<S: Source>(listener: TcpListener, source: S, mut settings: Settings) -> io::Result<()> {
    settings.bounds.connections_max = connections_max(settings.bounds.connections_max);
    let events = source.events();
    let shared = Arc::new(Shared {
        settings,
        registry: Arc::default(),
        news: News::default(),
        run_id: random_id()?,
        started: Instant::now(),
        listener: listener.local_addr()?,
    });
    let port = Arc::new(Port {
        shared: Arc::clone(&shared),
        source: source.clone(),
        happened: AtomicU64::new(0),
        picture: Mutex::default(),
    });
    match look(&source, &shared).await {
        Some(picture) => shared.news.reconcile(&picture),
        None => return Ok(()),
    }
    tokio::select! {
        () = follow(&port, events) => Ok(()),
        () = accept(&port, &listener) => Ok(()),
    }
}

/// What the connections of one port share.
pub(super) struct Port<S> {
    pub(super) shared: Arc<Shared>,
    source: S,
    /// Counts events, so that a picture from before one is not shown after it.
    happened: AtomicU64,
    picture: Mutex<Option<Picture>>,
}

struct Picture {
    taken: Instant,
    happened: u64,
    status: Arc<ClusterStatus>,
}

impl<S: Source> Port<S> {
    /// The whole picture, not older than what subscribers heard; none: the node is stopping.
    pub(super) async fn picture(&self) -> Option<Arc<ClusterStatus>> {
        let mut kept = self.picture.lock().await;
        let happened = self.happened.load(Ordering::Acquire);
        if let Some(picture) = kept.as_ref()
            && picture.happened == happened
            && picture.taken.elapsed() < PICTURE_LIFETIME
        {
            return Some(Arc::clone(&picture.status));
        }
        let taken = Instant::now();
        let status = Arc::new(look(&self.source, &self.shared).await?);
        *kept = Some(Picture { taken, happened, status: Arc::clone(&status) });
        Some(status)
    }
}

/// Turns events into news until the node stops.
async fn follow<S: Source>(port: &Port<S>, mut events: Receiver<Arc<Event>>) {
    let news = &port.shared.news;
    let mut tick = interval(RECONCILE_EVERY);
    let mut asked = None;
    loop {
        tokio::select! {
            biased;
            event = events.recv() => {
                port.happened.fetch_add(1, Ordering::AcqRel);
                // A picture that was asked for before this may be older than this.
                asked = None;
                match event {
                    Ok(event) => {
                        if event.service.as_ref().is_none_or(|service| port.shared.settings.shows(service)) {
                            news.hear(&event);
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!("the Sentinel port missed {missed} events and catches up");
                        news.forget_verdicts();
                        tick.reset_immediately();
                    }
                    Err(RecvError::Closed) => return,
                }
            }
            picture = wait_for(&mut asked) => {
                asked = None;
                match picture {
                    Some(picture) => news.reconcile(&picture),
                    None => return,
                }
            }
            _ = tick.tick(), if asked.is_none() => {
                let (source, shared) = (port.source.clone(), Arc::clone(&port.shared));
                asked = Some(Box::pin(async move { look(&source, &shared).await }));
            }
        }
    }
}

/// The whole picture, of the services that clients may know of.
async fn look<S: Source>(source: &S, shared: &Shared) -> Option<ClusterStatus> {
    let mut picture = source.status().await?;
    picture.services.retain(|service| shared.settings.shows(&service.name));
    Some(picture)
}

/// Waits for what is under way, or for ever.
async fn wait_for<F: Future + Unpin>(asked: &mut Option<F>) -> F::Output {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

async fn accept<S: Source>(port: &Arc<Port<S>>, listener: &TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(session) = admit(port, &stream, peer) {
                        clients.spawn(connection::attend(Arc::clone(port), stream, session));
                    }
                }
                Err(error) => {
                    tracing::warn!("the Sentinel port cannot accept a client: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

fn admit<S>(port: &Port<S>, stream: &TcpStream, peer: SocketAddr) -> Option<Session> {
    let shared = &port.shared;
    let local = stream.local_addr().unwrap_or(shared.listener);
    let Some(ticket) = shared.registry.admit(shared.settings.bounds.connections_max, peer, local) else {
        // One attempt: who is turned away is not worth waiting for.
        let _ = stream.try_write(TURNED_AWAY);
        return None;
    };
    // Without these the connection still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    Some(Session::new(Arc::clone(shared), ticket))
}

/// Clients may never take the files that watching and agreeing need.
fn connections_max(wanted: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    wanted.min(usize::try_from(files / 2).unwrap_or(usize::MAX))
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    Ok(digits.collect())
}
