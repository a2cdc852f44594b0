//! The seeds, and a few thousand changes of them: what a fuzzer would find first, found by every run of the tests.

use super::TARGETS;
use std::fs;
use std::path::PathBuf;

/// How many changed seeds each target is fed.
const CHANGES: u64 = 400;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// `xorshift64*`: the same changes on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    /// A few bytes changed, cut out, doubled or taken from another seed.
    fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            let end = (at + self.roll(16)).min(bytes.len());
            match self.roll(6) {
                0 if !bytes.is_empty() => bytes[at] = self.roll(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
                4 => bytes.truncate(at),
                _ => {
                    let other = &seeds[self.roll(seeds.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.roll(other.len())..]);
                }
            }
        }
        bytes
    }
}

#[test]
fn every_decoder_keeps_its_promises_with_the_seeds_and_changes_of_them() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            target(seed);
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for number in 0..CHANGES {
            let bytes = dice.change(&seeds);
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(
                outcome.is_ok(),
                "change {number} of the seeds of {name}: {:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }
}

/// After a change of what controllers write and say: `cargo test -p backstay-server --lib seeds -- --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn the_seeds_of_what_only_programs_write_are_made_anew() {
    for (target, seeds) in [
        ("hello", crate::peers::fuzz::hello_seeds()),
        ("peers", crate::peers::fuzz::letter_seeds()),
        ("gateways", crate::peers::fuzz::gateway_seeds()),
        ("state", crate::storage::fuzz::seeds()),
    ] {
        let folder = folder(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
