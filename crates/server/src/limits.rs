//! How many files the process may open. A connection is one, and the usual limit of 1,024 is too low for a thousand
//! services; the system lets every process raise it.

use backstay_model::ClusterSpec;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of this process that are no links: ports, peers, the state, and room for clients.
const OTHERS: u64 = 256;

/// The least that a process without clients needs beside its links.
const OTHERS_MIN: u64 = 64;

/// Too few files for one connection to every instance: some would be taken for silent, on all nodes alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {allowed} files, and {instances} instances need {needed}. Raise the limit (LimitNOFILE= in \
     systemd, `ulimit -n` in a shell) to {wanted}"
)]
pub struct TooFewFiles {
    allowed: u64,
    instances: u64,
    needed: u64,
    wanted: u64,
}

/// Raises the limit as far as the system lets it. Says so if that is little for the links of `spec`, and fails if it is
/// too little.
pub(crate) fn raise_open_files(spec: &ClusterSpec) -> Result<(), TooFewFiles> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files cannot be raised above {soft}: {error}");
    }
    let instances = spec.services.iter().map(|service| service.instances.len() as u64).sum::<u64>();
    // Each link may hold a connection and a second one for a check.
    let wanted = instances * 2 + OTHERS;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    let needed = instances + OTHERS_MIN;
    if allowed < needed {
        return Err(TooFewFiles { allowed, instances, needed, wanted });
    }
    if allowed < wanted {
        tracing::warn!(
            "this process may open {allowed} files, and {instances} instances can need {wanted}: some could be taken for \
             silent. Raise the limit (LimitNOFILE= in systemd)"
        );
    }
    Ok(())
}
