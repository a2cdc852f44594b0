//! Who calls: the owner of the Unix socket, who may do everything, or a client with a certificate, who may do what it
//! says. One check for all resources, so that a new one cannot forget it.

use super::routes::Problem;
use crate::tls::Right;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// A client with a certificate.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// As the certificate says.
    pub(super) name: String,
    pub(super) right: Right,
}

tokio::task_local! {
    /// Set for the whole of a connection that showed a certificate.
    pub(super) static CALLER: Caller;
}

/// Lets through what the caller may do.
pub(super) async fn allowed(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let refused =
        CALLER.try_with(|caller| (caller.right == Right::Read && !reads).then(|| caller.name.clone()));
    match refused {
        Ok(Some(name)) => Problem::forbidden(format!(
            "the certificate of {name} may only read, so nothing was changed: use one that was made without --read-only"
        ))
        .into_response(),
        _ => next.run(request).await,
    }
}

/// The name that goes on record: what a certificate proves comes first, what the caller says of itself in brackets.
pub(super) fn on_record(said: String) -> String {
    let proven = CALLER.try_with(|caller| caller.name.clone());
    match proven {
        Ok(name) if name == said => name,
        Ok(name) => format!("{name} ({said})"),
        Err(_) => said,
    }
}
