//! `backstay run`: one controller in this process, on one thread.

use super::config::read;
use super::service;
use crate::arguments::Run;
use crate::failure::{Failure, MISCONFIGURED};
use backstay_model::NodeName;

pub(super) fn run(arguments: &Run) -> Result<(), Failure> {
    let misconfigured = |failure: Failure| failure.with_code(MISCONFIGURED);
    let config = read(&arguments.config).map_err(misconfigured)?;
    let node = NodeName::from(arguments.node.as_str());
    config.node(&node).map_err(Failure::from).map_err(misconfigured)?;
    service::run(&config.clone(), &arguments.log, async |signals| {
        Ok(backstay_server::run(config, node, arguments.bootstrap, signals.asked_to_stop()).await?)
    })
}
