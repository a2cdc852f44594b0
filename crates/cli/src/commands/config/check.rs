//! `backstay config check`.

use super::{certificates, text_of};
use crate::failure::{FAILED, Failure};
use crate::output::{Format, Output, print, print_json};
use backstay_config::{Config, Finding, Note};
use backstay_model::NodeName;
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;
use std::path::Path;

/// The result as JSON.
#[derive(Serialize)]
struct Verdict {
    file: String,
    ok: bool,
    findings: Vec<Note>,
}

pub(super) fn check(file: &Path, node: Option<&str>, output: Output) -> Result<(), Failure> {
    let text = text_of(file)?;
    let name = file.display().to_string();
    let parsed = Config::parse(&name, &text);
    let certificates = match &parsed {
        Ok(config) => certificates::check(config, node.map(NodeName::from).as_ref()),
        Err(_) => Ok(()),
    };
    if output.output == Format::Json {
        let findings = match &parsed {
            Ok(config) => {
                let found = certificates.as_ref().err().map(Failure::notes).unwrap_or_default();
                found.into_iter().chain(config.warnings.iter().map(Finding::note)).collect()
            }
            Err(errors) => errors.notes(),
        };
        let ok = parsed.is_ok() && certificates.is_ok();
        print_json(&Verdict { file: name, ok, findings })?;
        return if ok { Ok(()) } else { Err(Failure::said(FAILED)) };
    }
    let config = parsed?;
    certificates?;
    let mut shown = String::new();
    for warning in &config.warnings {
        // Writing to a string cannot fail.
        let _ = handler().render_report(&mut shown, warning);
        shown.push('\n');
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let spec = &config.spec;
    let instances = spec.services.iter().map(|service| service.instances.len()).sum();
    let summary = [
        count(spec.controllers.len(), "controller"),
        count(spec.services.len(), "service"),
        count(instances, "instance"),
        count(config.warnings.len(), "warning"),
    ];
    print(&format!("{shown}{name} is correct: {}", summary.join(", ")))
}

/// As miette draws errors, but for the standard output.
fn handler() -> GraphicalReportHandler {
    use crate::output::Paint;
    match Paint::of_stdout() {
        Paint::Colours => GraphicalReportHandler::new_themed(GraphicalTheme::unicode()),
        Paint::Plain => GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()),
    }
}
