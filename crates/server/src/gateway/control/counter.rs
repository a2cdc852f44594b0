//! The serving side of the control socket. Whatever is sent to it costs at most the connection that it came on.

use super::heir::{Sockets, send_sockets};
use super::may_ask;
use super::words::{Answer, Place, Request, State, text};
use crate::clock;
use backstay_gateway::{Listen, Look};
use backstay_model::{ClusterName, GatewayName, GatewayTraffic};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The longest request: a successor says at which addresses it has taken over.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Callers at a time. The next ones wait.
const CALLERS_MAX: usize = 16;
/// How long a caller may take for its next request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an error of the system, which is likely to last.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pilot is asked.
pub(crate) enum Asked {
    /// To share the listening sockets.
    Sockets(oneshot::Sender<Vec<(Listen, OwnedFd)>>),
    /// What this gateway is able to do.
    State(oneshot::Sender<State>),
    /// To leave: another gateway accepts at these.
    Leave(Vec<Listen>),
}

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) cluster: ClusterName,
    pub(crate) name: GatewayName,
    pub(crate) look: Look,
    /// `None`: this gateway is followed by none, because its process does more than to be one.
    pub(crate) pilot: Option<mpsc::Sender<Asked>>,
    /// Of two successors at a time both would stay: the sockets are lent to one caller, until it has ended.
    pub(crate) turn: Arc<Semaphore>,
}

/// A semaphore for one successor.
pub(crate) fn one_turn() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

impl Desk {
    /// Answers for ever.
    pub(crate) async fn serve(self, listener: StdUnixListener) {
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("the control socket cannot be watched: {error}"),
        };
        let mut callers = JoinSet::new();
        loop {
            if callers.len() >= CALLERS_MAX {
                callers.join_next().await;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    while callers.try_join_next().is_some() {}
                    let desk = self.clone();
                    callers.spawn(async move {
                        if stream.peer_cred().is_ok_and(|peer| may_ask(peer.uid())) {
                            desk.converse(stream).await;
                        }
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Answers one caller until it has asked everything, or something that is no request.
    async fn converse(&self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        let mut turn = None;
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut stream).take(LINE_BYTES_MAX);
            match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
                Ok(Ok(_)) if line.ends_with(b"\n") => {}
                _ => return,
            }
            let answer = match serde_json::from_slice(&line) {
                Ok(Request::Stats) => text(&self.traffic()),
                Ok(Request::Slow) => text(&self.look.slow(clock::now().unix)),
                Ok(Request::Sockets(cluster)) if self.pilot.is_some() && cluster == self.cluster => {
                    turn = turn.or_else(|| Arc::clone(&self.turn).try_acquire_owned().ok());
                    if turn.is_none() {
                        text(&Answer::Busy)
                    } else if self.share(stream.get_ref()).await {
                        continue;
                    } else {
                        return;
                    }
                }
                Ok(Request::State) if self.pilot.is_some() => {
                    let Some(state) = self.state().await else {
                        return;
                    };
                    text(&Answer::State(state))
                }
                Ok(Request::Serving(places)) if turn.is_some() => {
                    self.leave(places, turn.take()).await;
                    text(&Answer::Leaves)
                }
                Ok(_) => text(&Answer::Error("this gateway is not followed by you".to_owned())),
                Err(_) => text(&Answer::Error("ask \"stats\" or \"slow\"".to_owned())),
            };
            // A successor that waited for this one in vain has hung up, and said before that it serves.
            if timeout(PATIENCE, stream.get_mut().write_all(&answer)).await.is_err() {
                return;
            }
        }
    }

    fn traffic(&self) -> GatewayTraffic {
        GatewayTraffic {
            gateway: self.name.clone(),
            process: std::process::id(),
            at_us: clock::time().as_micros(),
            endpoints: self.look.traffic(),
        }
    }

    /// Gives the caller the listening sockets. False: there are none to be had.
    async fn share(&self, stream: &UnixStream) -> bool {
        let Some(state) = self.state().await else {
            return false;
        };
        let sockets: Option<Sockets> = self.ask(Asked::Sockets).await;
        let Some(sockets) = sockets else {
            return false;
        };
        matches!(timeout(PATIENCE, send_sockets(stream, &sockets, state)).await, Ok(Ok(())))
    }

    async fn state(&self) -> Option<State> {
        self.ask(Asked::State).await
    }

    /// Nothing: the pilot is gone, or hangs.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Option<T> {
        let (give, given) = oneshot::channel();
        let pilot = self.pilot.as_ref()?;
        let answered = async {
            pilot.send(question(give)).await.ok()?;
            given.await.ok()
        };
        timeout(PATIENCE, answered).await.ok()?
    }

    async fn leave(&self, places: Vec<Place>, turn: Option<OwnedSemaphorePermit>) {
        // Nobody else is given anything any more: who asks waits for the one that takes over now.
        if let Some(turn) = turn {
            turn.forget();
        }
        if let Some(pilot) = &self.pilot {
            // A pilot that is gone has left.
            let _ = pilot.send(Asked::Leave(places.into_iter().map(Listen::from).collect())).await;
        }
    }
}
