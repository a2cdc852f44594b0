//! The giving side: it listens for the agents of the service's other instances, tells them how its own instance stands,
//! and sends its backup to one of them at a time.

use super::access::Access;
use super::dial::GIVE_UP;
use super::disk;
use super::layout::{defaults, folder_bytes};
use super::options::AgentOptions;
use super::tools::Tool;
use super::trouble::Trouble;
use super::words::{self, Ask, End, Greeting, PIECE_BYTES, Stream, VERSION, Word};
use crate::link::notice_dead_hosts;
use crate::seldom::Seldom;
use crate::tls::{Identity, Keyring, Kind};
use backstay_model::{ClusterName, InstanceName};
use sha2::{Digest, Sha256};
use socket2::SockRef;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many may be connected at a time.
const CALLS_MAX: usize = 16;
/// How long the first words may take.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// After how long without anything to send it says that it is still at work.
const PATIENCE_EVERY: Duration = Duration::from_secs(5);
/// How long one piece may take to be taken: towards its end a backup holds commits up for as long as it cannot write.
const TAKING_MAX: Duration = Duration::from_secs(3);
/// The pause after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What there is to give, and to whom.
#[derive(Debug)]
pub(super) struct Donor {
    pub(super) options: Arc<AgentOptions>,
    pub(super) access: Access,
    pub(super) cluster: ClusterName,
    /// The service's other instances.
    pub(super) others: Vec<InstanceName>,
    pub(super) keyring: Option<Arc<Keyring>>,
    /// One copy at a time.
    pub(super) turn: Semaphore,
    pub(super) complaints: Seldom,
}

/// Accepts callers for ever.
pub(super) async fn listen(listener: TcpListener, donor: Arc<Donor>) {
    let mut calls = JoinSet::new();
    loop {
        while calls.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if calls.len() < CALLS_MAX => {
                calls.spawn(Arc::clone(&donor).serve(stream));
            }
            Ok(_) => {
                donor.complaints.say(|| tracing::warn!("a caller was refused: {CALLS_MAX} are connected"));
            }
            Err(error) => {
                donor.complaints.say(|| tracing::warn!("no call of an agent can be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Why a call ended early.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Trouble(#[from] Trouble),
    #[error("the connection ended: {0}")]
    Lost(#[from] io::Error),
}

impl Donor {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let caller = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        let met = timeout(HELLO_PATIENCE, self.meet(stream)).await;
        let (mut stream, ask) = match met {
            Ok(Ok(met)) => met,
            Ok(Err(why)) => {
                return self.complaints.say(|| tracing::warn!(%caller, "a caller was refused: {why}"));
            }
            Err(_) => return self.complaints.say(|| tracing::warn!(%caller, "a caller said nothing")),
        };
        let Err(why) = self.give(&mut stream, &ask).await else {
            return;
        };
        tracing::warn!("the agent of {} was not served to the end: {why}", ask.from);
        if !matches!(why, Unserved::Lost(_)) {
            let _ = timeout(HELLO_PATIENCE, words::say(&mut stream, &Word::Sorry(why.to_string()))).await;
        }
    }

    /// Hears who calls: only agents of this service's instances are given anything.
    async fn meet(&self, stream: TcpStream) -> Result<(Stream, Ask), String> {
        let broken = |error: io::Error| error.to_string();
        stream.set_nodelay(true).map_err(broken)?;
        notice_dead_hosts(&SockRef::from(&stream), GIVE_UP).map_err(broken)?;
        let (mut stream, identity): (Stream, _) = match &self.keyring {
            None => (Box::new(stream), None),
            Some(keyring) => {
                let (stream, identity) =
                    keyring.accept(stream, Kind::Node).await.map_err(|error| error.to_string())?;
                (Box::new(stream), Some(identity))
            }
        };
        let ask = words::hear_ask(&mut stream).await.map_err(broken)?;
        if let Some(refusal) = self.refusal(&ask, identity.as_ref()) {
            let _ = words::say(&mut stream, &Word::Sorry(refusal.clone())).await;
            return Err(refusal);
        }
        Ok((stream, ask))
    }

    fn refusal(&self, ask: &Ask, identity: Option<&Identity>) -> Option<String> {
        let me = &self.options.instance;
        let proven =
            |identity: &Identity| matches!(identity, Identity::Agent { name, .. } if *name == ask.from);
        if !ask.is_agents() {
            Some("the caller is no agent".to_owned())
        } else if ask.version != VERSION {
            Some(format!(
                "agents of versions {} and {VERSION} do not understand each other: upgrade both",
                ask.version
            ))
        } else if ask.cluster != self.cluster {
            Some(format!("this is cluster {}: correct the address in one of the files", self.cluster))
        } else if ask.of != *me {
            Some(format!("this is the agent of {me}, not of {}: correct the addresses in the file", ask.of))
        } else if !self.others.contains(&ask.from) {
            Some(format!("the file does not list {} beside {me}: give all hosts the same file", ask.from))
        } else if identity.is_some_and(|identity| !proven(identity)) {
            Some(format!("the certificate is not that of the agent of {}: give each agent its own", ask.from))
        } else {
            None
        }
    }

    async fn give(&self, stream: &mut Stream, ask: &Ask) -> Result<(), Unserved> {
        let work = self.options.rescue.join(format!("giving-{}", self.options.instance));
        disk::own_folder(&work)?;
        let greeting = tokio::select! {
            greeting = self.greeting(&work) => greeting?,
            lost = gone(stream) => return Err(lost.into()),
        };
        words::say(stream, &Word::Greeting(greeting)).await?;
        if !ask.copy {
            return Ok(());
        }
        let Ok(_turn) = self.turn.try_acquire() else {
            let me = &self.options.instance;
            return Err(Unserved::Refused(format!(
                "{me} is being copied by another one: wait until that is done"
            )));
        };
        tracing::info!("{} is given a copy", ask.from);
        self.send_copy(stream, &work).await?;
        tracing::info!("{} was given a copy", ask.from);
        Ok(())
    }

    async fn greeting(&self, work: &Path) -> Result<Greeting, Trouble> {
        let data = self.options.data.clone();
        let weighed = tokio::task::spawn_blocking(move || folder_bytes(&data)).await;
        let data_bytes = weighed
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(Trouble::file("cannot be read", &self.options.data))?;
        let statement = "SELECT VERSION(), @@global.gtid_binlog_state, @@global.gtid_slave_pos";
        let answer = self.access.ask(statement, work).await?;
        let mut parts = answer.split('\t').map(str::to_owned);
        Ok(Greeting {
            data_bytes,
            version: parts.next().unwrap_or_default(),
            binlog_state: parts.next().unwrap_or_default(),
            slave_position: parts.next().unwrap_or_default(),
        })
    }

    async fn send_copy(&self, stream: &mut Stream, work: &Path) -> Result<(), Unserved> {
        let mut tool = self.backup(work)?;
        let mut child = tool.start()?;
        let (mut hearing, mut saying) = tokio::io::split(stream);
        let sent = match child.stdout.take() {
            None => Err(io::Error::other("mariadb-backup has no output").into()),
            Some(mut output) => tokio::select! {
                sent = pump(&mut output, &mut saying) => sent.map_err(Unserved::from),
                lost = gone(&mut hearing) => Err(lost.into()),
            },
        };
        if sent.is_err() {
            // Whoever waits for it is gone.
            let _ = child.kill().await;
        }
        let (bytes, sha256) = sent?;
        tool.ended(child.wait().await)?;
        let binlog_state = self.access.ask("SELECT @@global.gtid_binlog_state", work).await?;
        words::say(&mut saying, &Word::End(End { bytes, sha256, binlog_state })).await?;
        Ok(())
    }

    fn backup(&self, work: &Path) -> Result<Tool, Trouble> {
        let target: PathBuf = work.join("backup");
        disk::remove(&target)?;
        disk::own_folder(&target)?;
        let mut tool = Tool::new("mariadb-backup", work);
        tool.command.args(defaults(&self.options)).args(["--backup", "--stream=xbstream"]);
        tool.command.arg(format!("--datadir={}", self.options.data.display()));
        tool.command.arg(format!("--target-dir={}", target.display()));
        self.access.give(&mut tool.command)?;
        tool.command.stdout(Stdio::piped());
        Ok(tool)
    }
}

/// Sends what a program writes, to its end; how much that was, and its digest.
async fn pump(
    output: &mut tokio::process::ChildStdout,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<(u64, [u8; 32])> {
    let (mut bytes, mut digest) = (0, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match timeout(PATIENCE_EVERY, output.read(&mut piece)).await {
            Err(_) => in_time(words::say(stream, &Word::Patience)).await?,
            Ok(read) => match read? {
                0 => return Ok((bytes, digest.finalize().into())),
                count => {
                    digest.update(&piece[..count]);
                    bytes += count as u64;
                    in_time(words::say_piece(stream, &piece[..count])).await?;
                }
            },
        }
    }
}

/// Ends what the other side does not take.
async fn in_time(saying: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(TAKING_MAX, saying).await.unwrap_or_else(|_| {
        let limit = TAKING_MAX.as_secs();
        let why = format!("a piece was not taken within {limit} s, and commits must not wait for that");
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })
}

/// Waits until the other side ends the connection; it has nothing more to say.
async fn gone(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Error {
    match stream.read_u8().await {
        Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "it went on before it was answered"),
        Err(error) => error,
    }
}
