//! The operators' port for other machines: the same resources over TLS, for clients with a certificate of this cluster.

use super::caller::{CALLER, Caller};
use super::{ACCEPT_PAUSE, CLIENTS_MAX, converse, routes};
use crate::anteroom::Anteroom;
use crate::handle::Handle;
use crate::link::notice_dead_hosts;
use crate::seldom::{PerReason, Seldom};
use crate::tls::{HandshakeError, Identity, Keyring, Kind};
use axum::Router;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many callers may be shaking hands at a time.
const UNKNOWN_MAX: usize = 64;
/// How long that may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);
/// After how long without an acknowledgement from the other kernel a connection is given up.
const GIVE_UP: Duration = Duration::from_secs(10);

/// What all callers meet.
struct Counter {
    keyring: Arc<Keyring>,
    router: Router,
    places: Arc<Semaphore>,
    refusals: PerReason,
    complaints: Seldom,
}

/// Serves operators of other machines for ever.
pub(crate) async fn serve_remotely(listener: TcpListener, handle: Handle, keyring: Arc<Keyring>) {
    let counter = Arc::new(Counter {
        keyring,
        router: routes::router(handle),
        places: Arc::new(Semaphore::new(CLIENTS_MAX)),
        refusals: PerReason::default(),
        complaints: Seldom::default(),
    });
    let mut unknown = Anteroom::new(UNKNOWN_MAX);
    let (mut greeted, mut served) = (JoinSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            Some(welcome) = greeted.join_next(), if !greeted.is_empty() => {
                if let Ok(Some((stream, caller))) = welcome {
                    served.spawn(serve(Arc::clone(&counter), stream, caller));
                }
            }
            Some(_) = served.join_next(), if !served.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let call = greeted.spawn(greet(Arc::clone(&counter), stream, address));
                    unknown.admit(address.ip(), call);
                }
                Err(error) => {
                    counter
                        .complaints
                        .say(|| tracing::warn!("no client of the admin address can be accepted: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

type Stream = tokio_rustls::TlsStream<TcpStream>;

async fn greet(counter: Arc<Counter>, stream: TcpStream, address: SocketAddr) -> Option<(Stream, Caller)> {
    let met = timeout(HANDSHAKE_PATIENCE, meet(&counter.keyring, stream)).await;
    let met = met
        .unwrap_or_else(|_| Err(HandshakeError::Tls("it did not finish the handshake in time".to_owned())));
    match met {
        Ok(welcome) => Some(welcome),
        Err(why) => {
            counter.refusals.say(&address.ip(), &why.to_string(), || {
                tracing::warn!(caller = %address, "a client on the admin address was refused: {why}");
            });
            None
        }
    }
}

async fn meet(keyring: &Keyring, stream: TcpStream) -> Result<(Stream, Caller), HandshakeError> {
    // Without these the connection still works.
    let _ = stream.set_nodelay(true);
    let _ = notice_dead_hosts(&SockRef::from(&stream), GIVE_UP);
    match keyring.accept(stream, Kind::Client).await? {
        (stream, Identity::Client { name, right, .. }) => Ok((stream, Caller { name, right })),
        // The keyring lets in no others.
        (_, Identity::Node { .. } | Identity::Gateway { .. } | Identity::Agent { .. }) => {
            Err(HandshakeError::Tls("it is no client".to_owned()))
        }
    }
}

async fn serve(counter: Arc<Counter>, stream: Stream, caller: Caller) {
    let Ok(_place) = Arc::clone(&counter.places).try_acquire_owned() else {
        counter.complaints.say(|| {
            tracing::warn!(
                "{CLIENTS_MAX} clients are connected to the admin address already; {} was hung up on",
                caller.name
            );
        });
        return;
    };
    CALLER.scope(caller, converse(stream, counter.router.clone())).await;
}
