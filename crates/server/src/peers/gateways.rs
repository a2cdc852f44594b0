//! Gateways and controllers: a gateway keeps a connection to every controller, reports there, and hears what the leader
//! says. Both ends say everything anew each time, so whatever is lost is made good by what follows. Agents do the same
//! (`agents`).

use super::dial::{Lost, introduce};
use super::frames::{FrameReader, ReadError, append};
use super::hello::HELLO_PATIENCE;
use super::stream::Stream;
use super::{FRAME_BYTES_MAX, Mesh};
use crate::driver::Incoming;
use backstay_model::{ControllerSpec, GatewayId, GatewayName, GatewayOrders, GatewayReport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many orders may wait for a gateway that does not read.
const ORDERS_MAX: usize = 64;
/// The longest report: every service once.
const REPORT_BYTES_MAX: usize = 1024 * 1024;
/// How long a gateway may be silent: many times what it may pause between two reports.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The pause before the next attempt to reach a controller; doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What a gateway sends to a controller.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GatewayLetter {
    /// Which of the processes of its name it is.
    pub(crate) process: u64,
    pub(crate) report: GatewayReport,
}

/// Who keeps a connection to every controller, by what it sends there.
pub(crate) trait Asker: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is called.
    type Name: Clone + Send;
    /// Which of the processes of that name it is.
    type Id: Clone + PartialEq + Send;
    /// What it is answered.
    type Orders: Serialize + DeserializeOwned + Send + 'static;

    fn id(&self, name: &Self::Name) -> Self::Id;
    /// As the driver hears it.
    fn incoming(self, id: Self::Id, outlet: Option<mpsc::Sender<Self::Orders>>) -> Incoming;
    /// The end of that way, as the driver hears it.
    fn lost(id: Self::Id, outlet: mpsc::Sender<Self::Orders>) -> Incoming;
}

impl Asker for GatewayLetter {
    type Name = GatewayName;
    type Id = GatewayId;
    type Orders = GatewayOrders;

    fn id(&self, name: &GatewayName) -> GatewayId {
        GatewayId { name: name.clone(), process: self.process }
    }

    fn incoming(self, gateway: GatewayId, outlet: Option<mpsc::Sender<GatewayOrders>>) -> Incoming {
        Incoming::Gateway { gateway, report: self.report, outlet }
    }

    fn lost(gateway: GatewayId, outlet: mpsc::Sender<GatewayOrders>) -> Incoming {
        Incoming::GatewayLost { gateway, outlet }
    }
}

/// The controller's end: hears one gateway and tells it what the driver has to say, until the connection ends. An error:
/// it said something that is not understood here, and will say so again.
pub(super) async fn attend<L: Asker>(
    name: L::Name,
    stream: Stream,
    incoming: mpsc::Sender<Incoming>,
) -> Result<(), ReadError> {
    let mut reader = FrameReader::new(REPORT_BYTES_MAX);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let (orders, mut ordered) = mpsc::channel(ORDERS_MAX);
    let mut known: Option<L::Id> = None;
    let ended = loop {
        tokio::select! {
            letter = timeout(SILENCE_MAX, reader.next::<L>(&mut reading)) => {
                let letter = match letter {
                    Ok(Ok(letter)) => letter,
                    Ok(Err(error @ (ReadError::Senseless(_) | ReadError::Frame(_)))) => break Err(error),
                    Ok(Err(ReadError::Closed | ReadError::Io(_))) | Err(_) => break Ok(()),
                };
                let id = letter.id(&name);
                // A connection is one process'.
                if known.as_ref().is_some_and(|known| *known != id) {
                    break Ok(());
                }
                let outlet = known.is_none().then(|| orders.clone());
                known = Some(id.clone());
                if incoming.send(letter.incoming(id, outlet)).await.is_err() {
                    return Ok(());
                }
            }
            Some(order) = ordered.recv() => {
                let written = timeout(SILENCE_MAX, write(&mut writing, &order)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break Ok(());
                }
            }
        }
    };
    if let Some(id) = known {
        // Its process may be replaced by now: the outlet says whose end this is.
        let _ = incoming.send(L::lost(id, orders)).await;
    }
    ended
}

/// The gateway's end: keeps a connection to every controller. What is put into `letters` is written to all of them,
/// unless something newer comes first; what they say comes out of the receiver.
pub(crate) fn consult_all<L: Asker>(
    mesh: &Mesh,
    letters: &watch::Sender<L>,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<L::Orders> {
    let (said, hearing) = mpsc::channel(ORDERS_MAX);
    for controller in &mesh.others {
        let (mesh, controller) = (mesh.clone(), controller.clone());
        tasks.spawn(consult(mesh, controller, letters.subscribe(), said.clone()));
    }
    hearing
}

async fn consult<L: Asker>(
    mesh: Mesh,
    controller: ControllerSpec,
    mut letters: watch::Receiver<L>,
    said: mpsc::Sender<L::Orders>,
) {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    // The last connection ended with a letter that means nothing here: so will the next one.
    let mut senseless = false;
    loop {
        let lost = match timeout(HELLO_PATIENCE, introduce(&mesh, &controller)).await {
            Ok(Ok(stream)) => {
                if !senseless {
                    (pause, told) = (PAUSE_MIN, String::new());
                    tracing::info!("connected to controller {}", controller.name);
                }
                let lost = talk(stream, &mut letters, &said).await;
                senseless = matches!(lost, Lost::Read(ReadError::Senseless(_)));
                lost
            }
            Ok(Err(lost)) => lost,
            Err(_) => Lost::Silent,
        };
        if matches!(lost, Lost::Over) {
            return;
        }
        let reason = lost.to_string();
        if told != reason {
            tracing::warn!(
                "no connection to controller {} ({}): {reason}",
                controller.name,
                controller.address
            );
            told = reason;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

pub(super) async fn talk<L: Asker>(
    stream: Stream,
    letters: &mut watch::Receiver<L>,
    said: &mpsc::Sender<L::Orders>,
) -> Lost {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    letters.mark_changed();
    loop {
        tokio::select! {
            changed = letters.changed() => {
                if changed.is_err() {
                    return Lost::Over;
                }
                let letter = letters.borrow_and_update().clone();
                match timeout(SILENCE_MAX, write(&mut writing, &letter)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(lost)) => return lost,
                    Err(_) => return Lost::Silent,
                }
            }
            orders = reader.next(&mut reading) => match orders {
                Ok(orders) => {
                    if said.send(orders).await.is_err() {
                        return Lost::Over;
                    }
                }
                Err(ReadError::Closed) => return Lost::Closed,
                Err(error) => return error.into(),
            }
        }
    }
}

async fn write<T: Serialize>(writing: &mut WriteHalf<Stream>, value: &T) -> Result<(), Lost> {
    let mut bytes = Vec::new();
    append(&mut bytes, value).map_err(ReadError::from)?;
    writing.write_all(&bytes).await?;
    writing.flush().await?;
    Ok(())
}
