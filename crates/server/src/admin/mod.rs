//! The operators' port: HTTP and JSON on a Unix socket that only the owner can open, and on TCP for those who show a
//! certificate. It asks the `Handle`; which node
//! answers is not decided here. Clients that are slow or talk nonsense cost a bounded amount of memory and time.

mod caller;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod remote;
mod routes;
mod socket;

pub(crate) use remote::serve_remotely;
pub use socket::AdminError;
pub(crate) use socket::bind;

use crate::handle::Handle;
use crate::seldom::Seldom;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many clients are served at a time. More wait in the socket's own queue.
const CLIENTS_MAX: usize = 64;
/// How long a client may take for the head of a request, and between two of them.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves operators for ever.
pub(crate) async fn serve(listener: UnixListener, handle: Handle) {
    let router = routes::router(handle);
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let complaints = Seldom::default();
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                clients.spawn(async move {
                    converse(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                complaints.say(|| tracing::warn!("no client of the admin socket can be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an operator's client was cut off");
    }
}
