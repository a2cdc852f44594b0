//! Waiting for a condition with a deadline: the one place in this crate that sleeps between two looks.

use crate::error::{LabError, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause between two looks at a condition that is cheap to look at.
pub const TICK: Duration = Duration::from_millis(2);

/// Looks every `TICK` until `look` returns something or `limit` has passed. Always looks at least once, and once more
/// at the end.
pub fn poll_until<T>(limit: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
    poll_every(TICK, limit, look)
}

/// As `poll_until`, with `pause` between two looks.
pub fn poll_every<T>(pause: Duration, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let late = Instant::now() >= deadline;
        if let Some(found) = look() {
            return Some(found);
        }
        if late {
            return None;
        }
        sleep(pause);
    }
}

/// As `poll_until`; names what did not happen.
pub fn wait_until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> Result<T> {
    poll_until(limit, look).ok_or_else(|| LabError::Deadline {
        what: what.to_owned(),
        waited: limit,
        hint: "Look at the servers' logs in the lab's folder.".to_owned(),
    })
}
