//! The look that all tables share, and the words for small things.

use super::fold;
use crate::output::Paint;
use backstay_model::{EngineKind, ServiceName, Unit};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use owo_colors::{OwoColorize, Style};

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    /// The most important of its kind.
    Strong,
    /// There to be overlooked.
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => Style::new().green(),
            Self::Doubtful => Style::new().yellow(),
            Self::Bad => Style::new().red().bold(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
        }
    }

    /// A cell of a table.
    pub(super) fn cell(self, text: impl ToString) -> Cell {
        let cell = Cell::new(text);
        match self {
            Self::Plain => cell,
            Self::Good => cell.fg(Color::Green),
            Self::Doubtful => cell.fg(Color::Yellow),
            Self::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
            Self::Strong => cell.add_attribute(Attribute::Bold),
            Self::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl Paint {
    /// A text in its tone.
    pub(super) fn text(self, tone: Tone, text: impl Into<String>) -> String {
        let text = text.into();
        match self {
            Self::Plain => text,
            Self::Colours => text.style(tone.style()).to_string(),
        }
    }

    /// A text that stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.text(Tone::Strong, text)
    }

    /// As `table`, without the first of the expendable columns as long as it is wider than that.
    pub(super) fn table_within(
        self,
        width: usize,
        columns: &[&str],
        rows: impl IntoIterator<Item = Vec<Cell>>,
        expendable: &[&str],
    ) -> String {
        let (mut columns, mut rows) = (columns.to_vec(), rows.into_iter().collect::<Vec<_>>());
        let mut expendable = expendable.iter();
        loop {
            let table = self.table(&columns, rows.clone());
            if table.lines().all(|line| fold::width(line) <= width) {
                return table;
            }
            let Some(needless) = expendable.next() else {
                return table;
            };
            if let Some(at) = columns.iter().position(|column| column == needless) {
                columns.remove(at);
                for row in &mut rows {
                    row.remove(at);
                }
            }
        }
    }

    /// A table with these columns and rows, indented, without frames.
    pub(super) fn table(self, columns: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|column| Tone::Faint.cell(column)));
        match self {
            Self::Plain => table.force_no_tty(),
            Self::Colours => table.enforce_styling(),
        };
        for row in rows {
            table.add_row(row);
        }
        let lines = table.lines().map(|line| format!(" {}\n", line.trim_end()));
        lines.collect()
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut amount = count as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// So much of what a service's offsets count, for people.
pub(crate) fn amount(count: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => bytes(count),
        Unit::Transactions => unit.count(count),
    }
}

/// The name of a service; what it runs is said if it is no Redis.
pub(super) fn service(name: &ServiceName, engine: EngineKind, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, name.as_str());
    match engine {
        EngineKind::Redis => name,
        EngineKind::MariaDb => format!("{name} (MariaDB)"),
        EngineKind::MySql => format!("{name} (MySQL)"),
    }
}

/// What is not known.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}
