//! The admin API of a controller, as far as the lab asks it: one request over the Unix socket, by hand.

use crate::error::{LabError, Result};
use backstay_model::{ClusterStatus, FailoverRecord};
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_millis(500);
/// An order goes through the quorum.
const ORDER_LIMIT: Duration = Duration::from_secs(10);
const BODY_MAX: u64 = 16 * 1024 * 1024;

/// `GET /v1/status`.
pub fn status(socket: &Path) -> Result<ClusterStatus> {
    get(socket, "/v1/status")
}

/// `GET /v1/history`: every failover, oldest first.
pub fn history(socket: &Path) -> Result<Vec<FailoverRecord>> {
    get(socket, "/v1/history")
}

/// One resource of the admin API.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    get_within(LIMIT, socket, path)
}

/// As `get`, of a controller that has more to tell than a lab's: no single read may take longer than `limit`.
pub fn get_within<T: DeserializeOwned>(limit: Duration, socket: &Path, path: &str) -> Result<T> {
    let body = fetch(limit, socket, path).map_err(|source| LabError::Connection {
        to: format!("the admin socket {}", socket.display()),
        source,
    })?;
    serde_json::from_slice(&body).map_err(|error| LabError::Answer {
        from: format!("{} at {path}", socket.display()),
        what: format!("{error}: {}", String::from_utf8_lossy(&body[..body.len().min(200)])),
    })
}

/// Orders something.
pub fn post(socket: &Path, path: &str, body: &serde_json::Value) -> Result<()> {
    let sent = exchange(socket, "POST", path, &body.to_string(), ORDER_LIMIT);
    sent.map(drop).map_err(|source| LabError::Connection {
        to: format!("the admin socket {}", socket.display()),
        source,
    })
}

fn fetch(limit: Duration, socket: &Path, path: &str) -> io::Result<Vec<u8>> {
    exchange(socket, "GET", path, "", limit)
}

fn exchange(socket: &Path, verb: &str, path: &str, body: &str, limit: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // HTTP/1.0 keeps the answer in one piece: no chunks, and its end is the end of the connection.
    let head = format!("Host: lab\r\nConnection: close\r\nContent-Length: {}", body.len());
    stream.write_all(format!("{verb} {path} HTTP/1.0\r\n{head}\r\n\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(BODY_MAX).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer without an end of its head"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        let body = String::from_utf8_lossy(&answer[end + 4..]).into_owned();
        return Err(io::Error::other(format!("status {status}: {}", body.trim())));
    }
    Ok(answer.split_off(end + 4))
}
