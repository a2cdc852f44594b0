//! Where the instance keeps what: its own settings say so, read by its own program without starting it.

use super::options::AgentOptions;
use super::tools::Tool;
use super::trouble::Trouble;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The program only reads its settings.
const HELP_LIMIT: Duration = Duration::from_secs(30);

/// Where the instance keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Its data folder.
    pub(super) data: PathBuf,
    /// The folder of its binary log, and how the files in it begin.
    pub(super) logs: PathBuf,
    pub(super) log_name: String,
    /// Its program's version.
    pub(super) version: String,
    /// Data that lies outside of the data folder, which cannot be replaced with it.
    pub(super) elsewhere: Option<PathBuf>,
}

impl Layout {
    /// Asks the program.
    pub(super) async fn find(options: &AgentOptions, work: &Path) -> Result<Self, Trouble> {
        let (program, arguments) = program(options)?;
        let mut tool = Tool::new(program, work);
        tool.command.args(arguments).args(["--verbose", "--help"]);
        let help = tokio::time::timeout(HELP_LIMIT, tool.output()).await;
        let help = help.map_err(|_| Trouble::Slow { program: program.to_owned(), limit: HELP_LIMIT })??;
        Self::read(&help, &options.data)
    }

    fn read(help: &str, data: &Path) -> Result<Self, Trouble> {
        let value = |name: &str| {
            let line = help.lines().rfind(|line| line.split_whitespace().next() == Some(name))?;
            Some(line[name.len()..].trim())
                .filter(|value| !value.is_empty() && !value.starts_with("(No default"))
        };
        let said = value("datadir").map(PathBuf::from).unwrap_or_default();
        let same = |a: &Path, b: &Path| a.components().eq(b.components());
        if !same(&said, data) && fs::canonicalize(&said).ok() != fs::canonicalize(data).ok() {
            return Err(Trouble::Impossible(format!(
                "the server's settings name the data folder {}, and the agent was told {}: correct --data, or name the \
                 settings with --server",
                said.display(),
                data.display()
            )));
        }
        let Some(log) = value("log-bin").filter(|log| *log != "0").map(|log| plain(&data.join(log))) else {
            return Err(Trouble::Impossible(
                "the server's settings name no binary log: write log_bin=binlog, or name the settings with --server"
                    .to_owned(),
            ));
        };
        let folders = [
            "innodb-data-home-dir",
            "innodb-log-group-home-dir",
            "innodb-undo-directory",
            "aria-log-dir-path",
        ];
        let elsewhere = folders.iter().filter_map(|name| value(name)).map(|folder| plain(&data.join(folder)));
        Ok(Self {
            logs: log.parent().unwrap_or(data).to_owned(),
            // The server ignores an ending.
            log_name: log.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            version: value("version").unwrap_or_default().to_owned(),
            elsewhere: elsewhere.into_iter().find(|folder| !folder.starts_with(data)),
            data: data.to_owned(),
        })
    }

    /// The files of the binary log, the oldest first.
    pub(super) fn log_files(&self) -> Result<Vec<PathBuf>, Trouble> {
        let mut files = Vec::new();
        let folder = || Trouble::file("cannot be listed", &self.logs);
        for entry in fs::read_dir(&self.logs).map_err(folder())? {
            let name = entry.map_err(folder())?.file_name();
            let number = name.to_str().and_then(|name| self.number(name));
            files.extend(number.map(|number| (number, self.logs.join(name))));
        }
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// Whether the binary log lies outside of the data folder.
    pub(super) fn logs_apart(&self) -> bool {
        !self.logs.starts_with(&self.data)
    }

    fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(&self.log_name)?.strip_prefix('.')?.parse().ok()
    }

    /// `major.minor` of a version.
    pub(super) fn series(version: &str) -> String {
        version.split('.').take(2).collect::<Vec<_>>().join(".")
    }
}

/// Without steps up.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// The server's program and its first arguments.
pub(super) fn program(options: &AgentOptions) -> Result<(&str, &[String]), Trouble> {
    let (program, arguments) = options
        .server
        .split_first()
        .ok_or_else(|| Trouble::Impossible("no server's program is named: write --server".to_owned()))?;
    Ok((program, arguments))
}

/// Which of the server's arguments its other programs take, too.
pub(super) fn defaults(options: &AgentOptions) -> impl Iterator<Item = &String> {
    options.server.iter().skip(1).filter(|argument| argument.starts_with("--defaults"))
}

/// How many bytes a folder holds.
pub(super) fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // What is removed in between weighs nothing.
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        bytes += if found.is_dir() { folder_bytes(&path)? } else { found.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "mariadbd  Ver 10.11\n  --log-bin[=name]    Log update queries in binary format.\nVariables \
                        (--variable-name=value)\ndatadir      /data/mysql/\nlog-bin     LOG\ninnodb-undo-directory   \
                        UNDO\nversion    10.11.19-MariaDB-log\n";

    fn read(log: &str, undo: &str) -> Result<Layout, Trouble> {
        Layout::read(&HELP.replace("LOG", log).replace("UNDO", undo), Path::new("/data/mysql"))
    }

    #[test]
    fn settings_say_where_the_log_and_the_data_are() {
        let layout = read("binlog", "(No default value)").unwrap();
        assert_eq!((layout.logs.to_str(), layout.log_name.as_str()), (Some("/data/mysql"), "binlog"));
        assert!(!layout.logs_apart() && layout.elsewhere.is_none());
        assert_eq!(Layout::series(&layout.version), "10.11");
        let apart = read("/var/log/mysql/mysql-bin.log", "/undo").unwrap();
        assert_eq!((apart.logs.to_str(), apart.log_name.as_str()), (Some("/var/log/mysql"), "mysql-bin"));
        assert!(apart.logs_apart() && apart.elsewhere.is_some());
        assert!(read("../logs/binlog", "").unwrap().logs_apart());
        assert_eq!(apart.number("mysql-bin.000012"), Some(12));
        assert_eq!((apart.number("mysql-bin.index"), apart.number("mysql-bin-2.000001")), (None, None));
    }

    #[test]
    fn another_folder_and_no_log_are_told() {
        let other = Layout::read(HELP, Path::new("/var/lib/mysql")).unwrap_err().to_string();
        assert!(other.contains("--data"), "{other}");
        let none = read("(No default value)", "").unwrap_err().to_string();
        assert!(none.contains("log_bin=binlog"), "{none}");
    }
}
