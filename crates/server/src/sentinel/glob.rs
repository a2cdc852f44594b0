//! Patterns as `PSUBSCRIBE` takes them (util.c, `stringmatchlen`): `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a byte
//! that stands for itself. The time is bounded by the product of both lengths, whatever the pattern.

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Behind the last star, and where the text went on that it did not take.
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            star = Some((at_pattern, at_text));
        } else if let Some(length) = one(&pattern[at_pattern..], text[at_text]) {
            at_pattern += length;
            at_text += 1;
        } else if let Some((behind, taken)) = star {
            star = Some((behind, taken + 1));
            (at_pattern, at_text) = (behind, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern's head match this byte of the text, if they do.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => class_of(class, byte).map(|length| length + 1),
        [first, ..] => (*first == byte).then_some(1),
    }
}

/// How many bytes the class takes, closing bracket included, if `byte` is in it. One that is not closed ends with the
/// pattern.
fn class_of(class: &[u8], byte: u8) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        let (length, member) = match class.get(at..).unwrap_or_default() {
            [] => return (found != negated).then_some(at),
            [b']', ..] => return (found != negated).then_some(at + 1),
            [b'\\', escaped, ..] => (2, *escaped == byte),
            [from, b'-', to, ..] => (3, (*from.min(to)..=*from.max(to)).contains(&byte)),
            [member, ..] => (1, *member == byte),
        };
        at += length;
        found |= member;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "+sdown"),
            ("+*", "+switch-master"),
            ("*down", "-odown"),
            ("?sdown", "+sdown"),
            ("[-+]sdown", "-sdown"),
            ("[^-]sdown", "+sdown"),
            ("[z-a]", "m"),
            ("\\*", "*"),
            ("a*b*c", "a-b-b-c"),
            ("[ab", "b"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "+sdown"),
            ("+sdown", "+sdow"),
            ("+sdow", "+sdown"),
            ("?", ""),
            ("[^+]sdown", "+sdown"),
            ("\\*", "x"),
            ("[", "x"),
            ("a*b", "a-c"),
            // Redis takes this for a range up to the bracket.
            ("[+-]sdown", "-sdown"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_stars_costs_no_more_than_its_length() {
        let pattern = b"*a".repeat(20_000);
        assert!(!matches(&pattern, &b"a".repeat(2_000)));
    }
}
