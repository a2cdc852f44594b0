//! What can be asked and ordered, and how refusals read: `{"error": sentence}` with a status code that says who can do
//! something about it.

use super::caller::{allowed, on_record};
use super::events;
use crate::handle::Handle;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use backstay_controller::{Refusal, Wish};
use backstay_model::{
    ClusterStatus, Explanation, FailoverStatus, InstanceName, Method, NodeName, ServiceName,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// The longest body of a request.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a request may take until its answer begins: a wish through the quorum takes less.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest text that says who asks.
const BY_CHARS_MAX: usize = 128;

pub(super) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/history", get(history))
        .route("/v1/explain/{service}", get(explain))
        .route("/v1/events", get(events::events))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/decide", post(decide))
        .route("/v1/switchover", post(switchover))
        .route("/v1/failover", post(failover))
        .route("/v1/rebuild", post(rebuild))
        .route("/v1/rebuild/cancel", post(cancel_rebuild))
        .route("/v1/controllers/add", post(add_controller))
        .route("/v1/controllers/remove", post(remove_controller))
        .fallback(async || Problem::not_found("there is no such resource; see `backstay help`"))
        .method_not_allowed_fallback(async || {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "this resource has another method".into())
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(allowed))
        .layer(from_fn(in_time))
        .with_state(handle)
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) struct Problem(StatusCode, String);

impl Problem {
    fn not_found(sentence: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, sentence.into())
    }

    fn malformed(sentence: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, sentence.into())
    }

    pub(super) fn forbidden(sentence: impl Into<String>) -> Self {
        Self(StatusCode::FORBIDDEN, sentence.into())
    }

    fn stopping() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "this controller stops: ask another one".into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        (self.0, Json(Body { error: self.1 })).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader => Self(
                StatusCode::SERVICE_UNAVAILABLE,
                "no leader can be reached, so nothing was changed: look at `backstay status` and ask again once a \
                 majority of controllers is connected"
                    .into(),
            ),
            Refusal::Unknown => Self(
                StatusCode::GATEWAY_TIMEOUT,
                "the leader did not confirm it in time, so it may or may not have been done: look at `backstay \
                 status` and ask again if need be"
                    .into(),
            ),
            Refusal::NoSuch(sentence) => Self(StatusCode::NOT_FOUND, sentence),
            Refusal::Unfit(sentence) => Self(StatusCode::CONFLICT, sentence),
        }
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    timeout(PATIENCE, next.run(request)).await.unwrap_or_else(|_| {
        Problem(StatusCode::REQUEST_TIMEOUT, "the request was not complete in time".into()).into_response()
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Answered by the node that was asked, whoever leads.
    #[serde(default)]
    local: bool,
}

async fn status(
    State(handle): State<Handle>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<ClusterStatus>, Problem> {
    let status = if query(whose)?.local { handle.status().await } else { handle.leader_status().await };
    status.map(Json).ok_or_else(Problem::stopping)
}

async fn explain(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let service = ServiceName::from(service);
    let explanation = if query(whose)?.local {
        handle.explain(service).await
    } else {
        handle.leader_explain(service).await
    };
    let explanation = explanation.ok_or_else(Problem::stopping)?;
    explanation.map(Json).map_err(Problem::not_found)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfService {
    pub(super) service: Option<ServiceName>,
}

async fn history(
    State(handle): State<Handle>,
    of: Result<Query<OfService>, QueryRejection>,
) -> Result<Json<Vec<FailoverStatus>>, Problem> {
    let service = query(of)?.service;
    must_exist(&handle, service.as_ref()).await?;
    handle.history(service).await.map(Json).ok_or_else(Problem::stopping)
}

/// Says so if there is no such service, instead of showing nothing.
pub(super) async fn must_exist(handle: &Handle, service: Option<&ServiceName>) -> Result<(), Problem> {
    let Some(service) = service else {
        return Ok(());
    };
    let explanation = handle.explain(service.clone()).await.ok_or_else(Problem::stopping)?;
    explanation.map(drop).map_err(Problem::not_found)
}

#[derive(Debug, Serialize)]
struct Done {
    done: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    service: Option<ServiceName>,
    for_seconds: u64,
    by: String,
}

async fn pause(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Pause { service, for_seconds, by } = body(sent)?;
    let wish = Wish::Pause { service, duration: Duration::from_secs(for_seconds), by: who(&by)? };
    grant(&handle, wish).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    service: Option<ServiceName>,
    by: String,
}

async fn resume(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Resume { service, by } = body(sent)?;
    let by = who(&by)?;
    grant(&handle, Wish::Resume { service, by }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    service: ServiceName,
    instance: InstanceName,
    by: String,
}

async fn decide(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Decide { service, instance, by } = body(sent)?;
    let wish = Wish::Decide { service, instance, by: who(&by)? };
    grant(&handle, wish).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switchover {
    service: ServiceName,
    to: Option<InstanceName>,
    #[serde(default)]
    dry_run: bool,
    by: String,
}

/// Answers once it is committed; `history` tells how it ends.
async fn switchover(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Switchover { service, to, dry_run, by } = body(sent)?;
    let by = who(&by)?;
    grant(&handle, Wish::SwitchOver { service, to, dry_run, by }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failover {
    service: ServiceName,
    to: Option<InstanceName>,
    by: String,
}

/// As `switchover`.
async fn failover(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Failover { service, to, by } = body(sent)?;
    let by = who(&by)?;
    grant(&handle, Wish::FailOver { service, to, by }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rebuild {
    service: ServiceName,
    instance: InstanceName,
    method: Method,
    #[serde(default)]
    dry_run: bool,
    by: String,
}

/// Answers once it is committed; `status` tells how it goes on and ends.
async fn rebuild(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let Rebuild { service, instance, method, dry_run, by } = body(sent)?;
    let by = who(&by)?;
    grant(&handle, Wish::Rebuild { service, instance, method, dry_run, by }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelRebuild {
    service: ServiceName,
    instance: InstanceName,
    by: String,
}

async fn cancel_rebuild(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let CancelRebuild { service, instance, by } = body(sent)?;
    let by = who(&by)?;
    grant(&handle, Wish::CancelRebuild { service, instance, by }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddController {
    name: NodeName,
    by: String,
}

async fn add_controller(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let AddController { name, by } = body(sent)?;
    grant(&handle, Wish::AddController { name, by: who(&by)? }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveController {
    name: NodeName,
    #[serde(default)]
    force: bool,
    by: String,
}

async fn remove_controller(
    State(handle): State<Handle>,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Problem> {
    let RemoveController { name, force, by } = body(sent)?;
    grant(&handle, Wish::RemoveController { name, forced: force, by: who(&by)? }).await
}

async fn grant(handle: &Handle, wish: Wish) -> Result<Json<Done>, Problem> {
    let done = handle.wish(wish).await?;
    Ok(Json(Done { done }))
}

pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|rejection| Problem::malformed(rejection.body_text()))
}

fn body<T: DeserializeOwned>(sent: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let bytes = sent.map_err(|rejection| Problem(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::malformed(format!("the body is not what this resource takes: {error}")))
}

/// Who asks goes into the record and onto screens.
fn who(by: &str) -> Result<String, Problem> {
    let by = by.trim();
    if by.is_empty() || by.chars().count() > BY_CHARS_MAX || by.contains(char::is_control) {
        return Err(Problem::malformed(format!(
            "`by` says who asks: 1 to {BY_CHARS_MAX} printable characters"
        )));
    }
    Ok(on_record(by.to_owned()))
}
