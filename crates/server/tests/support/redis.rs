//! A real Redis in protected boot, killed when it is dropped.

use super::free_port;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Redis {
    pub(crate) name: String,
    pub(crate) port: u16,
    folder: PathBuf,
    options: Vec<String>,
    child: Child,
}

impl Redis {
    /// `{port}` and `{folder}` in an option become this server's own.
    pub(crate) fn start(folder: &Path, name: &str, options: &[&str]) -> Self {
        let folder = folder.join(format!("redis-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = spawn(&folder, port, &options);
        Self { name: name.to_owned(), port, folder, options, child }
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.folder, self.port, &self.options);
    }

    /// One inline command's reply, first line only; none if it does not answer.
    pub(crate) fn ask(&self, command: &str) -> Option<String> {
        self.ask_all(&[command])?.pop()
    }

    /// The first line of each command's reply, all asked on one connection.
    pub(crate) fn ask_all(&self, commands: &[&str]) -> Option<Vec<String>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        for command in commands {
            reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).ok()?;
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            lines.push(line.trim_end().to_owned());
        }
        Some(lines)
    }
}

impl Redis {
    /// Ends every client's connection, as the user `root` on the Unix socket `local` in its folder.
    pub(crate) fn disconnect_clients(&self) {
        let mut stream = UnixStream::connect(self.folder.join("local")).unwrap();
        stream.write_all(b"AUTH root root\r\nCLIENT KILL TYPE normal\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        assert!(lines.next().unwrap().unwrap().starts_with(':'));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--repl-diskless-sync-delay", "0"])
        .args(["--repl-ping-replica-period", "1"])
        .args(["--replicaof", "127.0.0.1", "1"])
        .args(options.iter().map(|option| {
            option.replace("{port}", &port.to_string()).replace("{folder}", &folder.to_string_lossy())
        }))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
