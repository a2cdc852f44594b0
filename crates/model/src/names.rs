//! What to say of a name that nothing has.

use std::fmt::Write as _;

/// No more names than a person reads.
const NAMES_MAX: usize = 12;

/// The known word that is nearest to `word`, if one is near enough to be worth proposing.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time and memory with the square of the length; nothing that is known is longer.
    if word.len() > 64 {
        return None;
    }
    let distance_max = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= distance_max && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What follows "there is no such thing": the name that was probably meant, and those that there are, as far as a person
/// reads them.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let mut text = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant}? "),
        None => String::new(),
    };
    let shown = known.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    text.push_str(if known.is_empty() { "there is none at all" } else { "known: " });
    text.push_str(&shown);
    if known.len() > NAMES_MAX {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", known.len() - NAMES_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_what_was_meant_and_no_more_than_a_person_reads() {
        assert_eq!(hint("mymastr", ["cache", "mymaster"]), "did you mean mymaster? known: cache, mymaster");
        assert_eq!(hint("nobody", ["cache"]), "known: cache");
        assert_eq!(hint("nobody", []), "there is none at all");
        let many: Vec<_> = (0..1000).map(|number| format!("s{number:03}")).collect();
        let text = hint("s9999", many.iter().map(String::as_str));
        assert!(text.starts_with("did you mean s999? known: s000, s001, "), "{text}");
        assert!(text.ends_with("s011 and 988 more"), "{text}");
    }
}
