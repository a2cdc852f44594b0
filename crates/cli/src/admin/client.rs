//! HTTP over a Unix socket or TLS: one request, one answer, in bounded time and size.

use super::lines::Lines;
use super::target::{Candidate, Target};
use crate::failure::{FAILED, Failure, UNREACHABLE};
use backstay_server::tls;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A controller answers a question at once, or within a second if it asks the leader. One that hangs is passed over.
const QUESTION_PATIENCE: Duration = Duration::from_secs(3);
/// An order waits for the quorum.
const ORDER_PATIENCE: Duration = Duration::from_secs(12);
/// More than any answer has.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The controllers that may be asked.
pub(crate) struct Controllers {
    candidates: Vec<Candidate>,
    runtime: tokio::runtime::Runtime,
}

/// Why one controller gave no answer.
pub(super) enum Miss {
    /// It cannot be reached.
    Unreachable(String),
    /// It can, but not do it; another one may.
    Unable(String),
    /// The answer is no.
    Refused(String),
}

impl Controllers {
    pub(crate) fn of(target: &Target) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::whole(FAILED, format!("this process cannot wait: {error}")))?;
        let candidates = target.candidates()?;
        Ok(Self { candidates, runtime })
    }

    /// As `of`, without the controller called `name` if there are others.
    pub(crate) fn but(target: &Target, name: &str) -> Result<Self, Failure> {
        let mut controllers = Self::of(target)?;
        if controllers.candidates.iter().any(|candidate| candidate.name != name) {
            controllers.candidates.retain(|candidate| candidate.name != name);
        }
        Ok(controllers)
    }

    /// What the first controller that answers says.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(&Method::GET, path, &Bytes::new(), |_| true)
    }

    /// What the first controller whose answer `is_good` says; if there is none, what the first one said.
    pub(crate) fn get_best<T: DeserializeOwned>(
        &self,
        path: &str,
        is_good: fn(&T) -> bool,
    ) -> Result<T, Failure> {
        self.ask(&Method::GET, path, &Bytes::new(), is_good)
    }

    /// Orders something. Only a controller that did nothing is followed by the next.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body);
        let body =
            body.map_err(|error| Failure::whole(FAILED, format!("the request cannot be written: {error}")))?;
        self.ask(&Method::POST, path, &body.into(), |_| true)
    }

    /// Runs what waits for controllers.
    pub(crate) fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// As `get_best`, among other things to wait for.
    pub(crate) async fn look<T: DeserializeOwned>(
        &self,
        path: &str,
        is_good: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let attempt =
            async |candidate: &Candidate| converse(candidate, request(Method::GET, path, Bytes::new())).await;
        self.first(attempt, is_good).await
    }

    /// Lines from the first controller that sends some.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        self.first(async |candidate| Lines::open(candidate, path).await, |_| true).await
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        is_good: fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let attempt = async |candidate: &Candidate| {
            converse(candidate, request(method.clone(), path, body.clone())).await
        };
        self.runtime.block_on(self.first(attempt, is_good))
    }

    /// What the first controller whose answer `is_good` says; if there is none, what the first one said.
    async fn first<T>(
        &self,
        attempt: impl AsyncFn(&Candidate) -> Result<T, Miss>,
        is_good: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let (mut misses, mut unable, mut second_best) = (String::new(), None, None);
        for candidate in &self.candidates {
            match attempt(candidate).await {
                Ok(answer) if is_good(&answer) => return Ok(answer),
                Ok(answer) => {
                    second_best.get_or_insert(answer);
                }
                Err(Miss::Refused(sentence)) => return Err(Failure::whole(FAILED, sentence)),
                Err(Miss::Unable(sentence)) => unable = Some(sentence),
                Err(Miss::Unreachable(why)) => {
                    let separator = if misses.is_empty() { "" } else { "; " };
                    // Writing to a string cannot fail.
                    let _ = write!(misses, "{separator}{} ({}): {why}", candidate.name, candidate.place());
                }
            }
        }
        match (second_best, unable) {
            (Some(answer), _) => Ok(answer),
            (None, Some(sentence)) => Err(Failure::whole(FAILED, sentence)),
            (None, None) => Err(Failure::new(
                UNREACHABLE,
                "no controller answers",
                misses,
                "start one with `backstay run`, or name another with --socket or --config; the admin socket belongs to \
                 the user who runs the controller",
            )),
        }
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    // Paths are built here, from encoded parts.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(HOST, hyper::header::HeaderValue::from_static("backstay"));
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    request
}

async fn converse<T: DeserializeOwned>(
    candidate: &Candidate,
    request: Request<Full<Bytes>>,
) -> Result<T, Miss> {
    let is_order = request.method() == Method::POST;
    let patience = if is_order { ORDER_PATIENCE } else { QUESTION_PATIENCE };
    match timeout(patience, exchange(candidate, request)).await {
        Ok(Ok((status, body))) => understand(status, &body),
        Ok(Err(Lost::BeforeSent(error))) => Err(Miss::Unreachable(reason(&error, &candidate.socket))),
        Ok(Err(Lost::NoController)) => Err(Miss::Unreachable(NO_CONTROLLER.to_owned())),
        Ok(Err(Lost::AfterSent(why))) if is_order => Err(Miss::Refused(format!(
            "the controller was lost before it answered ({why}), so it may or may not have been done. Look at `backstay \
             status` and ask again if need be"
        ))),
        Ok(Err(Lost::AfterSent(why))) => Err(Miss::Unreachable(why)),
        Err(_) if is_order => Err(Miss::Refused(
            "no answer came in time, so it may or may not have been done. Look at `backstay status` and ask again if \
             need be"
                .to_owned(),
        )),
        Err(_) => Err(Miss::Unreachable(format!("no answer within {} s", patience.as_secs()))),
    }
}

/// Where a connection broke.
enum Lost {
    BeforeSent(io::Error),
    AfterSent(String),
    /// What answered speaks something else.
    NoController,
}

const NO_CONTROLLER: &str = "what answers there is not a controller";

fn lost(error: &hyper::Error) -> Lost {
    if error.is_parse() {
        return Lost::NoController;
    }
    // With TLS 1.3 this side may speak before it hears that its certificate is refused; nobody listened then.
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io.and_then(tls::refusal) {
        Some(why) => Lost::BeforeSent(io::Error::other(why)),
        None => Lost::AfterSent(error.to_string()),
    }
}

async fn exchange(candidate: &Candidate, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Lost> {
    let response = send(candidate, request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Lost::AfterSent(error.to_string()))?;
    Ok((status, body.to_bytes()))
}

async fn send(candidate: &Candidate, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Lost> {
    match &candidate.remote {
        None => {
            let stream = UnixStream::connect(&candidate.socket).await.map_err(Lost::BeforeSent)?;
            send_on(stream, request).await
        }
        Some(remote) => send_on(remote.connect().await.map_err(Lost::BeforeSent)?, request).await,
    }
}

async fn send_on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Lost> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
    // Its errors come out of the request and the answer as well; it ends with them.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| lost(&error))
}

/// Asks for a stream; returns once its head has come.
pub(super) async fn open(candidate: &Candidate, path: &str) -> Result<Incoming, Miss> {
    match timeout(QUESTION_PATIENCE, send(candidate, request(Method::GET, path, Bytes::new()))).await {
        Ok(Ok(response)) if response.status().is_success() => Ok(response.into_body()),
        Ok(Ok(response)) => {
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
            let body = timeout(QUESTION_PATIENCE, body).await;
            let body = body.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
            Err(refusal(status, &body))
        }
        Ok(Err(Lost::BeforeSent(error))) => Err(Miss::Unreachable(reason(&error, &candidate.socket))),
        Ok(Err(Lost::AfterSent(why))) => Err(Miss::Unreachable(why)),
        Ok(Err(Lost::NoController)) => Err(Miss::Unreachable(NO_CONTROLLER.to_owned())),
        Err(_) => Err(Miss::Unreachable(format!("no answer within {} s", QUESTION_PATIENCE.as_secs()))),
    }
}

/// How a controller says no.
#[derive(Deserialize)]
struct Problem {
    error: String,
}

fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Miss> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| {
            Miss::Refused(format!(
                "the controller's answer is not understood ({error}). Use the `backstay` of the same version"
            ))
        });
    }
    Err(refusal(status, body))
}

fn refusal(status: StatusCode, body: &[u8]) -> Miss {
    let sentence = serde_json::from_slice::<Problem>(body)
        .map_or_else(|_| format!("the controller answers {status}"), |problem| problem.error);
    if status == StatusCode::SERVICE_UNAVAILABLE { Miss::Unable(sentence) } else { Miss::Refused(sentence) }
}

fn reason(error: &io::Error, socket: &Path) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused if socket.is_file() => "it is a file and not a socket".to_owned(),
        io::ErrorKind::NotFound => "it has no such socket, so it is not running".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens, so it is not running".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not open it".to_owned(),
        _ => error.to_string(),
    }
}
