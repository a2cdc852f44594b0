//! `backstay events`.

use super::encoded;
use crate::admin::Controllers;
use crate::arguments::Events;
use crate::failure::{FAILED, Failure};
use crate::output::{Format, Paint, Written, write_line};
use crate::{show, times};
use backstay_model::UnixMicros;
use std::fmt::Write as _;

pub(super) fn events(arguments: &Events) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.target)?;
    let (format, paint) = (arguments.output.output, Paint::of_stdout());
    controllers.block_on(async {
        let mut lines = controllers.lines(&path(arguments)).await?;
        let mut count = 0_usize;
        while let Some(line) = lines.next().await? {
            count += 1;
            let shown = match format {
                Format::Json => line,
                Format::Table => show::event_line(&understood(&line)?, paint),
            };
            if write_line(&shown)? == Written::NobodyReads {
                return Ok(());
            }
        }
        if arguments.follow {
            return Err(lines.lost("it stopped"));
        }
        if count == 0 && format == Format::Table {
            write_line("this controller remembers no such event")?;
        }
        Ok(())
    })
}

fn path(arguments: &Events) -> String {
    let since = match arguments.since {
        Some(back) => Some(UnixMicros(times::now().0.saturating_sub(back.as_micros() as u64))),
        // From now on, or everything.
        None => (!arguments.follow).then_some(UnixMicros(0)),
    };
    let mut path = format!("/v1/events?follow={0}&alive={0}", arguments.follow);
    // Writing to a string cannot fail.
    if let Some(since) = since {
        let _ = write!(path, "&since={}", since.0);
    }
    if let Some(service) = &arguments.service {
        let _ = write!(path, "&service={}", encoded(service));
    }
    path
}

/// A line of the stream as a value.
pub(super) fn understood(line: &str) -> Result<show::EventLine, Failure> {
    serde_json::from_str(line).map_err(|error| {
        Failure::whole(
            FAILED,
            format!(
                "the controller's answer is not understood ({error}). Use the `backstay` of the same version"
            ),
        )
    })
}
