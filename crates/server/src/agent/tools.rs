//! Programs of MariaDB's, run to their end: none outlives the one who waits for it, and what a failed one said last is part
//! of the error.

use super::trouble::Trouble;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of what a program said last is read.
const TAIL_BYTES: u64 = 4096;
/// The longest line that is told.
const LINE_BYTES_MAX: usize = 300;
/// Where only root's PATH leads.
const ROOTS_PATH: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// One run of a program.
pub(super) struct Tool {
    name: String,
    /// What to do where it is missing.
    remedy: String,
    pub(super) command: Command,
    /// Where it complains.
    log: PathBuf,
}

impl Tool {
    /// A program that complains into a file in `folder`.
    pub(super) fn new(program: &str, folder: &Path) -> Self {
        let path = Path::new(program);
        let found = path.is_absolute().then(|| path.to_owned()).or_else(|| find(program));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut command = Command::new(found.unwrap_or_else(|| path.to_owned()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        // What it says is read.
        command.env("LC_ALL", "C");
        let log = folder.join(format!("{name}.log"));
        Self { remedy: install(&name), name, command, log }
    }

    /// One that no package of MariaDB's brings.
    pub(super) fn with_remedy(mut self, remedy: String) -> Self {
        self.remedy = remedy;
        self
    }

    /// Starts it; its errors go to its log.
    pub(super) fn start(&mut self) -> Result<Child, Trouble> {
        let log = File::create(&self.log).map_err(Trouble::file("cannot be written", &self.log))?;
        self.command.stderr(log);
        self.command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                Trouble::Missing { program: self.name.clone(), remedy: self.remedy.clone() }
            }
            _ => Trouble::NotStarted { program: self.name.clone(), source },
        })
    }

    /// Runs it to its end, which must be a good one.
    pub(super) async fn run(&mut self) -> Result<(), Trouble> {
        let status = self.start()?.wait().await;
        self.ended(status)
    }

    /// As `run`, not for ever.
    pub(super) async fn run_within(&mut self, limit: Duration) -> Result<(), Trouble> {
        match timeout(limit, self.run()).await {
            Ok(ended) => ended,
            Err(_) => Err(Trouble::Slow { program: self.name.clone(), limit }),
        }
    }

    /// Runs it to its end, and returns what it wrote.
    pub(super) async fn output(&mut self) -> Result<String, Trouble> {
        self.command.stdout(Stdio::piped());
        let ended = self.start()?.wait_with_output().await;
        let (status, output) = match ended {
            Ok(output) => (Ok(output.status), output.stdout),
            Err(error) => (Err(error), Vec::new()),
        };
        self.ended(status)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// What its end means.
    pub(super) fn ended(&self, status: io::Result<ExitStatus>) -> Result<(), Trouble> {
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(Trouble::Tool { program: self.name.clone(), how: status.to_string(), said: self.said() })
            }
            Err(source) => Err(Trouble::NotStarted { program: self.name.clone(), source }),
        }
    }

    /// The last thing that it complained of.
    pub(super) fn said(&self) -> String {
        last_line(&self.log)
    }
}

/// Whether programs are there.
pub(super) fn all_installed(programs: &[&str]) -> Result<(), Trouble> {
    let missing = programs.iter().find(|program| find(program).is_none());
    missing.map_or(Ok(()), |program| {
        Err(Trouble::Missing { program: (*program).to_owned(), remedy: install(program) })
    })
}

/// The last line that says something, errors before anything else.
pub(super) fn last_line(log: &Path) -> String {
    let tail = tail(log).unwrap_or_default();
    let lines = || tail.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["error", "fail", "no space", "denied"].iter().any(|word| line.contains(word))
    };
    let line = lines().rfind(is_error).or_else(|| lines().next_back()).unwrap_or_default();
    line.chars().filter(|it| !it.is_control()).take(LINE_BYTES_MAX).collect()
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ROOTS_PATH.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What to install for a program, as Debian and Ubuntu call it.
fn install(program: &str) -> String {
    let package = match program {
        "mariadb-backup" | "mbstream" => "mariadb-backup",
        "mariadb" | "mariadb-binlog" => "mariadb-client",
        _ => "mariadb-server",
    };
    format!("install it (`apt-get install {package}`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let mut tool = Tool::new("mbstream-of-nobody", folder.path()).with_remedy(install("mbstream"));
        let trouble = tool.run().await.unwrap_err().to_string();
        assert!(trouble.contains("apt-get install mariadb-backup"), "{trouble}");
        assert!(all_installed(&["sh"]).is_ok());
        assert!(all_installed(&["sh", "no-such-program"]).is_err());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted_and_one_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut tool = Tool::new("sh", folder.path());
        tool.command.args(["-c", "echo 'No space left on device' >&2; echo bye >&2; exit 3"]);
        let trouble = tool.run().await.unwrap_err().to_string();
        assert!(trouble.starts_with("sh failed (exit status: 3): \"No space left on device\""), "{trouble}");
        let mut tool = Tool::new("sleep", folder.path());
        tool.command.arg("1000");
        let trouble = tool.run_within(Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Slow { .. }), "{trouble}");
    }
}
