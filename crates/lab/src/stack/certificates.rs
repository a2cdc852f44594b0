//! A lab's certificates, made by the `backstay` program itself as an operator would: an authority, one certificate for
//! each controller, gateway and agent, and one for a client called `operator`.

use crate::error::{LabError, Result};
use crate::servers::agent::AgentServer;
use crate::servers::controller::ControllerServer;
use crate::servers::gateway::GatewayServer;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the certificates in the lab's folder.
pub const FOLDER: &str = "certificates";
/// The client that may do everything.
pub const OPERATOR: &str = "operator";

/// The client's certificate of the lab in `dir`; its key and the authority are beside it.
pub fn of_operator(dir: &Path) -> PathBuf {
    dir.join(FOLDER).join(format!("{OPERATOR}.pem"))
}

/// Makes all of them, for the controllers of `file` these gateways and these agents.
pub(crate) fn make(
    backstay: &Path,
    dir: &Path,
    file: &Path,
    controllers: &[ControllerServer],
    gateways: &[GatewayServer],
    agents: &[AgentServer],
) -> Result<()> {
    let folder = dir.join(FOLDER);
    let make = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(backstay);
        command.arg("cert").args(arguments).arg("--config").arg(file).arg("--dir").arg(&folder);
        let output = command.stdin(Stdio::null()).output().map_err(|source| LabError::Process {
            verb: "start",
            name: backstay.display().to_string(),
            source,
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(LabError::Answer {
            from: "backstay cert".to_owned(),
            what: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    };
    make(&["authority"])?;
    for controller in controllers {
        make(&["node", &controller.name, "--host", "localhost"])?;
    }
    for gateway in gateways {
        make(&["gateway", &gateway.name])?;
    }
    for agent in agents {
        make(&["agent", &agent.instance.name])?;
    }
    make(&["client", OPERATOR])
}
