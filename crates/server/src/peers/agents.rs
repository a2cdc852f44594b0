//! Agents and controllers: an agent keeps a connection to every controller, reports there, and hears what the leader
//! says, in the same way as gateways do.

use super::gateways::Asker;
use crate::driver::Incoming;
use backstay_model::{AgentOrders, AgentReport, InstanceName};
use tokio::sync::mpsc;

/// What an agent sends to a controller.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct AgentLetter {
    /// Which of the processes of its name it is.
    pub(crate) process: u64,
    pub(crate) report: AgentReport,
}

impl Asker for AgentLetter {
    type Name = InstanceName;
    type Id = (InstanceName, u64);
    type Orders = AgentOrders;

    fn id(&self, name: &InstanceName) -> Self::Id {
        (name.clone(), self.process)
    }

    fn incoming(self, (instance, process): Self::Id, outlet: Option<mpsc::Sender<AgentOrders>>) -> Incoming {
        Incoming::Agent { instance, process, report: self.report, outlet }
    }

    fn lost((instance, process): Self::Id, outlet: mpsc::Sender<AgentOrders>) -> Incoming {
        Incoming::AgentLost { instance, process, outlet }
    }
}
