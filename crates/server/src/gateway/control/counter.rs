//! The serving side of the control socket. Whatever is sent to it costs at most the connection that it came on.

use super::heir::{Sockets, send_sockets};
use super::may_ask;
use crate::clock;
use backstay_gateway::{Listen, Look};
use backstay_model::{ClusterName, GatewayName, GatewayTraffic};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
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
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Stats,
    Slow,
    /// To be given the listening sockets, for a gateway of this cluster.
    Sockets(ClusterName),
    /// The caller has begun to accept at these.
    Serving(Vec<Place>),
}

/// `Listen`, to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    Tcp(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

impl From<&Listen> for Place {
    fn from(listen: &Listen) -> Self {
        match listen {
            Listen::Tcp(address) => Self::Tcp(*address),
            Listen::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl From<Place> for Listen {
    fn from(place: Place) -> Self {
        match place {
            Place::Tcp(address) => Self::Tcp(address),
            Place::Unix(path) => Self::Unix(path),
        }
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
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
        let mut shared = false;
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
                    shared = self.share(stream.get_ref()).await;
                    if shared {
                        continue;
                    }
                    return;
                }
                Ok(Request::Serving(places)) if shared => {
                    self.leave(places).await;
                    text(&"leaves")
                }
                Ok(_) => text(&Refusal { error: "this gateway is not followed by you" }),
                Err(_) => text(&Refusal { error: "ask \"stats\" or \"slow\"" }),
            };
            if !matches!(timeout(PATIENCE, stream.get_mut().write_all(&answer)).await, Ok(Ok(()))) {
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
        let (give, given) = oneshot::channel();
        let Some(pilot) = &self.pilot else {
            return false;
        };
        let asked = pilot.send(Asked::Sockets(give)).await;
        let Ok(Ok(sockets)) = timeout(PATIENCE, given).await else {
            return false;
        };
        let sockets: Sockets = sockets;
        asked.is_ok() && matches!(timeout(PATIENCE, send_sockets(stream, &sockets)).await, Ok(Ok(())))
    }

    async fn leave(&self, places: Vec<Place>) {
        if let Some(pilot) = &self.pilot {
            // A pilot that is gone has left.
            let _ = pilot.send(Asked::Leave(places.into_iter().map(Listen::from).collect())).await;
        }
    }
}

fn text(value: &impl Serialize) -> Vec<u8> {
    // Nothing here has a form that JSON lacks.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}
