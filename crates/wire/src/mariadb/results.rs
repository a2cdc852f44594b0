//! What a statement, or several in one packet, are answered with: rows as text, up to the end of the last result. It
//! keeps rows only if it is asked to, and never more than its limits.

use super::packet::Fields;
use super::{ConversationError, ServerError};

const COLUMNS_MAX: usize = 512;
/// More rows than Backstay ever asks for.
const ROWS_MAX: usize = 512;
/// The most that the rows of one answer may take together, names included.
const KEPT_BYTES_MAX: usize = 512 * 1024;
/// What a value costs beside its text.
const VALUE_BYTES: usize = 32;
/// There is another result behind this one (`SERVER_MORE_RESULTS_EXISTS`).
const MORE_RESULTS: u16 = 8;

/// One result: rows of named columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    names: &'a [String],
    values: &'a [Option<String>],
}

impl Table {
    /// Its rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { names: &self.names, values })
    }

    /// The only row; `None` if there are several or none.
    pub fn only(&self) -> Option<Row<'_>> {
        let mut rows = self.rows();
        rows.next().filter(|_| rows.len() == 0)
    }
}

impl<'a> Row<'a> {
    /// The text of a column; `None` for NULL, and if there is no such column.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let place = self.names.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        self.values.get(place)?.as_deref()
    }

    /// The text of the first column.
    pub fn first(&self) -> Option<&'a str> {
        self.values.first()?.as_deref()
    }

    /// Every column with its name.
    pub fn columns(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let values = self.values.iter().map(Option::as_deref);
        self.names.iter().map(String::as_str).zip(values)
    }
}

/// Packets to an answer.
#[derive(Debug, Default)]
pub(super) struct Results {
    at: At,
    kept_bytes: usize,
    tables: Vec<Table>,
}

/// What comes next.
#[derive(Debug, Default)]
enum At {
    /// The head of a result.
    #[default]
    Head,
    /// The description of this many columns, and the end of them.
    Columns { left: usize, count: usize, table: Table },
    /// A row, or the end of them.
    Rows { count: usize, table: Table },
}

/// How an answer ended: with its results, or at its first error.
pub(super) type Outcome = Result<Vec<Table>, ServerError>;

impl Results {
    /// Takes the next packet of the answer; `keeps`: its rows are wanted. `None`: there is more to come.
    pub(super) fn take(&mut self, payload: &[u8], keeps: bool) -> Result<Option<Outcome>, ConversationError> {
        if payload.first() == Some(&0xff) {
            let error = ServerError::read(payload).ok_or(ConversationError::Garbage)?;
            return Ok(Some(Err(error)));
        }
        let more = match std::mem::take(&mut self.at) {
            At::Head => self.head(payload),
            At::Columns { left, count, table } => self.column(payload, keeps, left, count, table),
            At::Rows { count, table } => self.row(payload, keeps, count, table),
        }?;
        Ok((!more).then(|| Ok(std::mem::take(&mut self.tables))))
    }

    fn head(&mut self, payload: &[u8]) -> Result<bool, ConversationError> {
        let mut fields = Fields(payload);
        if payload.first() == Some(&0) {
            let status = (|| {
                fields.byte()?;
                fields.number()?; // Rows that were changed.
                fields.number()?; // The last number that was given.
                fields.u16()
            })();
            return status.map(|status| status & MORE_RESULTS != 0).ok_or(ConversationError::Garbage);
        }
        // A number that makes no sense here also stands for "send me a file", which is never done.
        let count = fields.number().and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|_| fields.0.is_empty()).ok_or(ConversationError::Garbage)?;
        if count == 0 || count > COLUMNS_MAX {
            return Err(ConversationError::Garbage);
        }
        self.at = At::Columns { left: count, count, table: Table::default() };
        Ok(true)
    }

    fn column(
        &mut self,
        payload: &[u8],
        keeps: bool,
        left: usize,
        count: usize,
        mut table: Table,
    ) -> Result<bool, ConversationError> {
        if left == 0 {
            end(payload).ok_or(ConversationError::Garbage)?;
            self.at = At::Rows { count, table };
            return Ok(true);
        }
        let mut fields = Fields(payload);
        // Catalogue, schema, table, its own name; then the column's.
        let name = (0..5).map(|_| fields.counted()).last().flatten().ok_or(ConversationError::Garbage)?;
        if keeps {
            self.weigh(name.len())?;
            table.names.push(String::from_utf8_lossy(name).into_owned());
        }
        self.at = At::Columns { left: left - 1, count, table };
        Ok(true)
    }

    fn row(
        &mut self,
        payload: &[u8],
        keeps: bool,
        count: usize,
        mut table: Table,
    ) -> Result<bool, ConversationError> {
        if let Some(status) = end(payload) {
            if keeps {
                self.weigh(0)?;
                self.tables.push(table);
            }
            return Ok(status & MORE_RESULTS != 0);
        }
        if keeps {
            let mut fields = Fields(payload);
            let mut values = Vec::new();
            for _ in 0..count {
                let value = fields.value()?;
                self.weigh(value.map_or(0, <[u8]>::len))?;
                values.push(value.map(|text| String::from_utf8_lossy(text).into_owned()));
            }
            if table.rows.len() >= ROWS_MAX {
                return Err(ConversationError::TooLong);
            }
            table.rows.push(values);
        }
        self.at = At::Rows { count, table };
        Ok(true)
    }

    /// Counts what is kept. A byte that is no text becomes three.
    fn weigh(&mut self, bytes: usize) -> Result<(), ConversationError> {
        self.kept_bytes += bytes * 3 + VALUE_BYTES;
        if self.kept_bytes > KEPT_BYTES_MAX { Err(ConversationError::TooLong) } else { Ok(()) }
    }

    /// The results that came before an error.
    pub(super) fn into_tables(self) -> Vec<Table> {
        self.tables
    }

    /// At most how much is held.
    pub(super) const fn held_bytes(&self) -> usize {
        self.kept_bytes
    }
}

/// The end of columns or rows, and the status that it carries. A row that begins with the same byte is longer.
fn end(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields(payload);
    if payload.len() >= 9 || fields.byte() != Some(0xfe) {
        return None;
    }
    fields.u16()?; // Warnings.
    fields.u16()
}
