//! `backstay lab fault`.

use super::open;
use crate::arguments::Folder;
use crate::failure::{FAILED, Failure};
use crate::output::print;
use backstay_lab::Fault;

pub(super) fn fault(fault: &str, names: &[String], folder: &Folder) -> Result<(), Failure> {
    let fault: Fault = fault.parse()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let report = open(folder)?.fault_all(fault, &names)?;
    let line = serde_json::to_string(&report);
    let line =
        line.map_err(|error| Failure::whole(FAILED, format!("it was done, but cannot be shown: {error}")))?;
    print(&line)
}
