//! One blocking connection to a MariaDB port or Unix socket. Every call has a deadline; after anything but an answer of
//! the server the connection is closed, for a late answer would be taken for that of the next statement.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Row as RawRow, Value};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// What the client assumes of the server, so that it does not ask when it connects.
const PACKET_BYTES: usize = 16 * 1024 * 1024;
const IDLE_SECONDS: usize = 28_800;
const GOODBYE_LIMIT: Duration = Duration::from_millis(100);

/// How to reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its port.
    Tcp(SocketAddr),
    /// By its Unix socket.
    Socket(PathBuf),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password; empty: none.
    pub password: String,
    /// The database that its statements mean when they name none.
    pub database: Option<String>,
}

impl Account {
    /// The superuser of a lab's server.
    pub fn root() -> Self {
        Self::new("root", "")
    }

    /// Somebody.
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned(), database: None }
    }

    /// The same, in this database.
    #[must_use]
    pub fn in_database(mut self, database: &str) -> Self {
        self.database = Some(database.to_owned());
        self
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The server said no. The connection can be used again.
    #[error("error {code} ({state}): {message}")]
    Refused {
        /// Its number.
        code: u16,
        /// Its SQLSTATE.
        state: String,
        /// Its text.
        message: String,
    },
    /// The connection ended before there was an answer, or was not there: what libraries call 2002, 2006 or 2013.
    #[error("the connection is gone: {0}")]
    Gone(String),
    /// No answer in time. The connection was closed.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Deadline(Duration),
}

impl SqlError {
    /// The number of the server's error; 0: it did not say anything.
    pub fn code(&self) -> u16 {
        match self {
            SqlError::Refused { code, .. } => *code,
            SqlError::Gone(_) | SqlError::Deadline(_) => 0,
        }
    }
}

/// One row, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    names: Arc<[String]>,
    values: Vec<Option<String>>,
}

impl Row {
    /// The value of a column; `None`: NULL, or there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.names.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.at(index)
    }

    /// The value of a column by its place.
    pub fn at(&self, index: usize) -> Option<&str> {
        self.values.get(index)?.as_deref()
    }

    /// The columns' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// What the server answered: the rows of the first result, and how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows, if there are.
    pub rows: Vec<Row>,
    /// How many rows were changed.
    pub changed: u64,
    /// How many warnings there are.
    pub warnings: u16,
    /// The number of the row that was inserted, or 0.
    pub inserted_id: u64,
}

impl Answer {
    /// The first column of the first row.
    pub fn value(&self) -> Option<&str> {
        self.rows.first()?.at(0)
    }

    /// A column of the first row.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.rows.first()?.get(column)
    }
}

/// A connection. Dropped, it says goodbye and does not wait for an answer.
pub struct Sql {
    runtime: Runtime,
    link: Option<Conn>,
    limit: Duration,
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql").field("id", &self.id()).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Sql {
    /// Connects and logs in; `limit` holds for this and for each later statement.
    pub fn open(way: &Way, account: &Account, limit: Duration) -> Result<Self, SqlError> {
        let gone = |error: std::io::Error| SqlError::Gone(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(gone)?;
        let opened = within(&runtime, limit, Conn::new(options(way, account)))?;
        Ok(Self { link: Some(opened), runtime, limit })
    }

    /// Its number at the server: what `KILL` takes.
    pub fn id(&self) -> u32 {
        self.link.as_ref().map_or(0, Conn::id)
    }

    /// Changes how long a statement may take.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// One statement, or several with semicolons between them, of which the first error is returned.
    pub fn ask(&mut self, statement: &str) -> Result<Answer, SqlError> {
        let Some(mut link) = self.link.take() else {
            return Err(SqlError::Gone("it was closed before".to_owned()));
        };
        let answer = within(&self.runtime, self.limit, answer_to(&mut link, statement));
        // Not kept, it is closed here and now: dropped inside the runtime it would wait for the server in a task.
        if matches!(answer, Ok(_) | Err(SqlError::Refused { .. })) {
            self.link = Some(link);
        }
        answer
    }

    /// The first column of the first row of the answer.
    pub fn value(&mut self, statement: &str) -> Result<String, SqlError> {
        Ok(self.ask(statement)?.value().unwrap_or_default().to_owned())
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            // Without it the server writes a warning into its log.
            let _ = within(&self.runtime, GOODBYE_LIMIT, link.disconnect());
        }
    }
}

fn options(way: &Way, account: &Account) -> Opts {
    let options = OptsBuilder::default()
        .user(Some(&account.user))
        .pass((!account.password.is_empty()).then_some(&account.password))
        .db_name(account.database.as_ref())
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES))
        .wait_timeout(Some(IDLE_SECONDS));
    match way {
        Way::Tcp(address) => options.ip_or_hostname(address.ip().to_string()).tcp_port(address.port()).into(),
        Way::Socket(path) => options.socket(Some(path.display().to_string())).into(),
    }
}

fn within<T>(
    runtime: &Runtime,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, SqlError> {
    match runtime.block_on(async { timeout(limit, work).await }) {
        Ok(done) => done.map_err(told),
        Err(_) => Err(SqlError::Deadline(limit)),
    }
}

async fn answer_to(link: &mut Conn, statement: &str) -> Result<Answer, Error> {
    let mut result = link.query_iter(statement).await?;
    let rows = result.collect::<RawRow>().await?;
    // The rest of several statements, errors included.
    result.drop_result().await?;
    let names: Option<Arc<[String]>> = rows
        .first()
        .map(|row| row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect());
    let names = names.unwrap_or_default();
    let rows = rows.into_iter().map(|row| Row { names: Arc::clone(&names), values: texts(row) }).collect();
    Ok(Answer {
        rows,
        changed: link.affected_rows(),
        warnings: link.get_warnings(),
        inserted_id: link.last_insert_id().unwrap_or_default(),
    })
}

/// The text protocol carries text.
fn texts(row: RawRow) -> Vec<Option<String>> {
    let text = |value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(false)),
    };
    row.unwrap().into_iter().map(text).collect()
}

fn told(error: Error) -> SqlError {
    match error {
        Error::Server(error) => {
            SqlError::Refused { code: error.code, state: error.state, message: error.message }
        }
        other => SqlError::Gone(other.to_string()),
    }
}
