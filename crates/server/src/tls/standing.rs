//! How a controller's certificates stand: when they end, and what is wrong with them. Controllers tell each other, so
//! that whoever is asked for the status knows all of them.

use backstay_model::{NodeName, ProblemStatus, Severity, UnixMicros};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a certificate is a problem, unless it lives so briefly that this is most of its life.
const WARN_BEFORE: Duration = DAY.saturating_mul(30);
/// How long before its end it is a bad one.
const ALARM_BEFORE: Duration = DAY.saturating_mul(3);

/// How a controller's certificates stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Its own certificate.
    pub(crate) own: Life,
    /// Its authority's certificate; that which ends first, if there are several.
    pub(crate) authority: Life,
    /// Why files that were changed are not in use, if they are not.
    pub(crate) trouble: Option<String>,
}

/// From when until when a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) not_before: UnixMicros,
    pub(crate) not_after: UnixMicros,
}

impl Standing {
    /// What is wrong at `now` with the certificates of the controller called `node`, worst first.
    pub(crate) fn problems(&self, node: &NodeName, now: UnixMicros) -> Vec<ProblemStatus> {
        let own = self.own.problem(
            "CertificateExpires",
            &format!("the certificate of controller {node}"),
            "make a new one with `backstay cert node` and put it in place of the old; no restart is needed",
            now,
        );
        let authority = self.authority.problem(
            "AuthorityExpires",
            &format!("the authority's certificate on controller {node}"),
            "make a new authority with `backstay cert authority`, append it to the authority file of every machine, then \
             make every certificate anew",
            now,
        );
        let trouble = self.trouble.as_ref().map(|why| ProblemStatus {
            code: "CertificateUnusable".to_owned(),
            severity: Severity::Warning,
            sentence: format!(
                "controller {node} found new certificate files and keeps using the old ones: {why}"
            ),
        });
        let mut problems: Vec<_> = own.into_iter().chain(authority).chain(trouble).collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        problems
    }
}

impl Life {
    fn problem(self, code: &str, what: &str, next: &str, now: UnixMicros) -> Option<ProblemStatus> {
        let whole = self.not_after.since(self.not_before);
        let left = self.not_after.since(now);
        let severity = if left <= ALARM_BEFORE.min(whole / 10) {
            Severity::Error
        } else if left <= WARN_BEFORE.min(whole / 3) {
            Severity::Warning
        } else {
            return None;
        };
        let when = if left.is_zero() {
            format!("expired on {} UTC: it connects to nobody any more", self.not_after)
        } else {
            format!("expires in {} (on {} UTC)", spelt(left), self.not_after)
        };
        Some(ProblemStatus { code: code.to_owned(), severity, sentence: format!("{what} {when}; {next}") })
    }
}

fn spelt(left: Duration) -> String {
    let plural = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    match left.as_secs() / 3600 {
        0 => "less than an hour".to_owned(),
        hours if hours < 48 => plural(hours, "hour"),
        hours => plural(hours / 24, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(days: u64) -> Standing {
        let life = |days: u64| Life {
            not_before: UnixMicros(0),
            not_after: UnixMicros(0) + DAY * u32::try_from(days).unwrap(),
        };
        Standing { own: life(days), authority: life(3650), trouble: None }
    }

    fn at(days: u32) -> UnixMicros {
        UnixMicros(0) + DAY * days
    }

    #[test]
    fn an_end_is_a_problem_before_it_comes_and_a_bad_one_when_it_is_near() {
        let standing = standing(365);
        let node = NodeName::from("a");
        assert!(standing.problems(&node, at(300)).is_empty());
        let soon = standing.problems(&node, at(340));
        assert_eq!((soon[0].code.as_str(), soon[0].severity), ("CertificateExpires", Severity::Warning));
        assert!(soon[0].sentence.contains("controller a expires in 25 days"), "{}", soon[0].sentence);
        let late = standing.problems(&node, at(363));
        assert_eq!(late[0].severity, Severity::Error);
        assert!(late[0].sentence.contains("expires in 2 days"), "{}", late[0].sentence);
        let over = standing.problems(&node, at(400));
        assert_eq!(over[0].severity, Severity::Error);
        assert!(over[0].sentence.contains("expired on"), "{}", over[0].sentence);
    }

    #[test]
    fn a_certificate_of_a_week_is_no_problem_on_its_first_day() {
        let standing = standing(7);
        let node = NodeName::from("a");
        assert!(standing.problems(&node, at(1)).is_empty());
        assert_eq!(standing.problems(&node, at(5))[0].severity, Severity::Warning);
    }

    #[test]
    fn trouble_and_a_near_end_are_told_worst_first() {
        let mut standing = standing(365);
        standing.trouble = Some("the key is not there".to_owned());
        let problems = standing.problems(&"a".into(), at(364));
        let codes: Vec<_> = problems.iter().map(|problem| problem.code.as_str()).collect();
        assert_eq!(codes, ["CertificateExpires", "CertificateUnusable"]);
    }
}
