//! Planned moves of a lab's primary, asked for over the admin sockets as an operator would.

use crate::admin;
use crate::error::{LabError, Result};
use crate::servers::process::{Liveness, Moment};
use crate::stack::lab::Lab;
use crate::wait::poll_every;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a replica may take to be fit: a fresh copy must have received something.
const FIT_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

impl Lab {
    /// Waits until `to` is fit to take over.
    pub fn await_fit(&self, to: &str) -> Result<()> {
        self.await_fit_for(&self.state()?.service, to)
    }

    fn await_fit_for(&self, service: &str, to: &str) -> Result<()> {
        let mut refusal = String::new();
        let fit = poll_every(PAUSE, FIT_LIMIT, || match self.ask_switchover(service, to, true) {
            Ok(()) => Some(()),
            Err(error) => {
                refusal = error.to_string();
                None
            }
        });
        fit.ok_or_else(|| LabError::Deadline {
            what: format!("that {to} can take over"),
            waited: FIT_LIMIT,
            hint: refusal,
        })
    }

    /// Makes `to` the primary by a planned move; returns once that is committed, with the moment before it was asked.
    pub fn switch_over(&self, to: &str) -> Result<Moment> {
        self.switch_over_of(&self.state()?.service, to)
    }

    /// The same for any of the lab's services.
    pub fn switch_over_of(&self, service: &str, to: &str) -> Result<Moment> {
        self.await_fit_for(service, to)?;
        let at = Moment::now();
        self.ask_switchover(service, to, false)?;
        Ok(at)
    }

    /// Has an instance rebuilt that holds what nobody else does. It returns once that is agreed on.
    pub fn rebuild(&self, service: &str, instance: &str) -> Result<()> {
        let wish = json!({"service": service, "instance": instance, "method": "auto", "dry_run": false, "by": "the lab"});
        self.ask("/v1/rebuild", &wish)
    }

    fn ask_switchover(&self, service: &str, to: &str, dry_run: bool) -> Result<()> {
        self.ask(
            "/v1/switchover",
            &json!({"service": service, "to": to, "dry_run": dry_run, "by": "the lab"}),
        )
    }

    fn ask(&self, path: &str, wish: &Value) -> Result<()> {
        let state = self.state()?;
        let mut last = Err(LabError::Refused("no controller of this lab runs.".to_owned()));
        for member in state.controllers.iter().filter(|member| member.liveness() == Liveness::Running) {
            last = admin::post(&member.server.admin, path, wish);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}
