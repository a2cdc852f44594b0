//! What a MariaDB says of itself, as `Identity` and `Info`.
//!
//! A history is named "domain-server": whoever wrote the last transaction. How far it is, is that transaction's number,
//! which grows by one from writer to writer.

use super::results::{Row, Table};
use super::statements::Following;
use backstay_model::{Address, Fault, Identity, Info, ReplId, ReplOffset, Role, SqlState};

/// The third part of what a version begins with for the sake of old clients.
const FALSE_VERSION: &str = "5.5.5-";
/// The numbers of the first version that is understood.
const OLDEST: (u32, u32) = (10, 6);

/// How long a commit waits at least: longer than anybody waits for it.
pub(super) const WAIT_MS: u64 = 3_600_000;

/// One transaction: the domain is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gtid {
    server: u32,
    number: u64,
}

/// The version as people say it, unless it is none that is understood.
pub(super) fn version(text: &str) -> Result<String, Fault> {
    let text = text.strip_prefix(FALSE_VERSION).unwrap_or(text);
    let (version, rest) = text.split_once('-').unwrap_or((text, ""));
    if !rest.contains("MariaDB") {
        return Err(Fault::NotTheEngine);
    }
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let first = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if first < OLDEST { Err(Fault::Unsuitable) } else { Ok(version.to_owned()) }
}

/// Who it is.
pub(super) fn identity(tables: &[Table]) -> Result<Identity, Fault> {
    let row = tables.first().and_then(Table::only).ok_or(Fault::NotTheEngine)?;
    let text = |name| row.get(name).ok_or(Fault::NotTheEngine);
    if row.get("wsrep_on").is_some_and(|on| on.eq_ignore_ascii_case("on") || on == "1") {
        return Err(Fault::Unsuitable);
    }
    let keys = positions(text("gtid_binlog_pos")?, None).map(|(_, gtid)| gtid.number).max();
    Ok(Identity {
        run_id: format!("{}-{}", text("server_id")?, text("started")?).into(),
        version: version(text("version")?)?,
        keys: keys.unwrap_or(0),
        loading: false,
    })
}

/// Where it stands, and how it is set up to follow.
pub(super) fn replication(tables: &[Table]) -> Result<(Info, Following), Fault> {
    let [own, links, acknowledgements @ ..] = tables else {
        return Err(Fault::NotTheEngine);
    };
    let own = own.only().ok_or(Fault::NotTheEngine)?;
    let status = |name: &str| {
        let mut rows = acknowledgements.first()?.rows();
        rows.find(|row| row.get("Variable_name").is_some_and(|it| it.eq_ignore_ascii_case(name)))?
            .get("Value")
    };
    let mut links = links.rows();
    let link = links.next();
    if links.len() > 0 {
        return Err(Fault::Unsuitable);
    }
    let own = Own::read(own, status).ok_or(Fault::NotTheEngine)?;
    let Some(link) = link else {
        return Ok((primary(&own), Following::default()));
    };
    if link.get("Connection_name") != Some("") || link.get("Using_Gtid") == Some("No") {
        return Err(Fault::Unsuitable);
    }
    let info = replica(&own, link).ok_or(Fault::NotTheEngine)?;
    Ok((info, following(&own, link)))
}

/// What it says of itself.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Own {
    server: u32,
    domain: u32,
    read_only: bool,
    acknowledges: bool,
    /// It does so at this moment.
    acks: bool,
    /// Its commits wait for somebody who does, for longer than anybody waits for them.
    guarded: bool,
    /// How many do.
    ackers: u64,
    /// The last transaction in its binary log.
    written: Option<Gtid>,
    applied: Option<Gtid>,
    /// The last transaction of each server in its binary log.
    writers: Vec<Gtid>,
}

impl Own {
    fn read<'a>(row: Row<'_>, status: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let domain = row.get("gtid_domain_id")?.parse().ok()?;
        let of_domain = |name: &str| Some(positions(row.get(name)?, Some(domain)).map(|(_, gtid)| gtid));
        let written = highest(of_domain("gtid_binlog_pos")?);
        Some(Self {
            server: row.get("server_id")?.parse().ok()?,
            domain,
            read_only: is_on(row.get("read_only")?),
            acknowledges: row.get("acknowledges").is_some_and(is_on),
            acks: status("Rpl_semi_sync_slave_status").is_some_and(is_on),
            guarded: status("Rpl_semi_sync_master_status").is_some_and(is_on)
                && row.get("wait_point").is_some_and(|point| point.eq_ignore_ascii_case("AFTER_SYNC"))
                && row.get("wait_timeout")?.parse::<u64>().is_ok_and(|timeout| timeout >= WAIT_MS)
                // Without it a commit that nobody is there to acknowledge is answered as if somebody had (seen).
                && row.get("waits_for_nobody").is_some_and(is_on),
            ackers: status("Rpl_semi_sync_master_clients").and_then(|it| it.parse().ok()).unwrap_or(0),
            written,
            applied: highest(of_domain("gtid_slave_pos")?.chain(written)),
            writers: of_domain("gtid_binlog_state")?.collect(),
        })
    }

    fn history(&self, server: u32) -> ReplId {
        format!("{}-{server}", self.domain).into()
    }

    fn named(&self, gtid: Gtid) -> (ReplId, ReplOffset) {
        (self.history(gtid.server), ReplOffset(gtid.number))
    }
}

fn primary(own: &Own) -> Info {
    let elsewhere = own.written.filter(|gtid| gtid.server != own.server);
    Info {
        role: Role::Primary { replicas: 0 },
        replid: own.history(own.server),
        previous: elsewhere.map(|gtid| own.named(gtid)),
        offset: ReplOffset(own.written.map_or(0, |gtid| gtid.number)),
        closed: own.read_only,
        sql: SqlState { guarded: own.guarded, ackers: own.ackers, ..SqlState::default() },
    }
}

fn replica(own: &Own, link: Row<'_>) -> Option<Info> {
    let receives = link.get("Slave_IO_Running")?;
    let received = positions(link.get("Gtid_IO_Pos").unwrap_or_default(), Some(own.domain));
    let position = highest(received.map(|(_, gtid)| gtid).chain(own.written));
    let followed = link.get("Master_Server_Id").and_then(|server| server.parse().ok()).unwrap_or(0);
    let writer = position.map_or(followed, |gtid| gtid.server);
    let number = position.map_or(0, |gtid| gtid.number);
    let others = own.writers.iter().copied().filter(|gtid| gtid.server != writer);
    let of = Some(receives).filter(|receives| *receives != "No").and_then(|_| followed_address(link));
    Some(Info {
        role: Role::Replica {
            of: of.unwrap_or_else(Address::nowhere),
            link_up: receives == "Yes",
            syncing: false,
        },
        replid: own.history(writer),
        previous: highest(others).map(|gtid| own.named(gtid)),
        offset: ReplOffset(number),
        closed: false,
        sql: SqlState {
            exposed: !own.read_only,
            stalled: link.get("Slave_SQL_Running")? != "Yes",
            unapplied: number.saturating_sub(own.applied.map_or(0, |gtid| gtid.number)),
            acks: own.acks && receives == "Yes",
            diverged: is_diverged(link),
            guarded: false,
            ackers: 0,
            heartbeats: link.get("Slave_received_heartbeats").and_then(|it| it.parse().ok()).unwrap_or(0),
        },
    })
}

/// The primary does not know the place from which it is to go on, or gives what stands there already otherwise.
fn is_diverged(link: Row<'_>) -> bool {
    let is = |name, codes: &[&str]| link.get(name).is_some_and(|code| codes.contains(&code));
    is("Last_IO_Errno", &["1236"]) || is("Last_SQL_Errno", &["1032", "1062", "1950"])
}

fn following(own: &Own, link: Row<'_>) -> Following {
    let is = |name, wanted: &str| link.get(name) == Some(wanted);
    // Denied, not allowed: another login may be let in.
    let denied = ["1044", "1045", "1130", "1227", "1698"].iter().any(|code| is("Last_IO_Errno", code));
    Following {
        exactly: is("Using_Gtid", "Slave_Pos")
            && is("Slave_heartbeat_period", "0.500")
            && is("Connect_Retry", "1")
            && !denied,
        of: followed_address(link),
        user: link.get("Master_User").unwrap_or_default().to_owned(),
        acknowledges: own.acknowledges,
        writer: None,
    }
}

fn followed_address(link: Row<'_>) -> Option<Address> {
    let host = link.get("Master_Host").filter(|host| !host.is_empty())?;
    let port = link.get("Master_Port")?.parse().ok().filter(|port| *port != 0)?;
    Some(Address { host: host.into(), port })
}

pub(super) fn is_on(text: &str) -> bool {
    text == "1" || text.eq_ignore_ascii_case("on")
}

fn highest(gtids: impl IntoIterator<Item = Gtid>) -> Option<Gtid> {
    gtids.into_iter().max_by_key(|gtid| gtid.number)
}

/// The transactions of a list, in this domain or all. What makes no sense is left out.
fn positions(list: &str, domain: Option<u32>) -> impl Iterator<Item = (u32, Gtid)> {
    list.split(',').filter_map(move |text| {
        let mut parts = text.trim().split('-');
        let (of, server, number) = (parts.next()?, parts.next()?, parts.next()?);
        let of: u32 = of.parse().ok()?;
        let gtid = Gtid { server: server.parse().ok()?, number: number.parse().ok()? };
        (parts.next().is_none() && domain.is_none_or(|domain| domain == of)).then_some((of, gtid))
    })
}
