//! Lines that are too wide for a terminal, folded between words. Colours go on behind a fold and never leak.

/// The sequence that ends all colours.
const RESET: &str = "\u{1b}[0m";
/// Behind a fold.
const INDENT: usize = 4;

/// Columns that a text takes, without its colours.
pub(crate) fn width(text: &str) -> usize {
    pieces(text).filter(|piece| !piece.is_colour()).map(|piece| piece.text.chars().count()).sum()
}

/// The line in parts that are at most `columns` wide.
pub(crate) fn fold(line: &str, columns: usize) -> Vec<String> {
    // Narrower than this nothing can be read anyway.
    let columns = columns.max(2 * INDENT);
    let mut fold = Fold { columns, lines: Vec::new(), line: String::new(), taken: 0, colours: String::new() };
    for piece in pieces(line) {
        if piece.is_colour() {
            fold.colour(piece.text);
        } else {
            piece.text.split_inclusive(' ').for_each(|word| fold.word(word));
        }
    }
    fold.end();
    fold.lines
}

/// A sequence of colours, or what stands between two.
struct Piece<'a> {
    text: &'a str,
}

impl Piece<'_> {
    fn is_colour(&self) -> bool {
        self.text.starts_with('\u{1b}')
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = match rest.strip_prefix('\u{1b}') {
            Some(sequence) => sequence.find('m').map_or(rest.len(), |end| end + 2),
            None => rest.find('\u{1b}').unwrap_or(rest.len()),
        };
        let (text, behind) = rest.split_at(end);
        rest = behind;
        (!text.is_empty()).then_some(Piece { text })
    })
}

struct Fold {
    columns: usize,
    lines: Vec<String>,
    line: String,
    taken: usize,
    /// The colours in force.
    colours: String,
}

impl Fold {
    fn colour(&mut self, sequence: &str) {
        self.line.push_str(sequence);
        if matches!(sequence, RESET | "\u{1b}[m" | "\u{1b}[39m" | "\u{1b}[22m") {
            self.colours.clear();
        } else {
            self.colours.push_str(sequence);
        }
    }

    fn word(&mut self, word: &str) {
        let wide = word.trim_end().chars().count();
        if self.taken + wide > self.columns && self.taken > INDENT {
            self.next_line();
        }
        for letter in word.chars() {
            if self.taken == self.columns {
                if letter == ' ' {
                    continue;
                }
                self.next_line();
            }
            // Nothing that is shown may move the cursor.
            self.line.push(if letter.is_control() { '?' } else { letter });
            self.taken += 1;
        }
    }

    fn next_line(&mut self) {
        let colours = self.colours.clone();
        self.end();
        self.line = format!("{}{colours}", " ".repeat(INDENT));
        self.colours = colours;
        self.taken = INDENT;
    }

    fn end(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if self.colours.is_empty() {
            line.truncate(line.trim_end().len());
        } else {
            line.push_str(RESET);
        }
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_folded_between_words_and_a_word_that_is_too_long_within() {
        assert_eq!(fold("as short as it is", 20), ["as short as it is"]);
        assert_eq!(fold("one two three four five", 13), ["one two three", "    four five"]);
        assert_eq!(fold("0123456789abcdef", 8), ["01234567", "    89ab", "    cdef"]);
        assert_eq!(fold("", 8), [""]);
        for columns in 0..40 {
            let lines =
                fold("  warning ReplicaDown: r3 does not answer; start it or mend its network", columns);
            assert!(lines.iter().all(|line| width(line) <= columns.max(8)), "{columns}: {lines:?}");
        }
    }

    #[test]
    fn colours_go_on_behind_a_fold_and_do_not_count() {
        let red = "\u{1b}[31mone two three\u{1b}[0m four";
        assert_eq!(width(red), 18);
        assert_eq!(fold(red, 9), ["\u{1b}[31mone two \u{1b}[0m", "    \u{1b}[31mthree\u{1b}[0m", "    four"]);
    }

    #[test]
    fn what_moves_the_cursor_is_not_shown() {
        assert_eq!(fold("a\tb\rc", 20), ["a?b?c"]);
    }
}
