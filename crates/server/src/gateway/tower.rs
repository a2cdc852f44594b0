//! What a gateway's control socket stands on: who was there before, and who asks to come after.

use super::control::{Asked, Claim, Control, Found, Predecessor, find, one_turn};
use super::settings::GatewayOptions;
use backstay_gateway::{Heritage, Listen};
use backstay_model::{ClusterName, GatewayName};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

/// How long to wait for another successor, until it is looked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that it is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether the process is this gateway and nothing else: then another one can take its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standalone {
    Yes,
    No,
}

/// What belongs to the control socket.
pub(super) struct Tower {
    pub(super) cluster: ClusterName,
    pub(super) name: GatewayName,
    pub(super) folders: Vec<PathBuf>,
    pub(super) standalone: Standalone,
    pub(super) control: Option<Control>,
    /// That nobody else is looking while this one found nobody and cannot be found.
    pub(super) claim: Option<Claim>,
    /// Whom this gateway follows.
    pub(super) predecessor: Option<Predecessor>,
    /// Whether this gateway serves, for who waits for that.
    pub(super) serves: watch::Sender<bool>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) ask: mpsc::Sender<Asked>,
    /// Whose turn it is to follow.
    pub(super) turn: Arc<Semaphore>,
    /// Another gateway accepts at these: this one leaves.
    pub(super) handed: Option<Vec<Listen>>,
    pub(super) leaves: bool,
}

impl Tower {
    /// Finds the gateway before this one, and what it leaves. Waits as long as it gives that to another one.
    pub(super) async fn look_around(cluster: &ClusterName, options: &GatewayOptions) -> (Self, Heritage) {
        let mut told: Option<Instant> = None;
        let (found, claim) = loop {
            let claim = Claim::lay(&options.control, &options.name).await;
            let found = find(&options.control, cluster, &options.name);
            if !matches!(found, Found::Busy) {
                break (found, claim);
            }
            drop(claim);
            if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                told = Some(Instant::now());
                tracing::warn!(
                    "gateway {} is about to be replaced by another process: this one waits until that has happened, or \
                     has failed",
                    options.name
                );
            }
            sleep(BUSY_PAUSE).await;
        };
        // Its control socket is left to it.
        let folders = if matches!(found, Found::Stranger) { Vec::new() } else { options.control.clone() };
        let (predecessor, heritage) = match found {
            Found::Gateway(predecessor, heritage) => (Some(predecessor), heritage),
            Found::Silent => (None, Heritage { sockets: Vec::new(), replaces: true }),
            Found::Nobody | Found::Stranger | Found::Busy => (None, Heritage::default()),
        };
        let tower = Self::new(cluster, options, Standalone::Yes);
        // Who follows somebody is found there.
        let claim = predecessor.is_none().then_some(claim);
        (Self { folders, claim, predecessor, ..tower }, heritage)
    }

    /// Within a controller's process, where nobody is followed.
    pub(super) fn inside(cluster: &ClusterName, options: &GatewayOptions) -> (Self, Heritage) {
        (Self::new(cluster, options, Standalone::No), Heritage::default())
    }

    fn new(cluster: &ClusterName, options: &GatewayOptions, standalone: Standalone) -> Self {
        let (ask, asked) = mpsc::channel(1);
        Self {
            cluster: cluster.clone(),
            name: options.name.clone(),
            folders: options.control.clone(),
            standalone,
            control: None,
            claim: None,
            predecessor: None,
            serves: watch::Sender::new(false),
            asked,
            ask,
            turn: one_turn(),
            handed: None,
            leaves: false,
        }
    }

    /// Whether a successor holds the sockets, and has not said yet that it serves.
    pub(super) fn is_followed(&self) -> bool {
        self.turn.available_permits() == 0
    }
}
