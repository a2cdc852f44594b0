//! `backstay watch`: asks once a second and whenever an event comes, draws, and listens to the keys, all at once, so
//! that a controller that hangs holds up nothing.

use super::events::understood;
use super::{encoded, known};
use crate::admin::Controllers;
use crate::arguments::Watch;
use crate::failure::{FAILED, Failure, USAGE};
use crate::output::Paint;
use crate::screen::{Gesture, Screen, send_gestures};
use crate::show::{self, EventLine, Picture};
use crate::times;
use backstay_model::{ClusterStatus, FailoverStatus};
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};

/// How often the cluster is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often at most it is drawn: events come in bursts.
const DRAW_PAUSE: Duration = Duration::from_millis(30);
/// How long to wait before a lost controller, or another, is asked for events again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// More events than any terminal has lines.
const EVENTS_MAX: usize = 500;
/// How far back the first events are.
const PAST: Duration = Duration::from_secs(600);

/// What changes the picture.
enum Change {
    Looked(ClusterStatus, Vec<FailoverStatus>),
    Happened(EventLine),
    Trouble(String),
}

pub(super) fn watch(arguments: &Watch) -> Result<(), Failure> {
    if !Screen::is_there() {
        return Err(Failure::new(
            USAGE,
            "there is nothing to draw on",
            "the standard input and output are not both a terminal that can be drawn on",
            "use `backstay events --follow` for what happens, or `backstay status` for what is",
        ));
    }
    let controllers = Controllers::of(&arguments.target)?;
    let service = arguments.service.as_deref();
    known::services(&known::cluster(&controllers)?, service)?;
    let (changes, changed) = channel(64);
    let happened = Notify::new();
    controllers.block_on(async {
        tokio::select! {
            () = look(&controllers, service, &changes, &happened) => Ok(()),
            () = listen(&controllers, service, &changes, &happened) => Ok(()),
            drawn = draw(changed) => drawn.map_err(|error| Failure::new(
                FAILED,
                "the terminal cannot be drawn on",
                error,
                "use `backstay events --follow`",
            )),
        }
    })
}

/// Looks at the cluster, soon after something happened.
async fn look(controllers: &Controllers, service: Option<&str>, to: &Sender<Change>, happened: &Notify) {
    let history = format!("/v1/history{}", query('?', service));
    loop {
        let looked = async {
            let status: ClusterStatus =
                controllers.look("/v1/status", |status: &ClusterStatus| status.quorum).await?;
            let history: Vec<FailoverStatus> = controllers.look(&history, |_| true).await?;
            Ok::<_, Failure>(Change::Looked(of_service(status, service), history))
        };
        let change = looked.await.unwrap_or_else(|failure| Change::Trouble(failure.in_one_line()));
        if to.send(change).await.is_err() {
            return;
        }
        // Either way it is time to look again.
        let _ = timeout(LOOK_EVERY, happened.notified()).await;
    }
}

fn of_service(mut status: ClusterStatus, service: Option<&str>) -> ClusterStatus {
    status.services.retain(|it| service.is_none_or(|service| it.name.as_str() == service));
    status
}

/// Hears what happens, from whichever controller can be heard.
async fn listen(controllers: &Controllers, service: Option<&str>, to: &Sender<Change>, happened: &Notify) {
    let mut since = times::now().0.saturating_sub(PAST.as_micros() as u64);
    loop {
        let path = format!("/v1/events?since={since}&alive=true{}", query('&', service));
        let heard = async {
            let mut lines = controllers.lines(&path).await?;
            while let Some(line) = lines.next().await? {
                let event = understood(&line)?;
                since = event.at.0 + 1;
                happened.notify_one();
                // Whoever draws ends all this.
                let _ = to.send(Change::Happened(event)).await;
            }
            Err::<(), _>(lines.lost("it stopped"))
        };
        if let Err(failure) = heard.await {
            let _ = to.send(Change::Trouble(failure.in_one_line())).await;
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn query(sign: char, service: Option<&str>) -> String {
    service.map(|service| format!("{sign}service={}", encoded(service))).unwrap_or_default()
}

/// Draws until the user leaves.
async fn draw(mut changed: Receiver<Change>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut screen = Screen::take()?;
    let (gestures, mut gesture) = channel(8);
    send_gestures(gestures);
    let mut picture = Picture::default();
    loop {
        screen.draw(show::watch(&picture, times::now(), Screen::size(), Paint::of_stdout()))?;
        tokio::select! {
            Some(change) = changed.recv() => {
                take(&mut picture, change);
                sleep(DRAW_PAUSE).await;
                while let Ok(change) = changed.try_recv() {
                    take(&mut picture, change);
                }
            }
            made = gesture.recv() => match made {
                Some(Gesture::Resize) => screen.clear()?,
                Some(Gesture::Leave) | None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

fn take(picture: &mut Picture, change: Change) {
    match change {
        Change::Looked(status, history) => {
            picture.status = Some(status);
            picture.history = history;
            picture.trouble = None;
        }
        Change::Happened(event) => {
            if picture.events.len() >= EVENTS_MAX {
                picture.events.pop_front();
            }
            picture.events.push_back(event);
        }
        Change::Trouble(sentence) => picture.trouble = Some(sentence),
    }
}
