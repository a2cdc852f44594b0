//! The events as this node sees them, one JSON object per line: those that are remembered, those from now on, or both.

use super::routes::{Problem, must_exist, query};
use crate::clock;
use crate::handle::Handle;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use backstay_model::{Event, EventKind, NodeName, ServiceName, Severity, UnixMicros};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::interval;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};
use tokio_stream::{Stream, StreamExt, iter};

/// How often a stream that was asked for it says that this node lives.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(2);

/// Which events. Left out: those of all services that happen from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only of this service, and of no service.
    service: Option<ServiceName>,
    /// Those that are remembered since then, too.
    since: Option<UnixMicros>,
    /// Whether to go on with what happens next.
    #[serde(default = "yes")]
    follow: bool,
    /// An empty line every two seconds, so that a reader can tell silence from loss.
    #[serde(default)]
    alive: bool,
}

const fn yes() -> bool {
    true
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    at: UnixMicros,
    seen_by: &'a NodeName,
    service: Option<&'a ServiceName>,
    #[serde(flatten)]
    kind: &'a EventKind,
    severity: Severity,
    sentence: String,
}

/// The line that stands for those that a slow reader lost.
#[derive(Serialize)]
struct Gap<'a> {
    at: UnixMicros,
    seen_by: &'a NodeName,
    service: Option<ServiceName>,
    kind: &'static str,
    count: u64,
    severity: Severity,
    sentence: String,
}

pub(super) async fn events(
    State(handle): State<Handle>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Which { service, since, follow, alive } = query(which)?;
    must_exist(&handle, service.as_ref()).await?;
    let (past, future) = handle.events_since(since.unwrap_or(UnixMicros(u64::MAX)));
    let is_about =
        move |event: &Event| service.is_none() || event.service.is_none() || event.service == service;
    let node = handle.node().clone();
    let remembered: Vec<_> =
        past.iter().filter(|event| is_about(event)).map(|event| Ok(line(&node, event))).collect();
    let remembered = iter(remembered);
    if !follow {
        return Ok(answer(remembered));
    }
    let coming = BroadcastStream::new(future).filter_map(move |received| match received {
        Ok(event) => is_about(&event).then(|| Ok(line(&node, &event))),
        Err(BroadcastStreamRecvError::Lagged(count)) => Some(Ok(gap(&node, count))),
    });
    let lines = remembered.chain(coming);
    if !alive {
        return Ok(answer(lines));
    }
    let signs = IntervalStream::new(interval(SIGN_OF_LIFE_EVERY)).map(|_| Ok(Bytes::from_static(b"\n")));
    Ok(answer(lines.merge(signs)))
}

fn answer(lines: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn line(node: &NodeName, event: &Event) -> Bytes {
    encode(&Line {
        at: event.at,
        seen_by: node,
        service: event.service.as_ref(),
        kind: &event.kind,
        severity: event.kind.severity(),
        sentence: event.kind.to_string(),
    })
}

fn gap(node: &NodeName, count: u64) -> Bytes {
    encode(&Gap {
        at: clock::now().unix,
        seen_by: node,
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
