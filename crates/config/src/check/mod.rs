//! What the settings mean together. Every check skips what could not be read, because that was noted already.

mod endpoint;
mod exposure;
mod service;
mod unique;

use crate::config::File;
use crate::finding::Findings;

/// The most controllers that vote together without slowing each other down.
const CONTROLLERS_MAX: usize = 15;

/// Notes everything that is wrong or doubtful about the file as a whole.
pub(crate) fn all(file: &File, findings: &mut Findings) {
    unique::all(file, findings);
    exposure::all(file, findings);
    endpoint::all(file, findings);
    controller_count(file, findings);
    for service in &file.services {
        service::all(service, findings);
    }
    if file.services.is_empty() && !findings.has_errors() {
        let help = "Write [[redis]], [[mariadb]] or [[mysql]] for each, with name and instances.";
        findings.warning(&(0..0), "there is no service to watch", help);
    }
}

fn controller_count(file: &File, findings: &mut Findings) {
    let Some(last) = file.controllers.last() else {
        return;
    };
    let help = "Use three controllers, or five, on machines that do not fail together.";
    match file.controllers.len() {
        1 => {
            let message = "one controller: nothing fails over while it, or its machine, is down";
            findings.warning(&last.span, message, help).labelled("the only one");
        }
        2 => {
            let message = "two controllers: if either is lost, or they lose each other, nothing fails over";
            findings.warning(&last.span, message, help).labelled("the second of two");
        }
        count if count > CONTROLLERS_MAX => {
            let message = format!("{count} controllers are too many to agree quickly");
            findings.error(&last.span, message, format!("Use three or five; at most {CONTROLLERS_MAX}."));
        }
        count if count % 2 == 0 => {
            let survived = (count - 1) / 2;
            let message =
                format!("{count} controllers survive the loss of {survived}, as {} would", count - 1);
            findings.warning(&last.span, message, "Use an odd number: add one or leave one out.");
        }
        _ => {}
    }
}
