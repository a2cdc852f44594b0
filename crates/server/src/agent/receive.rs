//! Taking a donor's copy into a folder beside the data, up to the moment before the folders are swapped. Until then the
//! instance's own data is not touched.

use super::dial::Dialler;
use super::disk;
use super::gtid::GtidState;
use super::layout::{Layout, defaults};
use super::options::AgentOptions;
use super::tools::Tool;
use super::trouble::Trouble;
use super::words::{self, End, Greeting, Heard, Stream, Word};
use backstay_model::{InstanceName, Progress, Rebuild};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

/// How long a donor may say nothing: it says every few seconds that it is still there.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long it may be at work without sending anything: it may wait for a lock that nobody lets go.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Room for what is written while the copy is made consistent.
const SPARE_BYTES: u64 = 64 << 20;

/// What is received, for whom, and where to.
pub(super) struct Receiver<'a> {
    pub(super) options: &'a AgentOptions,
    pub(super) layout: &'a Layout,
    pub(super) dialler: &'a Dialler,
    pub(super) rebuild: &'a Rebuild,
    /// Where the copy is to be.
    pub(super) fresh: &'a Path,
    pub(super) work: &'a Path,
}

impl Receiver<'_> {
    /// Receives a copy and makes it ready. Returns the history that it has had.
    pub(super) async fn receive(&self, tell: impl Fn(Progress)) -> Result<GtidState, Trouble> {
        let Rebuild { donor, donor_agent, .. } = self.rebuild;
        let (mut stream, greeting) = self.dialler.call(donor, donor_agent, true).await?;
        suits(self.options, self.layout, &greeting)?;
        disk::own_folder(self.fresh)?;
        tell(Progress::Copying { bytes: 0 });
        let end = self.unpack(&mut stream, &tell).await?;
        drop(stream);
        tell(Progress::Preparing);
        self.prepare().await?;
        let history = self.history(&greeting, &end)?;
        // All of the file system: a copy has many files.
        sync(self.fresh)?;
        disk::give_as(self.fresh, &self.options.data)?;
        sync(self.fresh)?;
        Ok(history)
    }

    async fn unpack(&self, stream: &mut Stream, tell: &impl Fn(Progress)) -> Result<End, Trouble> {
        let mut tool = Tool::new("mbstream", self.work);
        tool.command.arg("-x").arg("-C").arg(self.fresh).stdin(Stdio::piped());
        let mut child = tool.start()?;
        let heard = self.pour(stream, &mut child, tell).await;
        if heard.is_err() {
            let _ = child.kill().await;
        }
        let Some(end) = heard? else {
            // It ended before the stream did, and has said why.
            return Err(match tool.ended(child.wait().await) {
                Err(trouble) => trouble,
                Ok(()) => Trouble::Impossible("mbstream ended before the stream did".to_owned()),
            });
        };
        tool.ended(child.wait().await)?;
        Ok(end)
    }

    /// Passes what arrives on. `None`: it is not taken any more.
    async fn pour(
        &self,
        stream: &mut Stream,
        child: &mut Child,
        tell: &impl Fn(Progress),
    ) -> Result<Option<End>, Trouble> {
        let donor = &self.rebuild.donor;
        let Some(mut input) = child.stdin.take() else {
            return Ok(None);
        };
        let (mut bytes, mut digest) = (0_u64, Sha256::new());
        let (mut told, mut taken) = (Instant::now(), Instant::now());
        let mut piece = Vec::new();
        loop {
            let heard = timeout(SILENCE_MAX, words::hear(stream, &mut piece)).await;
            let heard = heard.map_err(|_| {
                let silence = SILENCE_MAX.as_secs();
                Trouble::Donor(format!(
                    "the agent of {donor} said nothing for {silence} s: see that its host and the network are well, then \
                     rebuild again"
                ))
            })?;
            match heard.map_err(|error| words::donor_lost(donor, &error))? {
                Heard::Piece => {
                    if input.write_all(&piece).await.is_err() {
                        return Ok(None);
                    }
                    taken = Instant::now();
                    digest.update(&piece);
                    bytes += piece.len() as u64;
                    if told.elapsed() >= TELL_EVERY {
                        told = Instant::now();
                        tell(Progress::Copying { bytes });
                    }
                }
                Heard::Word(Word::End(end)) => {
                    let digest: [u8; 32] = digest.finalize().into();
                    if (end.bytes, end.sha256) != (bytes, digest) {
                        return Err(Trouble::Donor(format!(
                            "what arrived from {donor} is not what was sent ({bytes} of {} bytes): rebuild again",
                            end.bytes
                        )));
                    }
                    tell(Progress::Copying { bytes });
                    return Ok(Some(end));
                }
                Heard::Word(Word::Patience) if taken.elapsed() < IDLE_MAX => {}
                Heard::Word(Word::Patience) => return Err(idle(donor)),
                Heard::Word(Word::Sorry(why)) => {
                    return Err(Trouble::Donor(format!("the agent of {donor} said: {why}")));
                }
                Heard::Word(Word::Greeting(_)) => {
                    return Err(Trouble::Donor(format!(
                        "the agent of {donor} said what makes no sense here"
                    )));
                }
            }
        }
    }

    async fn prepare(&self) -> Result<(), Trouble> {
        let mut tool = Tool::new("mariadb-backup", self.work);
        tool.command.args(defaults(self.options)).arg("--prepare");
        tool.command.arg(format!("--target-dir={}", self.fresh.display()));
        tool.run().await
    }

    /// What the copy has had: where the backup ends, the donor said in a file of it.
    fn history(&self, greeting: &Greeting, end: &End) -> Result<GtidState, Trouble> {
        let unclear = || {
            Trouble::Impossible(format!(
                "the copy does not say where {} stood when it was made: see that its binary log is on (log_bin), then \
                 rebuild again",
                self.rebuild.donor
            ))
        };
        let names = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];
        let told = names.iter().find_map(|name| fs::read_to_string(self.fresh.join(name)).ok());
        let told = told.ok_or_else(unclear)?;
        // The file, the place in it, and the position.
        let position = told.split('\t').nth(2).unwrap_or_default().trim().replace('\n', "");
        let read = |text: &str| GtidState::read(text).ok_or_else(unclear);
        let position = read(&position)?;
        Ok(read(&greeting.binlog_state)?.at(&position, &read(&end.binlog_state)?))
    }
}

fn idle(donor: &InstanceName) -> Trouble {
    let limit = IDLE_MAX.as_secs() / 60;
    Trouble::Donor(format!(
        "the backup of {donor} has sent nothing for {limit} min: see what it waits for there (SHOW PROCESSLIST), then \
         rebuild again"
    ))
}

/// Whether the instance can take a copy of who greets like this.
pub(super) fn suits(options: &AgentOptions, layout: &Layout, greeting: &Greeting) -> Result<(), Trouble> {
    let (own, theirs) = (Layout::series(&layout.version), Layout::series(&greeting.version));
    if own != theirs {
        return Err(Trouble::Impossible(format!(
            "the donor runs MariaDB {theirs} and this host {own}: install the same series on both, then rebuild again"
        )));
    }
    if let Some(folder) = &layout.elsewhere {
        return Err(Trouble::Impossible(format!(
            "a part of the data lies outside of {}, in {}, and would stay behind: put all into the data folder, or rebuild \
             by hand",
            options.data.display(),
            folder.display()
        )));
    }
    let beside = options.data.parent().unwrap_or(Path::new("/"));
    let needed = greeting.data_bytes + greeting.data_bytes / 10 + SPARE_BYTES;
    let free = disk::free_bytes(beside)?;
    if free < needed {
        return Err(Trouble::NoSpace { needed: needed >> 20, free: free >> 20, path: beside.to_owned() });
    }
    Ok(())
}

fn sync(folder: &Path) -> Result<(), Trouble> {
    let opened = fs::File::open(folder).map_err(Trouble::file("cannot be opened", folder))?;
    nix::unistd::syncfs(opened).map_err(|errno| Trouble::file("cannot be written", folder)(errno.into()))
}
