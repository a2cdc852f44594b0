//! The thread in which all fake instances live, and what the one who started them can do to them.

use super::connection::{Instance, lock, serve};
use super::group::{Group, INSTANCES_PER_GROUP};
use crate::error::{LabError, Result};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// The pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Groups of fake instances. Dropping this ends them.
#[derive(Debug)]
pub struct Fakes {
    groups: Vec<Arc<Mutex<Group>>>,
    orders: Option<mpsc::UnboundedSender<Vec<usize>>>,
    thread: Option<JoinHandle<()>>,
}

/// One instance and the task that accepts its clients.
struct Listening {
    instance: Arc<Instance>,
    accepting: AbortHandle,
}

impl Fakes {
    /// Starts `count` groups of three, all on `port`, each instance on a loopback address of its own.
    /// Clients beyond `connections_max` wait.
    pub fn start(count: usize, port: u16, connections_max: usize) -> Result<Self> {
        let now = Instant::now();
        let groups: Vec<_> =
            (0..count).map(|number| Arc::new(Mutex::new(Group::new(number, port, now)))).collect();
        let mut listeners = Vec::new();
        for group in &groups {
            for (index, address) in lock(group).addresses().enumerate() {
                listeners.push((Arc::clone(group), index, listen(address)?));
            }
        }
        let failed =
            |source| LabError::Process { verb: "start", name: "the fake instances".to_owned(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (orders, waiting) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("fakes".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(live(listeners, waiting, connections_max)) {
                    eprintln!("the fake instances ended: {error}");
                }
            })
            .map_err(failed)?;
        Ok(Self { groups, orders: Some(orders), thread: Some(thread) })
    }

    /// The groups, to look at.
    pub fn groups(&self) -> impl Iterator<Item = std::sync::MutexGuard<'_, Group>> {
        self.groups.iter().map(|group| lock(group))
    }

    /// The primaries of these groups vanish at once: connections closed, new ones refused.
    pub fn lose_primaries(&self, groups: Vec<usize>) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has lost all of them.
            let _ = orders.send(groups);
        }
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nothing to be told.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|source: io::Error| LabError::Process {
        verb: "listen as",
        name: format!("the fake instance {address}"),
        source,
    })
}

/// Accepts and answers until nobody gives orders any more.
async fn live(
    listeners: Vec<(Arc<Mutex<Group>>, usize, TcpListener)>,
    mut orders: mpsc::UnboundedReceiver<Vec<usize>>,
    connections_max: usize,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut listening = Vec::new();
    for (group, index, listener) in listeners {
        let instance = Arc::new(Instance { group, index, connections: Mutex::default() });
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting =
            tokio::spawn(accept(Arc::clone(&instance), listener, Arc::clone(&places))).abort_handle();
        listening.push(Listening { instance, accepting });
    }
    while let Some(groups) = orders.recv().await {
        for group in groups {
            lose_primary(&listening[group * INSTANCES_PER_GROUP..(group + 1) * INSTANCES_PER_GROUP]);
        }
    }
    Ok(())
}

fn lose_primary(members: &[Listening]) {
    let mut group = members.first().map(|member| lock(&member.instance.group));
    let lost = group.as_mut().and_then(|group| {
        let primary = group.primary()?;
        group.lose(primary, Instant::now());
        members.get(primary)
    });
    if let Some(lost) = lost {
        lost.accepting.abort();
        lost.instance.close_all_but(None);
    }
}

async fn accept(instance: Arc<Instance>, listener: tokio::net::TcpListener, places: Arc<Semaphore>) {
    let mut next = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        next += 1;
        let serving = serve(Arc::clone(&instance), next, stream);
        let connection = tokio::spawn(async move {
            serving.await;
            drop(place);
        });
        // The task first runs when this one waits, so it finds itself noted.
        lock(&instance.connections).insert(next, connection.abort_handle());
    }
}
