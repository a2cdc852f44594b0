//! Does what it is told, one rebuild at a time, and reports how far that is. It is told over a channel and reports over
//! another one: who carries that to the controllers, it does not know.

use super::access::Access;
use super::dial::Dialler;
use super::job::Job;
use super::options::AgentOptions;
use super::private;
use super::record::Record;
use super::trouble::Trouble;
use crate::clock;
use backstay_model::{AgentOrders, Progress, Rebuild, ServiceName};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How often it is looked whether a leader was heard at all.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the work is done with.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) options: Arc<AgentOptions>,
    pub(super) service: ServiceName,
    pub(super) access: Access,
    pub(super) dialler: Dialler,
}

/// How far which rebuild is; nothing: there is none.
pub(crate) type Standing = Option<(u64, Progress)>;

/// Where it is told how far the work is.
#[derive(Debug)]
pub(super) struct Reports(pub(super) watch::Sender<Standing>);

impl Reports {
    pub(super) fn tell(&self, number: u64, progress: Progress) {
        tracing::info!("rebuild {number}: {}", words(&progress));
        self.0.send_replace(Some((number, progress)));
    }
}

/// Works until nobody gives orders any more.
pub(super) async fn work(hands: Hands, mut orders: watch::Receiver<AgentOrders>, reports: Reports) {
    if let Err(trouble) = private::end_leftover(&hands.options.data).await {
        tracing::warn!("{trouble}");
    }
    // While this agent did not run, anything may have been decided: nothing is touched before a leader has spoken.
    if first_word(&mut orders).await.is_err() {
        return;
    }
    // Orders are repeated: what came to its end is not begun again.
    let mut over = None;
    loop {
        let told = orders.borrow_and_update().clone();
        // The last rebuild may have taken a while: nothing is begun on words of before.
        if !told.in_force(clock::time()) {
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        }
        let wanted = told.rebuild;
        if wanted.is_none() {
            over = None;
        }
        for record in Record::unfinished(&hands.options.rescue) {
            if hands.is_mine(&record.rebuild) && wanted.as_ref() != Some(&record.rebuild) {
                hands.leave(record, &orders, &reports).await;
            }
        }
        if let Some(rebuild) = wanted.filter(|it| hands.is_mine(it) && over.as_ref() != Some(it)) {
            match Record::open(&hands.options.rescue, &rebuild) {
                Ok(record) => hands.rebuild(record, &orders, &reports).await,
                Err(trouble) => reports.tell(rebuild.number, Progress::Failed { why: trouble.to_string() }),
            }
            over = Some(rebuild);
        }
        if orders.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until a leader has said something, which may be that there is nothing to do.
async fn first_word(orders: &mut watch::Receiver<AgentOrders>) -> Result<(), watch::error::RecvError> {
    // Whoever carries orders wakes nobody for that, so it is looked for.
    while *orders.borrow() == AgentOrders::default() {
        if let Ok(changed) = timeout(LOOK_EVERY, orders.changed()).await {
            changed?;
        }
    }
    Ok(())
}

/// Waits until `rebuild` is not wanted any more.
pub(super) async fn withdrawn(mut orders: watch::Receiver<AgentOrders>, rebuild: &Rebuild) {
    if orders.wait_for(|orders| orders.rebuild.as_ref() != Some(rebuild)).await.is_err() {
        // Nobody gives orders any more, which withdraws nothing.
        std::future::pending::<()>().await;
    }
}

impl Hands {
    fn is_mine(&self, rebuild: &Rebuild) -> bool {
        rebuild.service == self.service && rebuild.instance == self.options.instance
    }

    async fn rebuild(&self, record: Record, orders: &watch::Receiver<AgentOrders>, reports: &Reports) {
        let number = record.rebuild.number;
        if let Some(progress) = record.progress().filter(|_| record.stage.is_over()) {
            return reports.tell(number, progress);
        }
        let failed = |why: String| reports.tell(number, Progress::Failed { why });
        let mut job = match Job::open(self, orders.clone(), reports, record).await {
            Ok(job) => job,
            Err(trouble) => return failed(trouble.to_string()),
        };
        match job.run().await {
            Ok(()) => {}
            Err(Trouble::Withdrawn) => self.withdraw(job, number, reports).await,
            Err(trouble) => {
                let why = format!("{trouble}. {}", job.data_stands());
                tracing::error!("rebuild {number} failed: {why}");
                job.fail(why.clone());
                failed(why);
            }
        }
    }

    /// Ends a rebuild that is on record and not wanted any more.
    async fn leave(&self, record: Record, orders: &watch::Receiver<AgentOrders>, reports: &Reports) {
        let number = record.rebuild.number;
        match Job::open(self, orders.clone(), reports, record).await {
            Ok(job) => self.withdraw(job, number, reports).await,
            Err(trouble) => reports.tell(number, Progress::Failed { why: trouble.to_string() }),
        }
    }

    async fn withdraw(&self, mut job: Job<'_>, number: u64, reports: &Reports) {
        tracing::info!("rebuild {number} was withdrawn");
        let failed = |why: String| reports.tell(number, Progress::Failed { why });
        if let Some(why) = job.lies_there() {
            job.fail(why.clone());
            return failed(why);
        }
        match job.withdraw().await {
            Ok(()) => {
                reports.0.send_replace(None);
            }
            Err(trouble) => failed(format!("The rebuild was withdrawn. {trouble}")),
        }
    }
}

fn words(progress: &Progress) -> String {
    match progress {
        Progress::Saving => "the instance is stopped, and what only it holds is saved".to_owned(),
        Progress::Saved { file: Some(file), transactions } => {
            format!("{transactions} transactions that only it held lie in {file}")
        }
        Progress::Saved { file: None, .. } => "it held nothing that the donor has not".to_owned(),
        Progress::TakingBack => "its own changes are taken back".to_owned(),
        Progress::Copying { bytes } => format!("{} MiB have arrived", bytes >> 20),
        Progress::Preparing => "the copy is made consistent".to_owned(),
        Progress::Starting => "it is being started".to_owned(),
        Progress::Done { method, because } => format!("done ({method:?}, because {because})"),
        Progress::Failed { why } => why.clone(),
    }
}
