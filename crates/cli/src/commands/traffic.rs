//! `backstay traffic`: what goes through the gateways of this machine, as they say themselves.

use crate::arguments::Traffic;
use crate::failure::{FAILED, Failure, UNREACHABLE};
use crate::show;
use backstay_lab::Lab;
use backstay_model::{GatewayTraffic, SlowCommand, hint};
use backstay_server::{CONTROL_SUFFIX, control_folders};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How long a gateway may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How far the two readings are apart that rates are made of.
const BETWEEN: Duration = Duration::from_secs(1);
/// Longer answers are none of a gateway's.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A gateway that answers.
struct Line {
    name: String,
    stream: BufReader<UnixStream>,
}

/// What one gateway remembers.
#[derive(Debug, Serialize)]
pub(crate) struct SlowCommands {
    pub(crate) gateway: String,
    pub(crate) commands: Vec<SlowCommand>,
}

pub(super) fn traffic(arguments: &Traffic) -> Result<(), Failure> {
    let mut lines = lines(arguments)?;
    if arguments.slow {
        let mut all = Vec::new();
        for line in &mut lines {
            all.push(SlowCommands { gateway: line.name.clone(), commands: line.ask("\"slow\"")? });
        }
        return arguments.output.show(&all, |all, paint| show::slow_commands(all, paint));
    }
    let earlier = if arguments.total { Vec::new() } else { read(&mut lines)? };
    if !arguments.total {
        sleep(BETWEEN);
    }
    let later = read(&mut lines)?;
    let readings: Vec<_> = later
        .iter()
        .enumerate()
        .map(|(at, traffic)| show::GatewayReading::of(traffic, earlier.get(at)))
        .collect();
    arguments.output.show(&readings, |readings, paint| show::traffic(readings, paint))
}

fn read(lines: &mut [Line]) -> Result<Vec<GatewayTraffic>, Failure> {
    lines.iter_mut().map(|line| line.ask("\"stats\"")).collect()
}

/// The gateways that were asked for and answer; never none.
fn lines(arguments: &Traffic) -> Result<Vec<Line>, Failure> {
    let folders = arguments.control.clone().map_or_else(usual_folders, |folder| vec![folder]);
    let mut lines: Vec<Line> = Vec::new();
    let (mut names, mut silent) = (Vec::new(), Vec::new());
    for (name, path) in folders.iter().flat_map(|folder| sockets(folder)) {
        names.push(name.clone());
        if arguments.gateway.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        match connect(&path) {
            Ok(stream) => lines.push(Line { name, stream: BufReader::new(stream) }),
            Err(error) => silent.push(format!("{}: {error}", path.display())),
        }
    }
    if !lines.is_empty() {
        return Ok(lines);
    }
    let places: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let what = match &arguments.gateway {
        Some(name) => format!("no gateway called '{name}' answers on this machine"),
        None => "no gateway answers on this machine".to_owned(),
    };
    let why = match (&arguments.gateway, silent.is_empty()) {
        (_, false) => silent.join("; "),
        (Some(name), true) if !names.is_empty() => hint(name, names.iter().map(String::as_str)),
        _ => format!("there is no control socket of a gateway in {}", places.join(", ")),
    };
    Err(Failure::new(
        UNREACHABLE,
        what,
        why,
        "start one with `backstay gateway`, or name the folder that it was given with --control DIR",
    ))
}

/// Where gateways have their control sockets by default, and those of the lab that was started last.
fn usual_folders() -> Vec<PathBuf> {
    let lab = Lab::open_latest().ok().map(|lab| lab.dir().to_owned());
    control_folders().into_iter().chain(lab).collect()
}

/// Names of gateways and their sockets.
fn sockets(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let socket = |entry: io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.strip_suffix(CONTROL_SUFFIX)?.to_owned();
        Some((name, path))
    };
    let mut found: Vec<_> = entries.filter_map(socket).collect();
    found.sort();
    found
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Line {
    fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, Failure> {
        let failed = |name: &str, why: String| {
            Failure::new(
                FAILED,
                format!("gateway {name} does not say what it was asked"),
                why,
                "ask again; if that does not help, look at its log, and whether it is as new as this program",
            )
        };
        let mut asked = || {
            let mut text = String::new();
            writeln!(self.stream.get_mut(), "{request}")?;
            (&mut self.stream).take(ANSWER_BYTES_MAX).read_line(&mut text).map(|_| text)
        };
        let text = asked().map_err(|error| failed(&self.name, error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(&self.name, error.to_string()))
    }
}
