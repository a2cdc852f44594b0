//! `backstay agent`: the hands on the host of one MariaDB instance.

use super::config::read;
use super::service;
use crate::arguments::Agent;
use crate::failure::{Failure, MISCONFIGURED};
use backstay_config::Config;
use backstay_model::{Address, InstanceName, hint};
use backstay_server::{AgentError, AgentOptions, run_agent};

pub(super) fn agent(arguments: &Agent) -> Result<(), Failure> {
    let config = read(&arguments.config).map_err(|failure| failure.with_code(MISCONFIGURED))?;
    let instance = InstanceName::from(arguments.instance.as_str());
    let listen = listen(&config, &instance)?;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let options = AgentOptions {
        data: arguments.data.clone(),
        rescue: arguments.rescue.clone(),
        socket: arguments.socket.clone(),
        stop: words(&arguments.stop),
        start: words(&arguments.start),
        server: words(&arguments.server),
        keep_old: arguments.keep_old,
        ..AgentOptions::new(instance, listen)
    };
    service::run(&config.clone(), &arguments.log, async |signals| {
        Ok(run_agent(config, options, signals.asked_to_stop()).await?)
    })
}

/// Where the file says that it listens.
fn listen(config: &Config, name: &InstanceName) -> Result<Address, Failure> {
    let databases = || config.spec.services.iter().filter(|service| service.engine.mariadb().is_some());
    let Some(spec) = databases().find_map(|service| service.instance(name)) else {
        let known = databases().flat_map(|service| &service.instances).map(|one| one.name.as_str());
        let hint = hint(name.as_str(), known);
        return Err(Failure::whole(
            MISCONFIGURED,
            format!("the file has no MariaDB instance called {name}; {hint}"),
        ));
    };
    spec.agent.clone().ok_or_else(|| {
        Failure::new(
            MISCONFIGURED,
            format!("the agent of {name} does not know where to listen"),
            "the file does not say it",
            format!("add agent = \"HOST:PORT\" to {name} in every node's file, and restart the controllers"),
        )
    })
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::whole(error.exit_code(), error.to_string())
    }
}
