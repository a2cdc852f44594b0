//! How results look: from values to text, without asking anybody anything.

mod adopt;
mod adopt_mariadb;
mod doctor;
mod events;
mod explain;
mod fold;
mod gateways;
mod history;
mod lab;
mod rebuild;
mod status;
mod table;
mod traffic;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use adopt::adoption;
pub(crate) use adopt_mariadb::mariadb_adoption;
pub(crate) use doctor::examination;
pub(crate) use events::{EventLine, event_line};
pub(crate) use explain::explanation;
pub(crate) use history::history;
pub(crate) use lab::lab;
pub(crate) use rebuild::rebuild;
pub(crate) use status::{controllers, status};
pub(crate) use table::amount;
pub(crate) use traffic::{GatewayReading, slow_commands, traffic};
pub(crate) use watch::{Picture, watch};
