//! Where results go: to the standard output, as tables for people or as JSON for programs, in colours only where there
//! are eyes to see them. A reader that closes the pipe early ends nothing with an error.

use crate::failure::{FAILED, Failure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; fields are added, never changed.
    Json,
}

/// The choice of the format, on every command that shows something.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Output {
    /// How to show the result.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
}

impl Output {
    /// Shows `value`, in the table that `table` draws or as it stands.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        table: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table => print(&table(value, Paint::of_stdout())),
            Format::Json => print_json(value),
        }
    }
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    let text =
        text.map_err(|error| Failure::whole(FAILED, format!("the result cannot be shown as JSON: {error}")))?;
    print(&text)
}

/// Prints a text and ends its last line.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write_line(text).map(drop)
}

/// What became of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    /// Who read it has closed the pipe.
    NobodyReads,
}

/// As `print`, for a command that goes on as long as somebody reads.
pub(crate) fn write_line(text: &str) -> Result<Written, Failure> {
    let mut stdout = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        // Who closed the pipe has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::NobodyReads),
        Err(error) => Err(Failure::new(
            FAILED,
            "the result cannot be written",
            error,
            "look at where the output goes: a full disk or a closed terminal",
        )),
        Ok(()) => Ok(Written::Whole),
    }
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colours {
    /// On a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// What the command line says, once for the whole process.
static COLOURS: OnceLock<Colours> = OnceLock::new();

/// Sets when colours are used, in results and in errors. The first word stands.
pub(crate) fn choose_colours(colours: Colours) {
    // It is called once.
    let _ = COLOURS.set(colours);
    let in_errors = Paint::of_stderr() == Paint::Colours;
    // As miette's own, which knows nothing of the command line.
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(miette::MietteHandlerOpts::new().color(in_errors).build())
    }));
}

/// How many columns a line of the result may have: those of the terminal, or any number.
pub(crate) fn columns() -> usize {
    let columns = std::io::stdout().is_terminal().then(crossterm::terminal::size);
    columns.and_then(Result::ok).map_or(usize::MAX, |(columns, _)| usize::from(columns))
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Colours,
}

impl Paint {
    /// As the command line says; else colours on a terminal, unless `NO_COLOR` or a dumb terminal forbids them.
    pub(crate) fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// As `of_stdout`, for the standard error output.
    pub(crate) fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(is_terminal: bool) -> Self {
        match COLOURS.get() {
            Some(Colours::Always) => return Self::Colours,
            Some(Colours::Never) => return Self::Plain,
            _ => {}
        }
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if is_terminal && !forbidden && !dumb { Self::Colours } else { Self::Plain }
    }
}
