//! One rebuild, step by step. What only the instance holds is saved before anything is discarded; its own data stays
//! untouched until a copy is ready beside it; each step is on record before it begins.

use super::disk;
use super::flashback::{self, Outcome};
use super::gtid::GtidState;
use super::layout::Layout;
use super::private::Private;
use super::process;
use super::receive::{Receiver, suits};
use super::record::{Record, Stage};
use super::surplus::{Saved, Surplus};
use super::swap::Swap;
use super::tools::all_installed;
use super::trouble::Trouble;
use super::worker::{Hands, Reports, withdrawn};
use crate::clock;
use backstay_model::{AgentOrders, Method, Progress};
use std::future::Future;
use std::path::PathBuf;
use tokio::sync::watch;

const BINLOG: &[&str] = &["mariadb-binlog", "mariadb"];
const BACKUP: &[&str] = &["mariadb-backup", "mbstream"];

/// See the module's head.
pub(super) struct Job<'a> {
    hands: &'a Hands,
    orders: watch::Receiver<AgentOrders>,
    reports: &'a Reports,
    record: Record,
    work: PathBuf,
    layout: Layout,
    swap: Swap,
    /// The instance is being stopped.
    stopping: bool,
}

impl<'a> Job<'a> {
    /// Takes up a rebuild where its record says it is.
    pub(super) async fn open(
        hands: &'a Hands,
        orders: watch::Receiver<AgentOrders>,
        reports: &'a Reports,
        record: Record,
    ) -> Result<Self, Trouble> {
        let work = Record::folder(&hands.options.rescue, &record.rebuild);
        disk::own_folder(&work)?;
        let layout = Layout::find(&hands.options, &work).await?;
        let swap = Swap::new(&layout, record.rebuild.number);
        let mut job = Self { hands, orders, reports, record, work, layout, swap, stopping: false };
        job.record.stage = job.resumed();
        Ok(job)
    }

    /// Where to go on: what may have changed since is done again.
    fn resumed(&self) -> Stage {
        let half_taken_back = "the flashback was cut in the middle, and its data is partly taken back: rebuild it by \
                               a copy";
        match (&self.record.stage, self.record.rebuild.method) {
            (Stage::Saved | Stage::Copying { broken: false, .. }, _) => Stage::Saving,
            (Stage::TakingBack, Method::Flashback) => Stage::Failed { why: half_taken_back.to_owned() },
            (Stage::TakingBack, _) => {
                Stage::Copying { because: "a flashback was cut in the middle".to_owned(), broken: true }
            }
            (other, _) => other.clone(),
        }
    }

    /// Goes through to the end.
    pub(super) async fn run(&mut self) -> Result<(), Trouble> {
        self.keep()?;
        if let Some(progress) = self.record.progress().filter(|_| self.record.stage.is_over()) {
            self.tell(progress);
        }
        if !matches!(self.record.stage, Stage::Saving) && !self.record.stage.is_over() {
            // Since this was written, others may have begun to use what lies there.
            self.await_discard().await?;
        }
        while !self.record.stage.is_over() {
            let next = match self.record.stage.clone() {
                Stage::Saving => self.save().await?,
                Stage::Saved => self.await_word().await?,
                Stage::TakingBack => self.take_back().await?,
                Stage::Copying { because, .. } => self.copy(because).await?,
                Stage::Swapping { history, because } => self.put_in_place(&history, because).await?,
                Stage::PuttingBack { why } => return Err(self.put_back(why).await),
                Stage::Starting { method, because } => self.start(method, because).await?,
                over => over,
            };
            self.advance(next)?;
        }
        Ok(())
    }

    /// The data was partly taken back, in this rebuild or in an earlier one, and not replaced since.
    fn is_half(&self) -> bool {
        self.half().exists() || matches!(self.record.stage, Stage::Copying { broken: true, .. })
    }

    fn half(&self) -> PathBuf {
        Record::half(&self.hands.options.rescue, &self.record.rebuild)
    }

    /// What the data is, as a sentence.
    pub(super) fn data_stands(&self) -> String {
        let data = self.hands.options.data.display();
        match &self.record.stage {
            Stage::Saving | Stage::Saved | Stage::TakingBack | Stage::Copying { .. } if self.is_half() => {
                format!("Its data in {data} may be partly taken back: rebuild it by a copy")
            }
            _ if !self.record.stopped => "Nothing was done to it".to_owned(),
            Stage::Swapping { .. } | Stage::PuttingBack { .. } if self.swap.before.exists() => {
                format!("It is stopped, and its old data is in {}", self.swap.before.display())
            }
            Stage::Saving | Stage::Saved | Stage::TakingBack | Stage::Copying { .. } => {
                format!("It is stopped, and its data in {data} is as it was")
            }
            Stage::Swapping { .. } | Stage::PuttingBack { .. } => {
                format!("It is stopped, and its old data is in {data}")
            }
            _ if self.swap.before.exists() => {
                format!("The copy is in {data}, and its old data in {}", self.swap.before.display())
            }
            _ => format!("Its data is in {data}"),
        }
    }

    /// What lies where, if the rebuild ends where there is no way back: others may use it, so that it is left alone.
    pub(super) fn lies_there(&self) -> Option<String> {
        if !self.record.stage.is_beyond_return() {
            return None;
        }
        let places = [
            (&self.hands.options.data, "is the data folder"),
            (&self.swap.before, "is the old data"),
            (&self.swap.fresh, "is the copy"),
        ];
        let there = places.iter().filter(|(path, _)| path.exists());
        let there: Vec<_> = there.map(|(path, what)| format!("{} {what}", path.display())).collect();
        Some(format!(
            "The rebuild was ended while the copy was put in the place of the data, and everything was left as it lies: {}. \
             Look at it, then rebuild again",
            there.join(", ")
        ))
    }

    /// Puts things back after the rebuild was withdrawn.
    pub(super) async fn withdraw(&self) -> Result<(), Trouble> {
        let started = self.start_again().await;
        self.record.forget(&self.hands.options.rescue)?;
        started
    }

    async fn start_again(&self) -> Result<(), Trouble> {
        self.swap.remove_copy()?;
        if !self.record.stopped {
            return Ok(());
        }
        let options = &self.hands.options;
        if self.stopping {
            // Half stopped it would be gone a moment after it was found to run.
            self.stop().await?;
        } else if process::gone_within(&options.data, options.stop_patience).await.is_err() {
            // What an agent before this one began to stop is gone by now, so that somebody started this one.
            return Ok(());
        }
        if self.is_half() {
            return Err(Trouble::Impossible(format!("It is not started. {}", self.data_stands())));
        }
        process::start(options, &self.work).await
    }

    pub(super) fn fail(&mut self, why: String) {
        self.record.stage = Stage::Failed { why };
        if let Err(trouble) = self.keep() {
            tracing::error!("how the rebuild ended cannot be written down: {trouble}");
        }
    }

    /// On record first, then told.
    fn advance(&mut self, stage: Stage) -> Result<(), Trouble> {
        self.record.stage = stage;
        self.keep()?;
        if let Some(progress) = self.record.progress() {
            self.tell(progress);
        }
        Ok(())
    }

    fn keep(&self) -> Result<(), Trouble> {
        self.record.write(&self.hands.options.rescue)
    }

    fn tell(&self, progress: Progress) {
        self.reports.tell(self.record.rebuild.number, progress);
    }

    async fn unless_withdrawn<T>(
        &self,
        doing: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        tokio::select! {
            done = doing => done,
            () = withdrawn(self.orders.clone(), &self.record.rebuild) => Err(Trouble::Withdrawn),
        }
    }
}

/// The steps.
impl Job<'_> {
    /// Stops the instance and saves what only it holds.
    async fn save(&mut self) -> Result<Stage, Trouble> {
        self.tell(Progress::Saving);
        let known = self.unless_withdrawn(self.look()).await?;
        self.unless_withdrawn(self.still_told()).await?;
        self.record.stopped = true;
        self.record.known = known.to_string();
        self.keep()?;
        self.stopping = true;
        let saved = self.unless_withdrawn(self.stop_and_save(&known)).await?;
        self.stopping = false;
        self.record.file = saved.file.map(|file| file.display().to_string());
        self.record.transactions = saved.transactions;
        Ok(Stage::Saved)
    }

    /// Waits until a leader says now that it is to be done: looking took a while, and the instance may be the next
    /// primary.
    async fn still_told(&self) -> Result<(), Trouble> {
        let mut orders = self.orders.clone();
        if orders.wait_for(|orders| orders.in_force(clock::time())).await.is_err() {
            // Nobody gives orders any more.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Whether all that is needed is there, before anything is touched. Returns what the donor has had.
    async fn look(&self) -> Result<GtidState, Trouble> {
        let rebuild = &self.record.rebuild;
        all_installed(BINLOG)?;
        if rebuild.method == Method::Flashback && self.is_half() {
            return Err(Trouble::Impossible("an earlier flashback was cut in the middle".to_owned()));
        }
        if rebuild.method != Method::Flashback {
            all_installed(BACKUP)?;
            self.swap.check()?;
        }
        let (_, greeting) = self.hands.dialler.call(&rebuild.donor, &rebuild.donor_agent, false).await?;
        if rebuild.method == Method::Copy {
            suits(&self.hands.options, &self.layout, &greeting)?;
        }
        let read = |text: &str| {
            GtidState::read(text).ok_or_else(|| {
                Trouble::Donor(format!(
                    "the agent of {} says what is no list of GTIDs: {text}",
                    rebuild.donor
                ))
            })
        };
        Ok(read(&greeting.binlog_state)?.joined(&read(&greeting.slave_position)?))
    }

    async fn stop_and_save(&self, known: &GtidState) -> Result<Saved, Trouble> {
        self.stop().await?;
        let surplus = self.surplus(known).await?;
        // What was saved once is never replaced: since then a recovery may have cut its log.
        let folders = (1..).map(|count| self.work.join(format!("saved-{count}")));
        let folder = folders.into_iter().find(|folder| !folder.exists()).unwrap_or_default();
        match &self.record.file {
            Some(file) if surplus.transactions() <= self.record.transactions => {
                Ok(Saved { file: Some(PathBuf::from(file)), transactions: self.record.transactions })
            }
            _ => surplus.save(&folder, &self.record.rebuild.instance, known).await,
        }
    }

    async fn stop(&self) -> Result<(), Trouble> {
        if let Some(how) = process::stop(&self.hands.options, &self.work).await? {
            tracing::warn!("{}: {how}", self.record.rebuild.instance);
        }
        Ok(())
    }

    /// Reading a log takes a while.
    async fn surplus(&self, known: &GtidState) -> Result<Surplus, Trouble> {
        let (layout, known) = (self.layout.clone(), known.clone());
        let found = tokio::task::spawn_blocking(move || Surplus::find(&layout, &known)).await;
        found.unwrap_or_else(|error| Err(Trouble::Impossible(error.to_string())))
    }

    /// Waits until the data may be discarded.
    async fn await_discard(&self) -> Result<(), Trouble> {
        let mut orders = self.orders.clone();
        let rebuild = &self.record.rebuild;
        self.unless_withdrawn(async {
            let told = |orders: &AgentOrders| {
                orders.discard && orders.in_force(clock::time()) && orders.rebuild.as_ref() == Some(rebuild)
            };
            if orders.wait_for(told).await.is_err() {
                // Nobody gives orders any more.
                std::future::pending::<()>().await;
            }
            Ok(())
        })
        .await
    }

    /// Waits until the data may be discarded, and chooses how.
    async fn await_word(&self) -> Result<Stage, Trouble> {
        self.await_discard().await?;
        let rebuild = &self.record.rebuild;
        let copying = |because: &str| Stage::Copying { because: because.to_owned(), broken: false };
        Ok(match rebuild.method {
            _ if self.is_half() => Stage::Copying {
                because: "an earlier flashback was cut in the middle".to_owned(),
                broken: true,
            },
            Method::Copy => copying("a copy was asked for"),
            Method::Auto if self.record.transactions == 0 => {
                copying("its log holds nothing that others have not, so there is nothing to take back")
            }
            Method::Auto | Method::Flashback => Stage::TakingBack,
        })
    }

    async fn take_back(&self) -> Result<Stage, Trouble> {
        self.tell(Progress::TakingBack);
        let known = GtidState::read(&self.record.known).unwrap_or_default();
        // Whatever becomes of this rebuild, nobody takes that back twice or lets it be seen.
        disk::write(&self.half(), "")?;
        let outcome = flashback::take_back(&self.hands.options, &self.layout, &known, &self.work).await;
        let may_copy = self.record.rebuild.method == Method::Auto;
        match outcome.unwrap_or_else(Outcome::Broken) {
            Outcome::Done(because) => Ok(Stage::Starting { method: Method::Flashback, because }),
            Outcome::Impossible(because) => {
                disk::remove_file(&self.half())?;
                let refused = || format!("it cannot be taken back: {because}. Rebuild it by a copy");
                if !may_copy {
                    return Err(Trouble::Impossible(refused()));
                }
                Ok(Stage::Copying { because, broken: false })
            }
            Outcome::Broken(trouble) if may_copy => {
                tracing::warn!("the flashback failed, and a copy is made: {trouble}");
                Ok(Stage::Copying { because: "the flashback failed".to_owned(), broken: true })
            }
            Outcome::Broken(trouble) => Err(trouble),
        }
    }

    async fn copy(&self, because: String) -> Result<Stage, Trouble> {
        let receiver = Receiver {
            options: &self.hands.options,
            layout: &self.layout,
            dialler: &self.hands.dialler,
            rebuild: &self.record.rebuild,
            fresh: &self.swap.fresh,
            work: &self.work,
        };
        let received = self
            .unless_withdrawn(async {
                self.swap.check()?;
                all_installed(BACKUP)?;
                // Of an agent that was killed, a program may still run on what it left.
                process::end(&self.swap.fresh).await?;
                self.swap.remove_copy()?;
                receiver.receive(|progress| self.tell(progress)).await
            })
            .await;
        match received {
            Ok(history) => Ok(Stage::Swapping { history: history.to_string(), because }),
            Err(trouble) => {
                self.swap.remove_copy()?;
                Err(trouble)
            }
        }
    }

    /// Puts the copy in the data's place, and makes its history the donor's. If it does not run, the old data comes back.
    async fn put_in_place(&self, history: &str, because: String) -> Result<Stage, Trouble> {
        self.stop().await?;
        let history = GtidState::read(history).unwrap_or_default();
        self.swap.swap()?;
        if let Err(trouble) = self.try_copy(&history).await {
            process::end(&self.hands.options.data).await?;
            return Ok(Stage::PuttingBack { why: trouble.to_string() });
        }
        Ok(Stage::Starting { method: Method::Copy, because })
    }

    /// Puts the old data back. Returns why that had to be.
    async fn put_back(&self, why: String) -> Trouble {
        let back = async {
            if process::holder(&self.hands.options.data)?.is_some() {
                self.stop().await?;
            }
            self.swap.undo()
        };
        match back.await {
            Ok(()) => Trouble::Impossible(why),
            Err(trouble) => Trouble::Impossible(format!("{why}. It was not put back: {trouble}")),
        }
    }

    async fn try_copy(&self, history: &GtidState) -> Result<(), Trouble> {
        let private = Private::start(&self.hands.options, &self.work).await?;
        private.set_history(history).await?;
        private.end().await
    }

    async fn start(&self, method: Method, because: String) -> Result<Stage, Trouble> {
        self.tell(Progress::Starting);
        if method == Method::Flashback {
            disk::remove_file(&self.half())?;
        }
        let options = &self.hands.options;
        if process::holder(&options.data)?.is_none() {
            process::start(options, &self.work).await?;
        }
        self.hands.access.await_answer(options.start_patience, &self.work).await?;
        if !options.keep_old {
            self.swap.discard()?;
        }
        disk::remove_file(&self.half())?;
        Ok(Stage::Done { method, because })
    }
}

impl Record {
    /// What is told of it, where the step itself does not tell more.
    pub(super) fn progress(&self) -> Option<Progress> {
        match self.stage.clone() {
            Stage::Saved => {
                Some(Progress::Saved { file: self.file.clone(), transactions: self.transactions })
            }
            Stage::Done { method, because } => Some(Progress::Done { method, because }),
            Stage::Failed { why } => Some(Progress::Failed { why }),
            _ => None,
        }
    }
}
