//! The way from the gateway before this one to this one: how long it is waited for, and when its place is taken.

use super::claim::Claim;
use super::heir::{Found, Predecessor, find};
use super::words::{Answer, Request, State, text};
use backstay_gateway::Listen;
use backstay_model::{ClusterName, GatewayName};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long a gateway waits for leases until it takes the place of one that does not serve, either.
const LEASES_WAIT: Duration = Duration::from_secs(1);
/// How often the predecessor is asked whether it serves.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// How often it is said that it is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long an answer may take. Who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// A gateway that holds the sockets of the one before it, and accepts nobody there yet.
pub(crate) struct Succession {
    pub(crate) cluster: ClusterName,
    pub(crate) name: GatewayName,
    pub(crate) folders: Vec<PathBuf>,
    /// The sockets of the predecessor that are wanted.
    pub(crate) inherited: Vec<Listen>,
    /// Whether this gateway has all its leases.
    pub(crate) serves: watch::Receiver<bool>,
    /// When it was ready to have them.
    pub(crate) since: Instant,
}

/// What a successor may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything is its own.
    Free,
    /// It may accept, and the control socket is somebody else's.
    WithoutControl,
}

/// What came of a question.
enum Said {
    Something(Answer),
    /// Nothing, in time.
    Nothing,
    /// The conversation is over: the predecessor is gone, or has waited for this gateway for too long.
    Over,
}

impl Succession {
    /// Returns when this gateway is to accept. The claim is to be kept until it has its own control socket.
    pub(crate) async fn run(mut self, mut predecessor: Predecessor) -> (Way, Claim) {
        loop {
            if let Some(claim) = self.follow(predecessor).await {
                return (Way::Free, claim);
            }
            match self.look_again().await {
                Ok(next) => predecessor = next,
                Err(found) => return found,
            }
        }
    }

    async fn claim(&self) -> Claim {
        Claim::lay(&self.folders, &self.name).await
    }

    /// Waits until this gateway may take the other one's place, and tells it. `None`: the conversation has ended before.
    async fn follow(&mut self, predecessor: Predecessor) -> Option<Claim> {
        let mut before = predecessor.state;
        let mut line = Line::new(predecessor).ok()?;
        let mut told = None;
        loop {
            let ready = *self.serves.borrow_and_update();
            let takes_over = match before {
                State::Leaves => true,
                State::Serves => ready,
                State::Waits => ready || self.since.elapsed() >= LEASES_WAIT,
            };
            // Once it leaves, it may be gone before this one can be found.
            let claim = if takes_over { Some(self.claim().await) } else { None };
            let request = if takes_over { self.dismissal() } else { Request::State };
            match line.ask(&request).await {
                Said::Something(Answer::Leaves) => return claim,
                Said::Something(Answer::State(state)) => before = state,
                Said::Nothing => {
                    tracing::warn!("the gateway before this one hangs, and leaves when it wakes up");
                    // It finds that then. If there is no room for it, it has found it already.
                    let _ = line.say(&self.dismissal()).await;
                    return match claim {
                        Some(claim) => Some(claim),
                        None => Some(self.claim().await),
                    };
                }
                Said::Something(_) | Said::Over => return None,
            }
            if !takes_over {
                self.say_who_waits(before, &mut told);
                // Gone with the gateway itself: then this is, too.
                let _ = timeout(ASKED_EVERY, self.serves.changed()).await;
            }
        }
    }

    fn dismissal(&self) -> Request {
        Request::Serving(self.inherited.iter().map(Into::into).collect())
    }

    /// Who is in the place of the one that this gateway followed.
    async fn look_again(&self) -> Result<Predecessor, (Way, Claim)> {
        loop {
            let claim = self.claim().await;
            let (folders, cluster, name) = (self.folders.clone(), self.cluster.clone(), self.name.clone());
            let found = tokio::task::spawn_blocking(move || find(&folders, &cluster, &name)).await;
            match found {
                Ok(Found::Gateway(predecessor, _)) => return Ok(predecessor),
                Ok(Found::Busy) => {
                    drop(claim);
                    sleep(ASKED_EVERY).await;
                }
                Ok(Found::Stranger) => return Err((Way::WithoutControl, claim)),
                Ok(Found::Nobody | Found::Silent) | Err(_) => return Err((Way::Free, claim)),
            }
        }
    }

    fn say_who_waits(&self, before: State, told: &mut Option<Instant>) {
        let late = before == State::Serves && self.since.elapsed() >= LEASES_WAIT;
        if late && told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                "this gateway waits: the one before it serves, and this one has not got a lease for every service. If it \
                 stays so, see whether this one reaches the controllers, and whether they accept its certificate"
            );
        }
    }
}

/// The conversation with a predecessor.
struct Line {
    stream: BufReader<UnixStream>,
}

impl Line {
    fn new(predecessor: Predecessor) -> io::Result<Self> {
        let stream = predecessor.stream;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: BufReader::new(UnixStream::from_std(stream)?) })
    }

    async fn say(&mut self, request: &Request) -> io::Result<()> {
        let written = timeout(PATIENCE, self.stream.get_mut().write_all(&text(request))).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask(&mut self, request: &Request) -> Said {
        match self.say(request).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Said::Nothing,
            Err(_) => return Said::Over,
        }
        let mut answer = Vec::new();
        let mut limited = (&mut self.stream).take(ANSWER_BYTES_MAX);
        match timeout(PATIENCE, limited.read_until(b'\n', &mut answer)).await {
            Err(_) => Said::Nothing,
            Ok(Ok(_)) => serde_json::from_slice(&answer).map_or(Said::Over, Said::Something),
            Ok(Err(_)) => Said::Over,
        }
    }
}
