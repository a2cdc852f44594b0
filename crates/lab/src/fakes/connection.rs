//! One connection of a client to a fake instance.

use super::command::{Asked, Transaction, Wanted};
use super::group::Group;
use backstay_wire::resp::{Limits, RequestDecoder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

const READ_BYTES: usize = 4096;

/// One instance's place in its group, and who is connected to it.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) group: Arc<Mutex<Group>>,
    pub(super) index: usize,
    pub(super) connections: Mutex<BTreeMap<u64, AbortHandle>>,
}

/// A lock that outlives a panic of its holder: what fakes hold is never half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    /// Closes all connections but one.
    pub(super) fn close_all_but(&self, kept: Option<u64>) {
        lock(&self.connections).retain(|id, connection| {
            let keep = Some(*id) == kept;
            if !keep {
                connection.abort();
            }
            keep
        });
    }
}

/// Answers a client until it goes or is thrown out.
pub(super) async fn serve(instance: Arc<Instance>, id: u64, stream: TcpStream) {
    // A client that breaks off or talks nonsense is let go, as Redis does.
    let _ = talk(&instance, id, stream).await;
    lock(&instance.connections).remove(&id);
}

async fn talk(instance: &Instance, id: u64, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = RequestDecoder::new(Limits::default());
    let mut transaction = Transaction::default();
    let mut out = Vec::new();
    loop {
        let mut bytes = [0; READ_BYTES];
        stream.readable().await?;
        let count = match stream.try_read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        requests.feed(&bytes[..count]).map_err(std::io::Error::other)?;
        while let Some(request) = requests.next().map_err(std::io::Error::other)? {
            let others = lock(&instance.connections).len().saturating_sub(1);
            let mut group = lock(&instance.group);
            let mut asked = Asked { group: &mut group, index: instance.index, others, now: Instant::now() };
            if asked.answer(&mut transaction, request, &mut out) == Wanted::CloseOthers {
                instance.close_all_but(Some(id));
            }
        }
        stream.write_all(&out).await?;
        out.clear();
    }
}
