//! The command line.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: backstay-sim [--seeds N] [--from S] [--jobs J] [--json]     run N seeds (default 1000) on J cores (default all)
       backstay-sim --minutes M [--from S] [--jobs J] [--json]     run seeds until M minutes are over
       backstay-sim --seed S [--trace]                             run one seed, with its whole trace";

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many seeds, unless `time` bounds them.
    pub(crate) seeds: u64,
    /// The first one.
    pub(crate) from: u64,
    /// Begin no further world after this long.
    pub(crate) time: Option<Duration>,
    /// How many worlds run at once.
    pub(crate) jobs: usize,
    /// Only this seed.
    pub(crate) one: Option<u64>,
    /// Print all that happens in it.
    pub(crate) trace: bool,
    /// Report for machines.
    pub(crate) json: bool,
}

impl Options {
    /// Reads the arguments; an error is a sentence.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options =
            Self { seeds: 1000, from: 1, time: None, jobs, one: None, trace: false, json: false };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut number = || {
                let text = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
                text.parse::<u64>().map_err(|_| format!("{arg} needs a number, not '{text}'"))
            };
            match arg.as_str() {
                "--seeds" => options.seeds = number()?,
                "--from" => options.from = number()?,
                "--minutes" => options.time = Some(Duration::from_secs(number()?.saturating_mul(60))),
                "--jobs" => options.jobs = number()?.clamp(1, 1024) as usize,
                "--seed" => options.one = Some(number()?),
                "--trace" => options.trace = true,
                "--json" => options.json = true,
                other => return Err(format!("unknown flag '{other}'")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn numbers_and_flags_are_read() {
        let options = parse("--minutes 2 --from 7 --jobs 3 --json").unwrap();
        assert_eq!((options.time, options.from, options.jobs), (Some(Duration::from_secs(120)), 7, 3));
        assert!(options.json && !options.trace);
    }

    #[test]
    fn what_is_no_number_or_no_flag_is_named() {
        assert_eq!(parse("--seeds many").unwrap_err(), "--seeds needs a number, not 'many'");
        assert_eq!(parse("--jobs").unwrap_err(), "--jobs needs a number");
        assert_eq!(parse("--sneeds 3").unwrap_err(), "unknown flag '--sneeds'");
    }
}
