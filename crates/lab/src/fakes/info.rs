//! The text of `INFO`, as Redis 7.0.15 writes it.

use super::group::{Group, Role};
use std::fmt::Write;
use std::time::Instant;

/// All sections but the replication's, from a real server.
const TEMPLATE: &str = include_str!("info.txt");

/// `INFO` without arguments.
pub(super) fn everything(group: &Group, index: usize, now: Instant) -> String {
    let member = group.member(index);
    TEMPLATE
        .replace("{run_id}", &member.run_id)
        .replace("{port}", &member.address.port().to_string())
        .replace("{replication}\n", &replication(group, index, now).replace("\r\n", "\n"))
        .replace('\n', "\r\n")
}

/// `INFO replication`.
pub(super) fn replication(group: &Group, index: usize, now: Instant) -> String {
    let member = group.member(index);
    let offset = group.offset(index, now);
    let mut text = String::with_capacity(768);
    // Writing to a string cannot fail.
    let _ = match &member.role {
        Role::Primary { .. } => primary(&mut text, group, index, offset),
        Role::Replica { host, port, link } => {
            let status = if link.is_some() { "up" } else { "down" };
            write!(
                text,
                "# Replication\r\nrole:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\n\
                 master_link_status:{status}\r\nmaster_last_io_seconds_ago:{last}\r\nmaster_sync_in_progress:0\r\n\
                 slave_read_repl_offset:{offset}\r\nslave_repl_offset:{offset}\r\nslave_priority:100\r\n\
                 slave_read_only:1\r\nreplica_announced:1\r\nconnected_slaves:0\r\n",
                last = if link.is_some() { 0 } else { -1 },
            )
        }
    };
    let (before, ended) = &member.previous;
    let _ = write!(
        text,
        "master_failover_state:no-failover\r\nmaster_replid:{}\r\nmaster_replid2:{before}\r\nmaster_repl_offset:{offset}\r\n\
         second_repl_offset:{ended}\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n\
         repl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:{offset}\r\n",
        member.replid
    );
    text
}

fn primary(text: &mut String, group: &Group, index: usize, offset: u64) -> std::fmt::Result {
    let replicas = group.replicas(index);
    write!(text, "# Replication\r\nrole:master\r\nconnected_slaves:{}\r\n", replicas.len())?;
    for (place, replica) in replicas.into_iter().enumerate() {
        let address = group.member(replica).address;
        write!(
            text,
            "slave{place}:ip={},port={},state=online,offset={offset},lag=0\r\n",
            address.ip(),
            address.port()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::{Command, Reply, Role as Seen};
    use backstay_wire::redis::decode_reply;
    use backstay_wire::resp::Value;

    #[test]
    fn a_controller_understands_it() {
        let now = Instant::now();
        let group = Group::new(3, 6379, now);
        let bulk = |text: String| Value::Bulk(text.into_bytes());
        let Reply::Identity(identity) = decode_reply(&Command::Identify, &bulk(everything(&group, 1, now)))
        else {
            panic!("no identity");
        };
        assert_eq!((identity.version.as_str(), identity.keys), ("7.0.15", 1000));
        assert_eq!(identity.run_id.to_string(), group.member(1).run_id);
        let Reply::Info(info) = decode_reply(&Command::Info, &bulk(replication(&group, 1, now))) else {
            panic!("no replication");
        };
        let of = group.member(0).address.to_string().parse().unwrap();
        assert_eq!(info.role, Seen::Replica { of, link_up: true, syncing: false });
    }
}
