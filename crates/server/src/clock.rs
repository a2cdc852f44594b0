//! The only place of this crate that reads clocks. `CLOCK_BOOTTIME` measures, because a lease must also end while the
//! machine is suspended; the wall clock is only written down.

use backstay_model::{Now, Time, UnixMicros};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::time::Instant;

/// The longest sleep at a time: the runtime's timer stands still while the machine is suspended.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// This moment, on both clocks.
pub(crate) fn now() -> Now {
    Now { time: time(), unix: UnixMicros(micros(ClockId::CLOCK_REALTIME)) }
}

/// This moment, to measure with.
pub(crate) fn time() -> Time {
    Time::from_micros(micros(ClockId::CLOCK_BOOTTIME))
}

/// When to stop sleeping for something due at `at`. May be early, never more than the timer's millisecond late.
pub(crate) fn wakeup(at: Time) -> Instant {
    Instant::now() + at.since(time()).min(SLEEP_MAX)
}

fn micros(clock: ClockId) -> u64 {
    // Fails only for a clock that the kernel does not have; both are older than any kernel that runs Rust's std.
    clock_gettime(clock).map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1000
    })
}
