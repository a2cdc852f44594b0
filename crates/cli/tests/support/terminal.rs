//! A command on a real terminal, by way of `script`, which gives it one.

use super::{backstay, group};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

/// A command, what it has shown so far, and its keys.
pub(crate) struct Terminal {
    process: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Runs `backstay` on a terminal of 100 columns and 40 rows.
    pub(crate) fn run(temporary: &Path, words: &[&str]) -> Self {
        let as_script = backstay(temporary);
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!(
            "stty cols 100 rows 40; exec '{}' {}",
            as_script.get_program().to_string_lossy(),
            quoted.join(" ")
        );
        let mut command = std::process::Command::new("script");
        for (name, value) in as_script.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { process, keys, shown }
    }

    /// Everything that was ever shown, without the sequences that move and colour.
    pub(crate) fn shown(&self) -> String {
        let raw = self.raw();
        let mut parts = raw.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |end| end + 1);
            text + &part[end..]
        })
    }

    /// The same as the terminal got it.
    pub(crate) fn raw(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub(crate) fn await_text(&self, text: &str) {
        group::until(text, || self.shown().contains(text).then_some(()));
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until it ends; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        group::until("its end", || self.process.try_wait().unwrap()).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It is ours and has no state that anybody needs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
