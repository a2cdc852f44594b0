//! What somebody can send to the admin socket.

use super::{HEAD_BYTES_MAX, routes};
use crate::handle::Handle;
use crate::journal::Journal;
use crate::question::{Answer, Question, Request};
use backstay_controller::Wish;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a conversation may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// A connection with these bytes: answered in HTTP or cut off, and only sound wishes reach the controller.
pub(crate) fn conversation(bytes: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(converse(bytes)));
}

async fn converse(bytes: &[u8]) {
    let (requests, mut asked) = mpsc::channel(8);
    let router = routes::router(Handle::new("a".into(), requests, Journal::new()));
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let serving = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(router));
    let controller = async {
        while let Some(request) = asked.recv().await {
            answer(request);
        }
    };
    let talking = async {
        let mut replies = Vec::new();
        // It may be cut off in the middle.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut replies).await;
        replies
    };
    let all = async { tokio::join!(serving, controller, talking).2 };
    let replies = timeout(PATIENCE, all).await.expect("a conversation whose client has gone ends");
    assert!(replies.is_empty() || replies.starts_with(b"HTTP/1."), "an answer that is no HTTP");
}

fn answer(request: Request) {
    let answer = match request.question {
        Question::Explain(service) => Answer::Explanation(Err(format!("there is no {service}"))),
        Question::History(_) => Answer::History(Vec::new()),
        Question::Address(_) => Answer::Address(None),
        Question::Wish(wish) => {
            assert_sound(&wish);
            Answer::Wish(Ok("done".into()))
        }
        // Nobody answers.
        Question::Status => return,
    };
    let _ = request.reply.send(answer);
}

fn assert_sound(wish: &Wish) {
    let (Wish::Pause { by, .. }
    | Wish::Resume { by, .. }
    | Wish::Decide { by, .. }
    | Wish::SwitchOver { by, .. }
    | Wish::FailOver { by, .. }
    | Wish::Rebuild { by, .. }
    | Wish::CancelRebuild { by, .. }
    | Wish::AddController { by, .. }
    | Wish::RemoveController { by, .. }) = wish;
    assert!(!by.trim().is_empty() && !by.contains(char::is_control), "{by:?} asks");
}
