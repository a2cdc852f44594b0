//! The certificates that endpoints show to clients, looked at again and again: a renewed one is shown to whoever connects
//! from then on. One that is of no use leaves the last in use, and that is told.

use super::settings::files;
use crate::tls::{Files, LOOK_EVERY, Material, Steady, TlsError, accepting_anyone};
use backstay_config::Config;
use rustls::ServerConfig;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// An endpoint's name, and what it shows from now on.
pub(super) type Renewed = (String, Arc<ServerConfig>);

/// An endpoint that shows a certificate.
pub(super) struct Shown {
    endpoint: String,
    files: Files,
    steady: Steady<Result<Material, TlsError>>,
}

/// Those of the file that do.
pub(super) fn shown(config: &Config) -> Vec<Shown> {
    let shown = config.endpoints.iter().filter_map(|endpoint| {
        let files = files(endpoint.tls.as_ref()?);
        Some(Shown { endpoint: endpoint.name.clone(), files, steady: Steady::new() })
    });
    shown.collect()
}

/// Looks at all of them until nobody wants to know, or there are none.
pub(super) async fn watch(mut all: Vec<Shown>, renewed: mpsc::Sender<Renewed>) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !all.is_empty() {
        look.tick().await;
        let looked = spawn_blocking(move || {
            let found: Vec<_> = all.iter_mut().filter_map(Shown::look).collect();
            (all, found)
        });
        // It can only have panicked, and has said so.
        let Ok((again, found)) = looked.await else {
            return;
        };
        all = again;
        for renewal in found {
            if renewed.send(renewal).await.is_err() {
                return;
            }
        }
    }
}

impl Shown {
    /// What is to be shown from now on, if that is something new.
    pub(super) fn look(&mut self) -> Option<Renewed> {
        let found = self.files.read();
        // At the start it was read already, and may have changed since.
        let first = self.steady.is_unused();
        if !self.steady.changes_to(&found) {
            return None;
        }
        let endpoint = &self.endpoint;
        match found.and_then(|material| accepting_anyone(&material)) {
            Ok(tls) => {
                if !first {
                    tracing::info!("endpoint {endpoint} shows its new certificate");
                }
                Some((endpoint.clone(), tls))
            }
            Err(error) => {
                tracing::warn!("endpoint {endpoint} goes on with the certificate that it has: {error}");
                None
            }
        }
    }
}
