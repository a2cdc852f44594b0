//! A password that was written into the file by mistake is not shown with the mistake: what is shown ends up in logs.
//! It looks at lines, not at TOML, so that it also works on a file that is not TOML.

/// The text with everything behind `password =` and the like starred out; every byte keeps its place.
pub(crate) fn conceal(text: &str) -> String {
    text.split_inclusive('\n').map(conceal_line).collect()
}

fn conceal_line(line: &str) -> String {
    let secret = line.match_indices('=').find(|(at, _)| is_secret(&line[..*at]));
    let Some((at, _)) = secret else {
        return line.to_owned();
    };
    let (shown, hidden) = line.split_at(at + 1);
    let star = |c: char| {
        if c.is_whitespace() { c.to_string() } else { "*".repeat(c.len_utf8()) }
    };
    shown.chars().map(String::from).chain(hidden.chars().map(star)).collect()
}

fn is_secret(before: &str) -> bool {
    let key = before.trim_end().trim_end_matches(['"', '\'']).to_ascii_lowercase();
    key.ends_with("password") || key.ends_with("pass")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_a_password_is_starred_out_in_place() {
        assert_eq!(
            conceal("a = 1\npassword = \"gehéim\"\n{ auth-pass=x }\npassword_file = \"/p\""),
            "a = 1\npassword = *********\n{ auth-pass=* *\npassword_file = \"/p\""
        );
    }
}
