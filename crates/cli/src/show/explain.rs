//! Why there is or is not a failover, and what one would do.

use super::status::problems;
use super::table::{self, Tone, amount, or_dash};
use crate::output::Paint;
use backstay_model::Explanation;

/// `backstay explain`.
pub(crate) fn explanation(explanation: &Explanation, paint: Paint) -> String {
    let service = table::service(&explanation.service, explanation.engine, paint);
    let unit = explanation.unit;
    let mut text = format!("{service}: {} (as {} sees it)\n", explanation.verdict, explanation.node);
    text.push_str(&winner(explanation));
    text.push('\n');
    if !explanation.opinions.is_empty() {
        let rows = explanation.opinions.iter().map(|(node, opinion)| {
            let tone = if opinion == "up" { Tone::Good } else { Tone::Doubtful };
            vec![Tone::Plain.cell(node), tone.cell(opinion)]
        });
        text.push('\n');
        text.push_str(&paint.table(&["controller", "sees the primary"], rows));
    }
    if !explanation.candidates.is_empty() {
        let rows = explanation.candidates.iter().map(|candidate| {
            let (tone, word) = if candidate.eligible { (Tone::Good, "yes") } else { (Tone::Bad, "no") };
            vec![
                Tone::Plain.cell(&candidate.instance),
                tone.cell(word),
                Tone::Plain.cell(or_dash(candidate.lag_bytes.map(|lag| amount(lag, unit)))),
                Tone::Plain.cell(&candidate.reason),
            ]
        });
        text.push('\n');
        text.push_str(&paint.table(&["candidate", "eligible", "behind", "because it"], rows));
    }
    if !explanation.problems.is_empty() {
        text.push('\n');
        text.push_str(&problems(&explanation.problems, paint));
    }
    text
}

fn winner(explanation: &Explanation) -> String {
    match (&explanation.winner, explanation.would_lose_bytes) {
        (None, _) => "if the primary failed now, nobody could be promoted".to_owned(),
        (Some(winner), Some(0)) => {
            format!(
                "if the primary failed now, {winner} would win and nothing would be lost, as far as was seen"
            )
        }
        (Some(winner), Some(lost)) => {
            let lost = amount(lost, explanation.unit);
            format!("if the primary failed now, {winner} would win and about {lost} would be lost")
        }
        (Some(winner), None) => format!("if the primary failed now, {winner} would win"),
    }
}
