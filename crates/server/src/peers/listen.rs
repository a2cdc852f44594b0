//! The incoming half: who calls must say who it is, soon and briefly; then its letters go to the driver. Whatever is not
//! a peer costs a bounded amount of memory and time, and one line in the log now and then.

use super::agents::AgentLetter;
use super::frames::{FrameReader, ReadError, append};
use super::gateways::{self, Asker, GatewayLetter};
use super::hello::{Caller, HELLO_BYTES_MAX, HELLO_PATIENCE, Hello, Reception};
use super::stream::{self, Stream};
use super::{FRAME_BYTES_MAX, GIVE_UP, Mesh};
use crate::anteroom::Anteroom;
use crate::driver::{Incoming, Letter};
use crate::link::notice_dead_hosts;
use crate::seldom::{PerReason, Seldom};
use crate::tls::HandshakeError;
use backstay_model::{NodeId, NodeName};
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How many callers may be unknown at a time.
const UNKNOWN_MAX: usize = 64;
/// How many gateways may be connected at a time, and how many agents.
const ASKERS_MAX: usize = 256;
/// The pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A peer that was welcomed, and where it will be heard.
pub(super) type Welcomed = (Caller, Stream, FrameReader);

/// Accepts callers for ever.
pub(crate) async fn listen(
    listener: TcpListener,
    mesh: Mesh,
    me: NodeName,
    incoming: mpsc::Sender<Incoming>,
) {
    let (welcome, mut welcomed) = mpsc::channel(UNKNOWN_MAX);
    let hall =
        Arc::new(Hall { mesh, me, welcome, complaints: Seldom::default(), refusals: PerReason::default() });
    let mut calls = JoinSet::new();
    let mut unknown = Anteroom::new(UNKNOWN_MAX);
    // The one connection on which each controller is heard: the newest.
    let mut heard: BTreeMap<NodeId, AbortHandle> = BTreeMap::new();
    // Of a gateway's name there may be several processes for a while.
    let mut gateways: Vec<AbortHandle> = Vec::new();
    let mut agents: Vec<AbortHandle> = Vec::new();
    loop {
        while calls.try_join_next().is_some() {}
        tokio::select! {
            Some((caller, stream, reader)) = welcomed.recv() => match caller {
                Caller::Controller(name) => {
                    let peer = NodeId::of(&name);
                    let hearing = hear(Arc::clone(&hall), peer, stream, reader, incoming.clone());
                    if let Some(older) = heard.insert(peer, calls.spawn(hearing)) {
                        older.abort();
                    }
                }
                Caller::Gateway(name) => {
                    gateways.retain(|call| !call.is_finished());
                    if gateways.len() < ASKERS_MAX {
                        let who = format!("gateway {name}");
                        let hall = Arc::clone(&hall);
                        let attending = attend::<GatewayLetter>(hall, name, who, stream, incoming.clone());
                        gateways.push(calls.spawn(attending));
                    } else {
                        hall.is_full(&format!("gateway {name}"));
                    }
                }
                Caller::Agent(name) => {
                    agents.retain(|call| !call.is_finished());
                    if agents.len() < ASKERS_MAX {
                        let who = format!("the agent of {name}");
                        let hall = Arc::clone(&hall);
                        let attending = attend::<AgentLetter>(hall, name, who, stream, incoming.clone());
                        agents.push(calls.spawn(attending));
                    } else {
                        hall.is_full(&format!("the agent of {name}"));
                    }
                }
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let call = calls.spawn(greet(Arc::clone(&hall), stream, address));
                    unknown.admit(address.ip(), call);
                }
                Err(error) => {
                    hall.complaints.say(|| tracing::warn!("no call of a peer can be accepted: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// What all callers meet.
struct Hall {
    mesh: Mesh,
    me: NodeName,
    welcome: mpsc::Sender<Welcomed>,
    complaints: Seldom,
    /// Those who show certificates are no strangers: their operator wants to know why, and once.
    refusals: PerReason,
}

/// Why a caller was not welcomed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error("{}", .0.sentence())]
    Read(#[from] ReadError),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{} of cluster {:?}: {reception}", hello.caller(), hello.cluster().as_str())]
    Refused { hello: Hello, reception: Reception },
    #[error("it did not say who it is in time")]
    Silent,
    #[error("it went on before it was answered")]
    Hasty,
}

async fn greet(hall: Arc<Hall>, stream: TcpStream, address: SocketAddr) {
    let greeted = timeout(HELLO_PATIENCE, meet(&hall.mesh, &hall.me, stream)).await;
    match greeted.unwrap_or(Err(Unwelcome::Silent)) {
        Ok(welcomed) => drop(hall.welcome.send(welcomed).await),
        Err(why) => {
            let complain =
                || tracing::warn!(caller = %address, "a caller on the peer port was refused: {why}");
            match &why {
                Unwelcome::Handshake(_) | Unwelcome::Refused { .. } => {
                    hall.refusals.say(&address.ip(), &why.to_string(), complain);
                }
                _ => hall.complaints.say(complain),
            }
        }
    }
}

/// Hears who calls.
pub(super) async fn meet(mesh: &Mesh, me: &NodeName, stream: TcpStream) -> Result<Welcomed, Unwelcome> {
    stream.set_nodelay(true)?;
    notice_dead_hosts(&SockRef::from(&stream), GIVE_UP)?;
    let (mut stream, proven) = stream::accept(mesh, stream).await?;
    let mut reader = FrameReader::new(HELLO_BYTES_MAX);
    let hello: Hello = reader.next(&mut stream).await?;
    let listed = |name: &_| mesh.others.iter().any(|other| other.name == *name);
    let reception = match proven {
        Some(identity) if !stream::proves(&identity, &hello.caller()) => Reception::OtherCertificate,
        _ => hello.receive(mesh.version_max, &mesh.cluster, me, listed),
    };
    let mut answer = Vec::new();
    append(&mut answer, &reception).map_err(ReadError::from)?;
    stream.write_all(&answer).await?;
    stream.flush().await?;
    if reception != Reception::Welcome {
        return Err(Unwelcome::Refused { hello, reception });
    }
    if reader.is_ahead() {
        return Err(Unwelcome::Hasty);
    }
    Ok((hello.caller(), stream, FrameReader::new(FRAME_BYTES_MAX)))
}

impl Hall {
    fn is_full(&self, who: &str) {
        self.complaints.say(|| tracing::warn!("{who} was refused: {ASKERS_MAX} are connected already"));
    }
}

/// Hears a gateway or an agent until the connection ends, and says once why it is not understood: it calls again at once.
async fn attend<L: Asker>(
    hall: Arc<Hall>,
    name: L::Name,
    who: String,
    stream: Stream,
    incoming: mpsc::Sender<Incoming>,
) {
    if let Err(error) = gateways::attend::<L>(name, stream, incoming).await {
        let reason = format!("{who} says what this controller does not understand: {error}");
        hall.refusals.say(&who, &error.to_string(), || tracing::warn!("{reason}"));
    }
}

/// Hands a peer's letters to the driver, in order, until the connection ends.
async fn hear(
    hall: Arc<Hall>,
    from: NodeId,
    mut stream: Stream,
    mut reader: FrameReader,
    incoming: mpsc::Sender<Incoming>,
) {
    loop {
        let letter = match reader.next(&mut stream).await {
            Ok(letter) => letter,
            Err(ReadError::Closed) => return,
            Err(error) => {
                hall.complaints
                    .say(|| tracing::warn!("the connection of controller number {from} was closed: {error}"));
                return;
            }
        };
        let heard = match letter {
            Letter::Node(message) => Some(Incoming::Message { from, message }),
            Letter::Ask { id, question } => {
                question.open().map(|question| Incoming::Asked { from, id, question })
            }
            Letter::Answer { id, answer } => {
                answer.open().map(|answer| Incoming::Answered { from, id, answer })
            }
            Letter::Certificates(standing) => Some(Incoming::Certified { from, standing }),
        };
        let Some(heard) = heard else {
            hall.complaints.say(|| {
                tracing::warn!(
                    "controller number {from} asked or said what this version does not know: upgrade this one"
                );
            });
            continue;
        };
        if incoming.send(heard).await.is_err() {
            return;
        }
    }
}
