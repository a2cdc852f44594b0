//! How results look: from values to text, without asking anybody anything.

mod explain;
mod history;
mod lab;
mod status;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use explain::explanation;
pub(crate) use history::history;
pub(crate) use lab::lab;
pub(crate) use status::{controllers, status};
