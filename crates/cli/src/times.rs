//! Time as operators write and read it: `90s`, `10m`, `2h`, `1d`, and the clock on their wall.

use backstay_model::UnixMicros;
use std::time::{Duration, SystemTime};

/// The wall clock of this machine.
pub(crate) fn now() -> UnixMicros {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

/// Reads one; whole seconds, because that is what a pause counts in.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || Err(format!("'{text}' is not a duration: write 90s, 10m, 2h or 1d"));
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return refuse(),
    };
    match digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_s)) {
        Some(0) => Err("the duration is zero: write at least 1s".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => refuse(),
    }
}

/// Reads one of milliseconds or longer: `500ms` or what `parse` takes.
pub(crate) fn parse_short(text: &str) -> Result<Duration, String> {
    match text.strip_suffix("ms").map(str::parse) {
        Some(Ok(millis)) => Ok(Duration::from_millis(millis)),
        Some(Err(_)) => Err(format!("'{text}' is not a duration: write 500ms, 2s or 1m")),
        None => parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_short("500ms"), Ok(Duration::from_millis(500)));
        for text in
            ["", "10", "m", "0s", "-1s", "1.5h", "10 m", "99999999999999999999h", "999999999999999999d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
