//! The stream of events: one JSON object per line, from now on, as this node sees them.

use super::routes::{OfService, Problem, must_exist, query};
use crate::clock;
use crate::handle::Handle;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use backstay_model::{Event, EventKind, ServiceName, Severity, UnixMicros};
use serde::Serialize;
use std::convert::Infallible;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    at: UnixMicros,
    service: Option<&'a ServiceName>,
    #[serde(flatten)]
    kind: &'a EventKind,
    severity: Severity,
    sentence: String,
}

/// The line that stands for those that a slow reader lost.
#[derive(Serialize)]
struct Gap {
    at: UnixMicros,
    service: Option<ServiceName>,
    kind: &'static str,
    count: u64,
    severity: Severity,
    sentence: String,
}

pub(super) async fn events(
    State(handle): State<Handle>,
    of: Result<Query<OfService>, QueryRejection>,
) -> Result<Response, Problem> {
    let wanted = query(of)?.service;
    must_exist(&handle, wanted.as_ref()).await?;
    let lines = BroadcastStream::new(handle.events()).filter_map(move |received| match received {
        Ok(event) => {
            let about = wanted.is_none() || event.service.is_none() || event.service == wanted;
            about.then(|| line(&event)).map(Ok::<Bytes, Infallible>)
        }
        Err(BroadcastStreamRecvError::Lagged(count)) => Some(Ok(gap(count))),
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn line(event: &Event) -> Bytes {
    encode(&Line {
        at: event.at,
        service: event.service.as_ref(),
        kind: &event.kind,
        severity: event.kind.severity(),
        sentence: event.kind.to_string(),
    })
}

fn gap(count: u64) -> Bytes {
    encode(&Gap {
        at: clock::now().unix,
        service: None,
        kind: "skipped",
        count,
        severity: Severity::Warning,
        sentence: format!("{count} events were skipped, because they were not read fast enough"),
    })
}

fn encode(line: &impl Serialize) -> Bytes {
    // Into memory, of plain values: cannot fail.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
