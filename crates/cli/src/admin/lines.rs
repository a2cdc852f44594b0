//! A stream of JSON lines from one controller, for as long as it lives.

use super::client::{Miss, open};
use super::target::Candidate;
use crate::failure::{Failure, UNREACHABLE};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// A controller says every two seconds that it lives.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any line has.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The stream. Empty lines are signs of life and do not come out of it.
pub(crate) struct Lines {
    /// Who sends it.
    name: String,
    body: Incoming,
    complete: VecDeque<String>,
    begun: Vec<u8>,
}

impl Lines {
    pub(super) async fn open(candidate: &Candidate, path: &str) -> Result<Self, Miss> {
        let body = open(candidate, path).await?;
        Ok(Self { name: candidate.name.clone(), body, complete: VecDeque::new(), begun: Vec::new() })
    }

    /// The next line, or nothing once the controller ended the stream in good order. Safe to drop while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(line) = self.complete.pop_front() {
                return Ok(Some(line));
            }
            match timeout(PATIENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => self.take(&frame.into_data().unwrap_or_default())?,
                Ok(Some(Err(error))) => return Err(self.lost(&error.to_string())),
                Ok(None) => return Ok(None),
                Err(_) => {
                    let why = format!("it gave no sign of life for {} s", PATIENCE.as_secs());
                    return Err(self.lost(&why));
                }
            }
        }
    }

    fn take(&mut self, data: &Bytes) -> Result<(), Failure> {
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.begun).trim().to_owned();
                self.begun.clear();
                if !line.is_empty() {
                    self.complete.push_back(line);
                }
            }
        }
        if self.begun.len() > LINE_BYTES_MAX {
            return Err(self.lost("it sends a line without an end"));
        }
        Ok(())
    }

    /// What to say when the stream is over although it should go on.
    pub(crate) fn lost(&self, why: &str) -> Failure {
        Failure::new(
            UNREACHABLE,
            format!("{} was lost, so nothing more is heard from it", self.name),
            why,
            "run the command again: it asks whoever answers, and --since shows what was missed",
        )
    }
}
