//! One HTTP request over a Unix socket, by hand.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The status code and the body of a `GET`; none if nobody answers.
pub(crate) async fn get(socket: &Path, path: &str) -> Option<(u16, Value)> {
    request(socket, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

/// The status code and the body of a `POST`.
pub(crate) async fn post(socket: &Path, path: &str, body: &Value) -> Option<(u16, Value)> {
    let body = body.to_string();
    let length = body.len();
    request(socket, &format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")).await
}

/// The body of a `GET` that was granted.
pub(crate) async fn get_as<T: DeserializeOwned>(socket: &Path, path: &str) -> Option<T> {
    let (code, body) = get(socket, path).await?;
    assert_eq!(code, 200, "{body}");
    Some(serde_json::from_value(body).unwrap())
}

async fn request(socket: &Path, text: &str) -> Option<(u16, Value)> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.ok()?;
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some((code, serde_json::from_str(body).unwrap_or(Value::Null)))
    };
    timeout(Duration::from_secs(10), exchange).await.ok()?
}
