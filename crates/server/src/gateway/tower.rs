//! What a gateway's control socket stands on: who was there before, and who asks to come after.

use super::control::{Asked, Control, Found, Predecessor, find};
use super::settings::GatewayOptions;
use backstay_gateway::{Heritage, Listen};
use backstay_model::{ClusterName, GatewayName};
use std::path::PathBuf;
use tokio::sync::mpsc;

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
    /// Whom this gateway follows, until it serves.
    pub(super) predecessor: Option<Predecessor>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) ask: mpsc::Sender<Asked>,
    /// Another gateway accepts at these: this one leaves.
    pub(super) handed: Option<Vec<Listen>>,
}

impl Tower {
    /// Finds the gateway before this one, and what it leaves.
    pub(super) fn look_around(
        cluster: &ClusterName,
        options: &GatewayOptions,
        standalone: Standalone,
    ) -> (Self, Heritage) {
        let found = match standalone {
            Standalone::Yes => find(&options.control, cluster, &options.name),
            Standalone::No => Found::Nobody,
        };
        // Its control socket is left to it.
        let folders = if matches!(found, Found::Stranger) { Vec::new() } else { options.control.clone() };
        let (predecessor, heritage) = match found {
            Found::Gateway(predecessor, heritage) => (Some(predecessor), heritage),
            Found::Silent => (None, Heritage { sockets: Vec::new(), replaces: true }),
            Found::Nobody | Found::Stranger => (None, Heritage::default()),
        };
        let (ask, asked) = mpsc::channel(1);
        let tower = Self {
            cluster: cluster.clone(),
            name: options.name.clone(),
            folders,
            standalone,
            control: None,
            predecessor,
            asked,
            ask,
            handed: None,
        };
        (tower, heritage)
    }
}
