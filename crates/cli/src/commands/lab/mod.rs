//! `backstay lab`: a local cluster of real servers.

mod down;
mod fault;
mod status;
mod up;

use crate::arguments::{self, Folder};
use crate::failure::Failure;
use backstay_lab::Lab;

pub(super) fn lab(arguments: &arguments::Lab) -> Result<(), Failure> {
    match arguments {
        arguments::Lab::Up(arguments) => up::up(arguments),
        arguments::Lab::Status { folder, json } => status::status(folder, json.output()),
        arguments::Lab::Fault { fault, names, folder } => fault::fault(fault, names, folder),
        arguments::Lab::Down { folder, json } => down::down(folder, json.output()),
    }
}

/// The lab that is meant.
fn open(folder: &Folder) -> Result<Lab, Failure> {
    Ok(match &folder.dir {
        Some(dir) => Lab::open(dir)?,
        None => Lab::open_latest()?,
    })
}
