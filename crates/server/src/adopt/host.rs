//! Whether a server runs on this very machine. That its path exists here says nothing: a hundred hosts have an
//! `/etc/redis/redis.conf`. It does if the process that it says it is holds the other end of our connection to it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Why it is not known to run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotHere {
    /// Its process or its connection is not one of this machine's.
    Elsewhere,
    /// This user may not look.
    Hidden { pid: u32 },
}

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => {
                f.write_str("the server does not run on this machine, or not in this container")
            }
            Self::Hidden { pid } => {
                write!(f, "this user may not look at process {pid}; run it as root or as the server's user")
            }
        }
    }
}

/// Whether process `pid` holds the other end of a connection of ours; `ends`: ours and the other one.
pub(super) fn is_here(pid: u32, ends: (SocketAddr, SocketAddr)) -> Result<(), NotHere> {
    let (own, other) = ends;
    let sockets =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let inode = sockets.into_iter().find_map(|table| inode(&table, other, own)).ok_or(NotHere::Elsewhere)?;
    let wanted = format!("socket:[{inode}]");
    let folder = format!("/proc/{pid}/fd");
    let files = match std::fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(NotHere::Hidden { pid });
        }
        Err(_) => return Err(NotHere::Elsewhere),
    };
    let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    if links.any(|link| link == Path::new(&wanted)) { Ok(()) } else { Err(NotHere::Elsewhere) }
}

/// The socket in a table of `/proc/net/tcp` (proc(5)) that has these ends.
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let same = |text: &str, address: SocketAddr| {
        parsed(text).is_some_and(|it| it.port() == address.port() && it.ip() == address.ip().to_canonical())
    };
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let found = same(fields.get(1)?, local) && same(fields.get(2)?, remote);
        found.then(|| fields.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

/// `0100007F:1F90`: words of 32 bits in this machine's order, then the port.
fn parsed(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for at in (0..host.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}
