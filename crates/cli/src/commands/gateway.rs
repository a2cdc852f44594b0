//! `backstay gateway`: one gateway in this process, without a controller.

use super::config::read;
use super::service;
use crate::arguments::Gateway;
use crate::failure::{FAILED, Failure, MISCONFIGURED};
use backstay_model::GatewayName;
use backstay_server::{GatewayError, GatewayOptions, control_folders, run_gateway};

pub(super) fn gateway(arguments: &Gateway) -> Result<(), Failure> {
    let config = read(&arguments.config).map_err(|failure| failure.with_code(MISCONFIGURED))?;
    let taken = config.nodes.iter().any(|node| node.name.as_str() == arguments.name);
    if taken {
        return Err(Failure::new(
            FAILED,
            format!("'{}' cannot be this gateway's name", arguments.name),
            "a controller is called that",
            "choose another one",
        ));
    }
    let options = GatewayOptions {
        name: GatewayName::from(arguments.name.as_str()),
        zone: arguments.zone.clone(),
        listen: arguments.listen.iter().cloned().collect(),
        control: arguments.control.clone().map_or_else(control_folders, |folder| vec![folder]),
    };
    service::run(&config.clone(), &arguments.log, async |signals| {
        Ok(run_gateway(config, options, signals.asked_to_stop()).await?)
    })
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::whole(error.exit_code(), error.to_string())
    }
}
