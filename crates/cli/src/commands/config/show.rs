//! `backstay config show`.

use super::read;
use crate::failure::{FAILED, Failure};
use crate::output::{Format, Output, print, print_json};
use std::path::Path;

/// As JSON it has the same keys as the file.
pub(super) fn show(file: &Path, output: Output) -> Result<(), Failure> {
    let text = read(file)?.show();
    match output.output {
        Format::Table => print(&text),
        Format::Json => {
            let value: serde_json::Value = toml::from_str(&text).map_err(|error| {
                Failure::whole(FAILED, format!("the configuration cannot be shown as JSON: {error}"))
            })?;
            print_json(&value)
        }
    }
}
