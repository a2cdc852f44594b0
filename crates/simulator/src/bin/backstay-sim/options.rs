//! The command line.

use backstay_model::Durability;
use backstay_simulator::Scenario;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: backstay-sim [--seeds N] [--from S] [--jobs J] [--json]     run N seeds (default 1000) on J cores (default all)
       backstay-sim --minutes M [--from S] [--jobs J] [--json]     run seeds until M minutes are over
       backstay-sim --seed S [--trace]                             run one seed, with its whole trace
       --mariadb async|majority                                    every world is a MariaDB's, not about every third";

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
    /// Every world is a MariaDB's.
    pub(crate) mariadb: Option<Durability>,
    /// Print all that happens in it.
    pub(crate) trace: bool,
    /// Report for machines.
    pub(crate) json: bool,
}

impl Options {
    /// Reads the arguments; an error is a sentence.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            seeds: 1000,
            from: 1,
            time: None,
            jobs,
            one: None,
            mariadb: None,
            trace: false,
            json: false,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            if arg == "--mariadb" {
                let word = args.next().unwrap_or_default();
                let known = [Durability::Async, Durability::Majority];
                let found = known.into_iter().find(|one| one.word() == word);
                options.mariadb =
                    Some(found.ok_or_else(|| format!("--mariadb needs async or majority, not '{word}'"))?);
                continue;
            }
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

impl Options {
    /// The world of a seed.
    pub(crate) fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = Scenario::of(seed);
        if let Some(durability) = self.mariadb {
            scenario.become_mariadb(durability);
        }
        scenario
    }

    /// How to see this seed again.
    pub(crate) fn replay(&self, seed: u64) -> String {
        let mariadb = self.mariadb.map_or_else(String::new, |it| format!(" --mariadb {}", it.word()));
        format!("./dev sim --seed {seed} --trace{mariadb}")
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
        let options = parse("--seed 5 --mariadb majority").unwrap();
        assert_eq!(options.scenario(5).mariadb, Some(Durability::Majority));
        assert_eq!(options.replay(5), "./dev sim --seed 5 --trace --mariadb majority");
    }

    #[test]
    fn what_is_no_number_or_no_flag_is_named() {
        assert_eq!(parse("--seeds many").unwrap_err(), "--seeds needs a number, not 'many'");
        assert_eq!(parse("--jobs").unwrap_err(), "--jobs needs a number");
        assert_eq!(parse("--mariadb x").unwrap_err(), "--mariadb needs async or majority, not 'x'");
        assert_eq!(parse("--sneeds 3").unwrap_err(), "unknown flag '--sneeds'");
    }
}
