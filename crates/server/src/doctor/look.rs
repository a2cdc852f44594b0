//! What there is at one instance: nothing but questions, each with a deadline of its own, and what was not allowed to be
//! asked is left out.

use super::grants::Grants;
use crate::link::line::{Line, LineError};
use crate::secret::Login;
use backstay_model::{Fault, InstanceSpec, MariaDbSpec};
use backstay_wire::mariadb::{Row, Settings, Table};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything that is set, what it is, and where that came from.
const VARIABLES: &str = "SELECT VARIABLE_NAME, GLOBAL_VALUE, GLOBAL_VALUE_ORIGIN \
     FROM information_schema.SYSTEM_VARIABLES WHERE GLOBAL_VALUE IS NOT NULL AND VARIABLE_NAME IN \
     ('SERVER_ID', 'READ_ONLY', 'LOG_BIN', 'LOG_SLAVE_UPDATES', 'GTID_STRICT_MODE', 'GTID_DOMAIN_ID', 'BINLOG_FORMAT', \
     'BINLOG_ROW_IMAGE', 'SYNC_BINLOG', 'INNODB_FLUSH_LOG_AT_TRX_COMMIT', 'SLAVE_NET_TIMEOUT', 'SLAVE_PARALLEL_MODE', \
     'SLAVE_PARALLEL_THREADS', 'RPL_SEMI_SYNC_SLAVE_KILL_CONN_TIMEOUT', 'SKIP_NAME_RESOLVE', 'MAX_CONNECT_ERRORS', \
     'MAX_CONNECTIONS', 'EVENT_SCHEDULER', 'WSREP_ON', 'REPLICATE_DO_DB', 'REPLICATE_IGNORE_DB', 'REPLICATE_DO_TABLE', \
     'REPLICATE_IGNORE_TABLE', 'REPLICATE_WILD_DO_TABLE', 'REPLICATE_WILD_IGNORE_TABLE', 'REPLICATE_REWRITE_DB', \
     'SLAVE_SKIP_ERRORS', 'HOSTNAME', 'PORT', 'DATADIR')";
const SELF: &str = "SELECT VERSION() AS version, CURRENT_USER() AS account, @@global.gtid_binlog_state AS binlog_state, \
     @@global.gtid_slave_pos AS slave_pos, UNIX_TIMESTAMP(NOW(6)) AS clock";
/// Accounts that write where `read_only` is set: SUPER is bit 15 of their rights, READ_ONLY ADMIN bit 33.
pub(crate) const POWERFUL: &str = "SELECT CONCAT(User, '@', Host) AS account FROM mysql.global_priv \
     WHERE User NOT IN ('root', 'mysql', 'mariadb.sys') \
     AND JSON_VALUE(Priv, '$.access') & (1 << 15 | 1 << 33) \
     AND NOT COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) ORDER BY 1 LIMIT 200";
const UNFIT_FROM: &str = "FROM information_schema.TABLES t LEFT JOIN information_schema.STATISTICS s \
     ON s.TABLE_SCHEMA = t.TABLE_SCHEMA AND s.TABLE_NAME = t.TABLE_NAME AND s.INDEX_NAME = 'PRIMARY' \
     AND s.SEQ_IN_INDEX = 1 WHERE t.TABLE_TYPE = 'BASE TABLE' \
     AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
     AND (s.INDEX_NAME IS NULL OR t.ENGINE <> 'InnoDB')";

/// The statement that lists the tables which replicate badly.
pub(crate) fn unfit_tables() -> String {
    format!("SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.ENGINE, s.INDEX_NAME AS primary_key {UNFIT_FROM}")
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) value: String,
    /// `CONFIG`, `COMMAND-LINE`, `SQL`, `COMPILE-TIME`, `AUTO`.
    pub(crate) origin: String,
}

/// An instance as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) spec: InstanceSpec,
    pub(crate) version: String,
    /// Who was let in, as `CURRENT_USER()` says.
    pub(crate) account: String,
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) binlog_state: String,
    /// What it applied of others, by its own word.
    pub(crate) slave_pos: String,
    /// Its channels; `None`: that may not be asked.
    pub(crate) links: Option<Vec<BTreeMap<String, String>>>,
    pub(crate) grants: Grants,
    /// What the replicas' user may do here, or why it is not let in from here; `None`: it is Backstay's own.
    pub(crate) replicator: Option<Result<Grants, LineError>>,
    /// Accounts that write where `read_only` is set; `None`: that may not be asked.
    pub(crate) powerful: Option<Vec<String>>,
    /// How many tables replicate badly; `None`: they are not all to be seen.
    pub(crate) unfit_tables: Option<u64>,
    /// By how many seconds its clock is ahead of this machine's, and how wrong that may be.
    pub(crate) clock: Option<(f64, f64)>,
}

impl Seen {
    pub(crate) fn value(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", |variable| &variable.value)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        matches!(self.value(name), "1" | "ON")
    }

    /// Whether it follows somebody, or was told to.
    pub(crate) fn is_replica(&self) -> bool {
        self.links.as_ref().is_some_and(|links| !links.is_empty())
    }

    /// The first number of its version.
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn role(&self) -> &'static str {
        match (self.is_replica(), self.is_on("read_only")) {
            (true, _) => "replica",
            (false, false) => "primary",
            (false, true) => "closed, follows nobody",
        }
    }
}

/// Looks at one instance as `login`.
pub(crate) async fn look(
    instance: &InstanceSpec,
    login: &Login,
    spec: &MariaDbSpec,
) -> Result<Seen, LineError> {
    let settings = login.mariadb_settings(spec.clone());
    let mut line = Line::open(&instance.address, login.tls().cloned(), settings.clone()).await?;
    // The login's time is none of the clock's.
    line.ask("DO 1").await?;
    let before = now();
    let told = line.ask(SELF).await?;
    let after = now();
    let own = told.first().and_then(Table::only);
    let text = |name: &str| own.and_then(|row| row.get(name)).unwrap_or_default().to_owned();
    let clock = text("clock").parse::<f64>().ok();
    let clock = clock.map(|clock| (clock - f64::midpoint(before, after), (after - before) / 2.0));
    let variables = variables(&line.ask(VARIABLES).await?);
    let grants = grants(&mut line).await?;
    let links = allowed(line.ask("SHOW ALL SLAVES STATUS").await)?.map(|tables| links(&tables));
    let powerful = allowed(line.ask(POWERFUL).await)?;
    let powerful = powerful.map(|tables| column(&tables, "account"));
    let replicator = if settings.replication == settings.login {
        None
    } else {
        Some(replicator(instance, login, &settings).await)
    };
    let mut seen = Seen {
        spec: instance.clone(),
        version: text("version"),
        account: text("account"),
        variables,
        binlog_state: text("binlog_state"),
        slave_pos: text("slave_pos"),
        links,
        grants,
        replicator,
        powerful,
        unfit_tables: None,
        clock,
    };
    if seen.grants.has("SELECT", seen.major()) {
        // Last, for it may take long. Without an answer in time it is as if it had not been allowed.
        let count = format!("SET STATEMENT max_statement_time=5 FOR SELECT COUNT(*) AS unfit {UNFIT_FROM}");
        let told = line.ask(&count).await.ok();
        let row = told.as_ref().and_then(|tables| tables.first()).and_then(Table::only);
        seen.unfit_tables = row.and_then(|row| row.get("unfit")?.parse().ok());
    }
    Ok(seen)
}

/// What the replicas' user may do there.
async fn replicator(
    instance: &InstanceSpec,
    login: &Login,
    settings: &Settings,
) -> Result<Grants, LineError> {
    let settings = Settings { login: settings.replication.clone(), ..settings.clone() };
    let mut line = Line::open(&instance.address, login.tls().cloned(), settings).await?;
    grants(&mut line).await
}

/// The rights of whoever is at this connection.
pub(crate) async fn grants(line: &mut Line) -> Result<Grants, LineError> {
    let tables = line.ask("SHOW GRANTS").await?;
    let rows = tables.iter().flat_map(Table::rows);
    Ok(Grants::read(rows.filter_map(|row| row.first())))
}

/// Nothing where the right to ask is missing, or what is asked for is not there.
fn allowed<T>(answer: Result<T, LineError>) -> Result<Option<T>, LineError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(LineError::Answered(error)) if error.fault() == Fault::NoPermission || error.code == 1146 => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn variables(tables: &[Table]) -> BTreeMap<String, Variable> {
    let read = |row: Row<'_>| {
        let text = |name| row.get(name).unwrap_or_default().to_owned();
        let variable = Variable { value: text("GLOBAL_VALUE"), origin: text("GLOBAL_VALUE_ORIGIN") };
        (text("VARIABLE_NAME").to_lowercase(), variable)
    };
    tables.iter().flat_map(Table::rows).map(read).collect()
}

fn links(tables: &[Table]) -> Vec<BTreeMap<String, String>> {
    let read = |row: Row<'_>| {
        row.columns().map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned())).collect()
    };
    tables.iter().flat_map(Table::rows).map(read).collect()
}

pub(crate) fn column(tables: &[Table], name: &str) -> Vec<String> {
    tables.iter().flat_map(Table::rows).filter_map(|row| row.get(name).map(str::to_owned)).collect()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
