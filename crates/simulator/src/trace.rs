//! What happened, one aligned line each. Always digested, so that two runs of a seed can be compared; the lines
//! themselves are kept whole on demand, otherwise only the last ones.

use backstay_model::Time;
use std::collections::VecDeque;

const KEPT_LINES: usize = 60;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Trace {
    whole: bool,
    lines: VecDeque<String>,
    digest: u64,
}

impl Trace {
    pub(crate) const fn new(whole: bool) -> Self {
        Self { whole, lines: VecDeque::new(), digest: 0xcbf2_9ce4_8422_2325 }
    }

    pub(crate) fn line(&mut self, now: Time, what: &str, detail: impl FnOnce() -> String) {
        let micros = now.as_micros();
        let line = format!("{:>4}.{:06} {what:<9} {}", micros / 1_000_000, micros % 1_000_000, detail());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if !self.whole && self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
