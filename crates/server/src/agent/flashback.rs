//! Taking back what only this instance changed (`mariadb-binlog --flashback`): only where its log tells every row whole,
//! and nothing happened that the log does not tell. Anything else is for a copy.

use super::gtid::GtidState;
use super::layout::Layout;
use super::options::AgentOptions;
use super::private::Private;
use super::surplus::Surplus;
use super::tools::Tool;
use super::trouble::Trouble;
use std::fs::File;
use std::path::Path;

const UNDO: &str = "undo.sql";
/// More than this is copied: the program holds all of it in memory.
const BYTES_MAX: u64 = 128 * 1024 * 1024;

/// How it went. After anything but `Done` the instance is stopped.
pub(super) enum Outcome {
    /// It has the common history; the clause says why this was enough.
    Done(String),
    /// It cannot be done, and nothing was changed; why.
    Impossible(String),
    /// It was begun and did not come to its end: the data is neither what it was nor what it should be.
    Broken(Trouble),
}

/// Takes back what `known` does not have. The instance is stopped, and what is taken back was saved.
pub(super) async fn take_back(
    options: &AgentOptions,
    layout: &Layout,
    known: &GtidState,
    work: &Path,
) -> Result<Outcome, Trouble> {
    let private = Private::start(options, work).await?;
    // Its recovery may have cut off what nobody acknowledged.
    let surplus = Surplus::find(layout, known)?;
    if surplus.transactions() == 0 && !surplus.is_cut {
        private.end().await?;
        return Ok(Outcome::Done("its own recovery had cut off all that only it held".to_owned()));
    }
    if let Some(why) = obstacle(&private, &surplus).await? {
        private.end().await?;
        return Ok(Outcome::Impossible(why));
    }
    let undo = work.join(UNDO);
    print(&surplus, &undo, work).await?;
    let count = surplus.transactions();
    if let Err(trouble) = undo_all(&private, &undo, &surplus.before).await {
        drop(private);
        return Ok(Outcome::Broken(trouble));
    }
    if let Err(trouble) = private.end().await {
        return Ok(Outcome::Broken(trouble));
    }
    Ok(Outcome::Done(match count {
        1 => "all that only it held is 1 transaction of whole rows".to_owned(),
        count => format!("all that only it held are {count} transactions of whole rows"),
    }))
}

async fn undo_all(private: &Private<'_>, undo: &Path, before: &GtidState) -> Result<(), Trouble> {
    private.apply(undo).await?;
    private.set_history(before).await
}

/// Why it cannot be done, if so.
async fn obstacle(private: &Private<'_>, surplus: &Surplus) -> Result<Option<String>, Trouble> {
    if let Some(why) = surplus.lasting() {
        return Ok(Some(why.to_owned()));
    }
    if surplus.bytes() > BYTES_MAX {
        return Ok(Some(format!("there are {} MiB to take back", surplus.bytes() >> 20)));
    }
    let settings =
        private.ask("SELECT @@global.sync_binlog, @@global.innodb_flush_log_at_trx_commit").await?;
    if !["1\t1", "1\t3"].contains(&settings.as_str()) {
        let why = "after a crash its data need not be what its log says (sync_binlog and \
                   innodb_flush_log_at_trx_commit do not write each commit to the disk)";
        return Ok(Some(why.to_owned()));
    }
    // Rows that a foreign key removes or changes stand in no log.
    let parents = private
        .ask(
            "SELECT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION')",
        )
        .await?;
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let cascade = surplus.tables().into_iter().find(|(database, table)| {
        let parents = parents.lines().filter_map(|line| line.split_once('\t'));
        parents.into_iter().any(|(schema, parent)| same(schema, database) && same(parent, table))
    });
    Ok(cascade.map(|(database, table)| {
        format!("a foreign key on {database}.{table} changes rows of other tables, which no log tells")
    }))
}

async fn print(surplus: &Surplus, undo: &Path, work: &Path) -> Result<(), Trouble> {
    let Some((files, start, end)) = surplus.span() else {
        return Err(Trouble::Impossible("there is nothing to take back".to_owned()));
    };
    let out = File::create(undo).map_err(Trouble::file("cannot be written", undo))?;
    let mut tool = Tool::new("mariadb-binlog", work);
    tool.command.args(["--no-defaults", "--flashback", "--force-if-open"]);
    tool.command.arg(format!("--start-position={start}")).arg(format!("--stop-position={end}"));
    tool.command.args(files).stdout(out);
    tool.run().await
}
