//! How a rebuild goes on, and what it came to.

use backstay_model::{EventKind, Method, RebuildOutcome, RebuildStatus, Unit};
use std::fmt::Write as _;

const MIB: u64 = 1 << 20;

/// One rebuild, in a line or two.
pub(crate) fn rebuild(status: &RebuildStatus) -> String {
    let mut text = head(status);
    // Writing to a string cannot fail.
    if let Some(bytes) = status.bytes {
        let _ = write!(text, ", {}.{} MiB so far", bytes / MIB, bytes % MIB * 10 / MIB);
    }
    if let Some(waits) = &status.waits {
        let _ = write!(text, "; its data stays as long as {waits}");
    }
    text.push('\n');
    let saved = status.saved.as_ref().and_then(|saved| Some((saved.file.as_ref()?, saved.transactions)));
    let is_called_off = matches!(status.outcome, Some(RebuildOutcome::CalledOff { .. }));
    if let Some((file, transactions)) = saved.filter(|_| !is_called_off) {
        let count = Unit::Transactions.count(transactions);
        let _ = writeln!(text, "{count} that only {} held: {file} on its host", status.instance);
    }
    text
}

fn head(status: &RebuildStatus) -> String {
    let RebuildStatus { instance, donor, number, .. } = status;
    if let Some(outcome) = status.outcome.clone() {
        return EventKind::RebuildEnded { instance: instance.clone(), outcome }.to_string();
    }
    let how = match status.method {
        Method::Auto => String::new(),
        method => format!(", {}", method.word()),
    };
    format!("{instance} is being rebuilt from {donor} (rebuild {number}{how}): it {}", status.progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::{SavedSurplus, UnixMicros};

    fn status() -> RebuildStatus {
        RebuildStatus {
            number: 2,
            instance: "m1".into(),
            donor: "m3".into(),
            method: Method::Auto,
            because: "it is a replica in step".into(),
            by: "ada".into(),
            at: UnixMicros(0),
            saved: Some(SavedSurplus { file: Some("/rescue/m1.sql".into()), transactions: 3 }),
            discards: true,
            progress: "gets the data of m3".into(),
            bytes: Some(13 * MIB / 2),
            waits: None,
            outcome: None,
            ended: None,
        }
    }

    #[test]
    fn a_rebuild_is_told_in_a_line_and_where_the_surplus_lies_in_another() {
        assert_eq!(
            rebuild(&status()),
            "m1 is being rebuilt from m3 (rebuild 2): it gets the data of m3, 6.5 MiB so far\n3 transactions that only m1 \
             held: /rescue/m1.sql on its host\n"
        );
        let waits = Some("m1 counts".to_owned());
        let waiting = RebuildStatus { waits, bytes: None, saved: None, method: Method::Copy, ..status() };
        assert_eq!(
            rebuild(&waiting),
            "m1 is being rebuilt from m3 (rebuild 2, copy): it gets the data of m3; its data stays as long as m1 counts\n"
        );
        let outcome =
            Some(RebuildOutcome::Done { method: Method::Flashback, because: "all were rows".into() });
        let done = RebuildStatus { outcome, bytes: None, ..status() };
        assert_eq!(
            rebuild(&done),
            "m1 is rebuilt: what only it held was taken back, because all were rows\n3 transactions that only m1 held: \
             /rescue/m1.sql on its host\n"
        );
    }
}
