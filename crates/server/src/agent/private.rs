//! The instance run for the agent alone: no network, a socket that nobody else can reach, no replication, no events, no
//! passwords. What is done to it here is done before anybody can see it.

use super::disk;
use super::gtid::GtidState;
use super::layout::program;
use super::options::AgentOptions;
use super::process;
use super::tools::{Tool, last_line};
use super::trouble::Trouble;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Duration, Instant, sleep, timeout};

const PAUSE: Duration = Duration::from_millis(50);
/// How long it may be silent to a connection.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
const SOCKET: &str = "socket";
const LOG: &str = "error.log";
/// What its folder's name begins with.
const NAME: &str = "backstay-agent-";

/// A private run. Dropped, it is killed.
pub(super) struct Private<'a> {
    options: &'a AgentOptions,
    work: &'a Path,
    folder: Folder,
    child: Child,
}

/// Ends one that was left over by an agent that was killed: whoever can reach its socket needs no password.
pub(super) async fn end_leftover(data: &Path) -> Result<(), Trouble> {
    let Some(pid) = process::holder(data)?.filter(|pid| *pid > 0) else {
        return Ok(());
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command);
    let mut words = command.split('\0');
    let is_ours = words.any(|word| word.starts_with("--socket=") && word.contains(NAME));
    if !is_ours || !command.split('\0').any(|word| word == "--skip-grant-tables") {
        return Ok(());
    }
    tracing::warn!("a server (pid {pid}) that an agent before this one ran for itself is ended");
    process::end(data).await
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl<'a> Private<'a> {
    /// Starts it, and waits until it answers: it has recovered then.
    pub(super) async fn start(options: &'a AgentOptions, work: &'a Path) -> Result<Self, Trouble> {
        process::gone_within(&options.data, options.stop_patience).await?;
        let folder = folder(&options.data)?;
        let (program, arguments) = program(options)?;
        let mut tool = Tool::new(program, work);
        let path = |name: &str| folder.0.join(name).display().to_string();
        tool.command
            .args(arguments)
            .args(["--skip-networking", "--skip-grant-tables", "--skip-slave-start", "--event-scheduler=OFF"])
            .args(["--loose-rpl-semi-sync-master-enabled=OFF", "--slave-exec-mode=STRICT"])
            .args(["--innodb-buffer-pool-load-at-startup=OFF", "--innodb-buffer-pool-dump-at-shutdown=OFF"])
            .arg(format!("--datadir={}", options.data.display()))
            .arg(format!("--socket={}", path(SOCKET)))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--log-error={}", path(LOG)));
        if nix::unistd::geteuid().is_root() {
            let owner =
                fs::metadata(&options.data).map_err(Trouble::file("cannot be looked at", &options.data))?;
            tool.command.arg(format!("--user={}", user(owner.uid())));
        }
        let child = tool.start()?;
        let mut private = Self { options, work, folder, child };
        private.await_answer(&tool).await?;
        Ok(private)
    }

    async fn await_answer(&mut self, tool: &Tool) -> Result<(), Trouble> {
        let started = Instant::now();
        while started.elapsed() < self.options.start_patience {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = match self.last_words() {
                    said if said.is_empty() => tool.said(),
                    said => said,
                };
                let said = format!("it ended ({status}): \"{said}\"");
                return Err(Trouble::NoPrivate { data: self.options.data.clone(), said });
            }
            if matches!(timeout(GREETING_LIMIT, greets(&self.socket())).await, Ok(Ok(()))) {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        let said = format!("it did not answer within {} s", self.options.start_patience.as_secs());
        Err(Trouble::NoPrivate { data: self.options.data.clone(), said })
    }

    /// What it answers to a statement: its rows, with tabs between values.
    pub(super) async fn ask(&self, statement: &str) -> Result<String, Trouble> {
        let mut tool = self.client();
        tool.command.args(["--batch", "--skip-column-names", "--raw"]).arg(format!("--execute={statement}"));
        tool.output().await.map(|rows| rows.trim_end().to_owned()).map_err(|trouble| match trouble {
            Trouble::Tool { said, .. } => Trouble::Refused { statement: statement.to_owned(), said },
            other => other,
        })
    }

    /// Runs a file of statements, of which nothing is written to its binary log, up to the first error.
    pub(super) async fn apply(&self, file: &Path) -> Result<(), Trouble> {
        let input = File::open(file).map_err(Trouble::file("cannot be read", file))?;
        let mut tool = self.client();
        tool.command.args(["--binary-mode", "--init-command=SET SESSION sql_log_bin=0"]).stdin(input);
        tool.run().await
    }

    /// Makes it one that has had `history` and nothing else, and goes on from its end.
    pub(super) async fn set_history(&self, history: &GtidState) -> Result<(), Trouble> {
        let position = history.position();
        self.ask(&format!(
            "RESET MASTER; SET GLOBAL gtid_binlog_state='{history}'; SET GLOBAL gtid_slave_pos='{position}'"
        ))
        .await?;
        let stands = self.ask("SELECT @@global.gtid_binlog_state, @@global.gtid_slave_pos").await?;
        let (state, reached) = stands.split_once('\t').unwrap_or_default();
        let same = |text: &str, wanted: &GtidState| {
            let (mut found, mut wanted) = (
                GtidState::read(text).unwrap_or_default().iter().collect::<Vec<_>>(),
                wanted.iter().collect::<Vec<_>>(),
            );
            found.sort();
            wanted.sort();
            found == wanted
        };
        if same(state, history) && same(reached, &position) {
            return Ok(());
        }
        Err(Trouble::Refused {
            statement: "SET GLOBAL gtid_binlog_state".to_owned(),
            said: format!("it stands at {stands} instead of {history}"),
        })
    }

    /// Ends it in order.
    pub(super) async fn end(mut self) -> Result<(), Trouble> {
        self.ask("SHUTDOWN").await?;
        let ended = timeout(self.options.stop_patience, self.child.wait()).await;
        let said = self.last_words();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => {
                let said = format!("it did not end in order: \"{said}\"");
                Err(Trouble::NoPrivate { data: self.options.data.clone(), said })
            }
            Err(_) => {
                let (data, reason) = (self.options.data.clone(), "it did not end in time".to_owned());
                Err(Trouble::NotStopped { data, reason })
            }
        }
    }

    /// Keeps its log, and reads its end.
    fn last_words(&self) -> String {
        let kept = self.work.join("private.log");
        disk::copy_plain(&self.log(), &kept).map(|()| last_line(&kept)).unwrap_or_default()
    }

    fn client(&self) -> Tool {
        let mut tool = Tool::new("mariadb", self.work);
        tool.command.args(["--no-defaults", "--user=root"]);
        tool.command.arg(format!("--socket={}", self.socket().display()));
        tool
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join(SOCKET)
    }

    fn log(&self) -> PathBuf {
        self.folder.0.join(LOG)
    }
}

/// The name of a user, or the number where it has none.
fn user(number: u32) -> String {
    let user = nix::unistd::User::from_uid(number.into()).ok().flatten();
    user.map_or_else(|| number.to_string(), |user| user.name)
}

/// A folder that only the server's user can look into, with a short path: a socket's may not be long.
fn folder(data: &Path) -> Result<Folder, Trouble> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Trouble::Impossible(format!("no random numbers: {error}")))?;
    let name = format!("{NAME}{:016x}", u64::from_ne_bytes(random));
    let path = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&path).map_err(Trouble::file("cannot be created", &path))?;
    let folder = Folder(path);
    disk::give_as(&folder.0, data)?;
    // The data folder may be open to its group.
    let own = fs::set_permissions(&folder.0, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    own.map_err(Trouble::file("cannot be closed to others", &folder.0))?;
    Ok(folder)
}

/// Whether a server greets at a socket.
async fn greets(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    // The protocol's version; an error would be 255.
    if head[4] == 10 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
