//! What `doctor` found, each finding with what mends it.

use super::table::Tone;
use crate::output::Paint;
use backstay_server::doctor::{Examination, Finding, InstanceExamination, Severity};
use std::fmt::Write as _;

pub(crate) fn examination(examination: &Examination, paint: Paint) -> String {
    let mut out = String::new();
    for service in &examination.services {
        for instance in &service.instances {
            self::instance(service.service.as_str(), instance, paint, &mut out);
        }
    }
    let itself = paint.text(Tone::Faint, "Backstay sets these itself, so nobody is asked to:");
    let _ = writeln!(out, "{itself}");
    for what in examination.set_by_backstay {
        let _ = writeln!(out, "  {}", paint.text(Tone::Faint, *what));
    }
    let _ = writeln!(out, "\n{}", summary(examination, paint));
    out
}

// Writing to a string cannot fail.
fn instance(service: &str, instance: &InstanceExamination, paint: Paint, out: &mut String) {
    let name = paint.bold(&format!("{service}: {}", instance.instance));
    let _ = write!(out, "{name} ({})", instance.address);
    for word in [instance.role, instance.version.as_deref()].into_iter().flatten() {
        let _ = write!(out, ", {word}");
    }
    out.push('\n');
    if instance.findings.is_empty() {
        let _ = writeln!(out, "  {}", paint.text(Tone::Good, "as it should be"));
    }
    for found in &instance.findings {
        finding(found, paint, out);
    }
    out.push('\n');
}

pub(super) fn finding(finding: &Finding, paint: Paint, out: &mut String) {
    let tone = match finding.severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Doubtful,
        Severity::Note => Tone::Plain,
    };
    let word = paint.text(tone, format!("{}:", finding.severity.word()));
    // A setting's sentence begins with its name.
    let check = if finding.what.starts_with(finding.check) { "" } else { finding.check };
    let colon = if check.is_empty() { "" } else { ": " };
    let _ = writeln!(out, "  {word} {check}{colon}{}", finding.what);
    let _ = writeln!(out, "    {}", paint.text(Tone::Faint, finding.why));
    for statement in &finding.mend {
        let _ = writeln!(out, "    now:  {}", paint.text(Tone::Good, format!("{statement};")));
    }
    for line in &finding.file {
        let _ = writeln!(out, "    file: {}", paint.text(Tone::Good, line));
    }
    if finding.restart {
        let _ = writeln!(out, "    then: restart it");
    }
    if let Some(advice) = finding.advice {
        let _ = writeln!(out, "    {advice}");
    }
}

fn summary(examination: &Examination, paint: Paint) -> String {
    let instances: usize = examination.services.iter().map(|service| service.instances.len()).sum();
    let counted = |severity: Severity| {
        let count = examination.count(severity);
        format!("{count} {}{}", severity.word(), if count == 1 { "" } else { "s" })
    };
    let [errors, warnings, notes] = [Severity::Error, Severity::Warning, Severity::Note].map(counted);
    let tone = match (examination.count(Severity::Error), examination.count(Severity::Warning)) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Doubtful,
        _ => Tone::Bad,
    };
    let text = format!(
        "{errors}, {warnings}, {notes} at {instances} instance{}",
        if instances == 1 { "" } else { "s" }
    );
    paint.text(tone, text)
}
