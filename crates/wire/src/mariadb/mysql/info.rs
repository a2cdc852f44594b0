//! What a MySQL says of itself, as `Identity` and `Info`. What cannot be compared is refused, with what is in the way.

use super::super::info::{WAIT_MS, is_on};
use super::super::results::{Row, Table};
use super::super::statements::Following;
use super::super::{Settings, Unfit};
use super::gtids::{Gtids, Intervals, Odd, uuid, writer_in};
use backstay_model::{Address, Durability, Fault, Identity, Info, ReplId, ReplOffset, Role, SqlState};

/// The first version with all the words that are used.
const OLDEST: (u32, u32, u32) = (8, 0, 26);

/// The version as people say it, unless it is none that is understood.
pub(in super::super) fn version(text: &str) -> Result<String, Fault> {
    if text.contains("MariaDB") {
        return Err(Fault::NotTheEngine);
    }
    let version = text.split('-').next().unwrap_or_default();
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).ok_or(Fault::NotTheEngine);
    let found = (number()?, number()?, number()?);
    if found < OLDEST { Err(Fault::Unsuitable) } else { Ok(version.to_owned()) }
}

/// Who it is, if it is set up as it must be.
pub(in super::super) fn identity(tables: &[Table]) -> Result<Identity, Unfit> {
    let row = tables.first().and_then(Table::only).ok_or(Fault::NotTheEngine)?;
    let text = |name| row.get(name).ok_or(Fault::NotTheEngine);
    for (name, wanted) in [
        ("gtid_mode", "ON"),
        ("enforce_gtid_consistency", "ON"),
        ("log_bin", "1"),
        ("log_replica_updates", "1"),
        ("binlog_format", "ROW"),
        ("binlog_order_commits", "1"),
        ("replica_preserve_commit_order", "1"),
        ("performance_schema", "1"),
    ] {
        let value = text(name)?;
        let is_set = value.eq_ignore_ascii_case(wanted) || (wanted == "1" && is_on(value));
        if !is_set {
            let wanted = if wanted == "1" { "ON" } else { wanted };
            let why = format!("{name} is '{}', and must be {wanted}", value.escape_debug());
            return Err(Unfit::saying(Fault::Unsuitable, why));
        }
    }
    if text("group_members")? != "0" {
        return Err(Unfit::saying(Fault::Unsuitable, "it is a member of a replication group"));
    }
    let server = uuid(text("server_uuid")?).ok_or(Fault::NotTheEngine)?;
    let executed = Intervals::read(text("gtid_executed")?).map_err(|odd| unfit("gtid_executed", odd))?;
    Ok(Identity {
        run_id: format!("{server}-{}", text("started")?).into(),
        version: version(text("version")?)?,
        // Empty or not is what it is asked for.
        keys: executed.whole().map_or(1, |executed| executed.count()),
        loading: false,
    })
}

/// What was received, applied or not: it is held all the same.
pub(super) fn received(executed: &str, received: &str) -> Result<Gtids, Unfit> {
    let read = |name, text: &str| Intervals::read(text).map_err(|odd| unfit(name, odd));
    let executed = read("gtid_executed", executed)?;
    let all = executed.and(read("Retrieved_Gtid_Set", received)?);
    all.whole().map_err(|odd| unfit("what it executed and received", odd))
}

fn unfit(name: &str, odd: Odd) -> Unfit {
    match odd {
        Odd::Garbage => Fault::NotTheEngine.into(),
        Odd::Tagged => Unfit::saying(Fault::Unsuitable, format!("{name} has transactions with tags")),
        Odd::Gap => Unfit::saying(Fault::Unsuitable, format!("{name} has a gap: transactions are missing")),
    }
}

/// Where it stands, and how it is set up to follow. `before`: what was said last on this connection.
pub(in super::super) fn replication(
    settings: &Settings,
    tables: &[Table],
    before: &Following,
) -> Result<(Info, Following), Unfit> {
    let majority = settings.spec.durability == Durability::Majority;
    let (Some(own), Some(links), Some(receiver)) = (tables.first(), tables.get(1), tables.get(2)) else {
        return Err(Fault::NotTheEngine.into());
    };
    let own = own.only().ok_or(Fault::NotTheEngine)?;
    let semi_sync = SemiSync::read(tables.get(3).filter(|_| majority));
    if majority && !semi_sync.installed {
        let why = "the plugins semisync_source and semisync_replica are not installed";
        return Err(Unfit::saying(Fault::Unsuitable, why));
    }
    let mut links = links.rows();
    let link = links.next();
    if links.len() > 0 {
        return Err(Unfit::saying(Fault::Unsuitable, "it replicates over several channels"));
    }
    let told = tables.get(if majority { 4 } else { 3 }).and_then(Table::only).and_then(Told::read);
    let executed = own.get("gtid_executed").ok_or(Fault::NotTheEngine)?;
    let retrieved = link.and_then(|link| link.get("Retrieved_Gtid_Set")).unwrap_or_default();
    let state = State {
        server: own.get("server_uuid").and_then(uuid).ok_or(Fault::NotTheEngine)?,
        read_only: is_on(own.get("read_only").ok_or(Fault::NotTheEngine)?),
        super_read_only: is_on(own.get("super_read_only").ok_or(Fault::NotTheEngine)?),
        held: received(executed, retrieved)?,
        told,
        semi_sync,
    };
    let Some(link) = link else {
        return Ok((state.primary(), Following::default()));
    };
    suits(link)?;
    let applied = Intervals::read(executed).and_then(Intervals::whole).ok();
    let receiver = receiver.only();
    let replica = Replica { link, receiver, applied, writer: state.last_writer(link, receiver, before) };
    let info = state.replica(&replica).ok_or(Fault::NotTheEngine)?;
    Ok((info, following(&state, replica)))
}

/// Whether it takes everything from whom it follows, by the transactions' own names.
fn suits(link: Row<'_>) -> Result<(), Unfit> {
    let is = |name, wanted: &str| link.get(name) == Some(wanted);
    let unfit = |why: &str| Err(Unfit::saying(Fault::Unsuitable, why));
    if !is("Channel_Name", "") {
        return unfit("it replicates over a channel with a name");
    }
    if !is("Auto_Position", "1") {
        return unfit("it replicates without SOURCE_AUTO_POSITION");
    }
    let filters = [
        "Replicate_Do_DB",
        "Replicate_Ignore_DB",
        "Replicate_Do_Table",
        "Replicate_Ignore_Table",
        "Replicate_Wild_Do_Table",
        "Replicate_Wild_Ignore_Table",
    ];
    if filters.iter().any(|name| link.get(name).is_some_and(|filter| !filter.is_empty())) {
        return unfit("it replicates through a filter, and does not hold everything");
    }
    Ok(())
}

/// What the last canary that was applied here says.
struct Told {
    writer: String,
    /// What others than the writer had written.
    base: Gtids,
}

impl Told {
    fn read(row: Row<'_>) -> Option<Self> {
        Some(Self { writer: uuid(row.get("writer")?)?, base: Gtids::read(row.get("base")?).ok()? })
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Default)]
struct SemiSync {
    installed: bool,
    acknowledges: bool,
    /// It does so at this moment.
    acks: bool,
    /// Its commits wait for somebody who does, for longer than anybody waits for them.
    guarded: bool,
    ackers: u64,
}

impl SemiSync {
    fn read(table: Option<&Table>) -> Self {
        let get = |name: &str| {
            let mut rows = table?.rows();
            rows.find(|row| row.get("name").is_some_and(|it| it.eq_ignore_ascii_case(name)))?.get("value")
        };
        let on = |name| get(name).is_some_and(is_on);
        let number = |name| get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        Self {
            installed: get("rpl_semi_sync_source_enabled").is_some()
                && get("rpl_semi_sync_replica_enabled").is_some(),
            acknowledges: on("rpl_semi_sync_replica_enabled"),
            acks: on("Rpl_semi_sync_replica_status"),
            guarded: on("Rpl_semi_sync_source_status")
                && on("rpl_semi_sync_source_wait_no_replica")
                && get("rpl_semi_sync_source_wait_point") == Some("AFTER_SYNC")
                && number("rpl_semi_sync_source_wait_for_replica_count") >= 1
                && number("rpl_semi_sync_source_timeout") >= WAIT_MS,
            ackers: number("Rpl_semi_sync_source_clients"),
        }
    }
}

/// What it says of itself.
struct State {
    server: String,
    read_only: bool,
    super_read_only: bool,
    /// Executed or received.
    held: Gtids,
    told: Option<Told>,
    semi_sync: SemiSync,
}

struct Replica<'a> {
    link: Row<'a>,
    receiver: Option<Row<'a>>,
    /// `None`: out of order, for a moment.
    applied: Option<Gtids>,
    writer: String,
}

impl State {
    /// A primary writes under its own name from its promotion on.
    fn primary(&self) -> Info {
        Info {
            role: Role::Primary { replicas: 0 },
            replid: self.held.history(&self.server),
            previous: self.before(),
            offset: ReplOffset(self.held.count()),
            closed: self.read_only || self.super_read_only,
            sql: SqlState {
                guarded: self.semi_sync.guarded,
                ackers: self.semi_sync.ackers,
                ..SqlState::default()
            },
        }
    }

    /// The history that it continues, until it has written itself. Who wrote in that is told by the last canary; without
    /// one, it is clear only if there is one other writer.
    fn before(&self) -> Option<(ReplId, ReplOffset)> {
        let mut others = self.held.writers().filter(|writer| *writer != self.server);
        let only = others.next().filter(|_| others.next().is_none());
        let writer = self.told.as_ref().map_or(only, |told| Some(told.writer.as_str()));
        writer.filter(|it| *it != self.server && self.held.has(it)).map(|writer| self.held.place(writer))
    }

    /// Who wrote the last transaction that was received. A wrong guess is a true name, but one that nobody knows.
    fn last_writer(&self, link: Row<'_>, receiver: Option<Row<'_>>, before: &Following) -> String {
        let queued = receiver.and_then(|row| row.get("last_queued")).and_then(writer_in);
        let told = self.told.as_ref().map(|told| told.writer.clone());
        let source = link.get("Source_UUID").and_then(uuid);
        let only = self.held.writers().next().map(str::to_owned);
        let known = [queued, before.writer.clone(), told, source.clone(), only];
        let writer = known.into_iter().flatten().find(|writer| self.held.has(writer));
        writer.or(source).unwrap_or_else(|| self.server.clone())
    }

    fn replica(&self, replica: &Replica<'_>) -> Option<Info> {
        let link = replica.link;
        let receives = link.get("Replica_IO_Running")?;
        let (replid, offset) = self.held.place(&replica.writer);
        let of = Some(receives).filter(|it| *it != "No").and_then(|_| followed_address(link));
        // Of what is applied out of order nothing counts for the moment.
        let applied = replica.applied.as_ref().map_or(0, Gtids::count);
        let heartbeats = replica.receiver.and_then(|row| row.get("heartbeats"));
        Some(Info {
            role: Role::Replica {
                of: of.unwrap_or_else(Address::nowhere),
                link_up: receives == "Yes",
                syncing: false,
            },
            replid,
            previous: None,
            offset,
            closed: false,
            sql: SqlState {
                exposed: !self.super_read_only,
                stalled: link.get("Replica_SQL_Running")? != "Yes",
                diverged: is_refused(link) || self.is_errant(replica),
                unapplied: offset.0.saturating_sub(applied),
                acks: self.semi_sync.acks && receives == "Yes",
                guarded: false,
                ackers: 0,
                heartbeats: heartbeats.and_then(|it| it.parse().ok()).unwrap_or(0),
            },
        })
    }

    /// It holds what the writer that it follows did not have when it last said so. Replication goes on all the same: a
    /// MySQL only looks for what the replica lacks.
    fn is_errant(&self, replica: &Replica<'_>) -> bool {
        let followed = replica.link.get("Source_UUID").and_then(uuid);
        let told = self.told.as_ref().filter(|told| followed.as_ref() == Some(&told.writer));
        let (Some(told), Some(applied)) = (told, &replica.applied) else {
            return false;
        };
        replica.writer == told.writer && !applied.without(&told.writer).within(&told.base)
    }
}

/// The primary does not have what it is to go on with, or gives what stands there already otherwise. 13114 stands for 1236
/// of the other side.
fn is_refused(link: Row<'_>) -> bool {
    let is = |name, codes: &[&str]| link.get(name).is_some_and(|code| codes.contains(&code));
    is("Last_IO_Errno", &["1236", "13114"]) || is("Last_SQL_Errno", &["1032", "1062"])
}

fn following(state: &State, replica: Replica<'_>) -> Following {
    let link = replica.link;
    let is = |name, wanted: &str| link.get(name) == Some(wanted);
    let interval = replica.receiver.and_then(|row| row.get("heartbeat_interval"));
    // Denied, not allowed, TLS wanted, no way to log in: another login may be let in.
    let denied = ["1044", "1045", "1130", "1227", "1698", "2061", "3118", "3159"]
        .iter()
        .any(|code| is("Last_IO_Errno", code));
    Following {
        exactly: is("Connect_Retry", "1")
            && interval.and_then(|it| it.parse::<f64>().ok()).is_some_and(|it| (it - 0.5).abs() < 0.001)
            && !denied,
        of: followed_address(link),
        user: link.get("Source_User").unwrap_or_default().to_owned(),
        acknowledges: state.semi_sync.acknowledges,
        writer: Some(replica.writer),
    }
}

fn followed_address(link: Row<'_>) -> Option<Address> {
    let host = link.get("Source_Host").filter(|host| !host.is_empty())?;
    let port = link.get("Source_Port")?.parse().ok().filter(|port| *port != 0)?;
    Some(Address { host: host.into(), port })
}
