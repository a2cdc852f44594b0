//! How many files the process may open. A connection is one, and the usual limit of 1,024 is too low for a thousand
//! services; the system lets every process raise it.

use backstay_model::ClusterSpec;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of this process that are no links: ports, peers, the state, and room for clients.
const OTHERS: u64 = 256;

/// Raises the limit as far as the system lets it, and says so if that is not enough for the links of `spec`.
pub(crate) fn raise_open_files(spec: &ClusterSpec) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
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
    if allowed < wanted {
        tracing::warn!(
            "this process may open {allowed} files, and {instances} instances can need {wanted}: some could be taken for \
             silent. Raise the limit (LimitNOFILE= in systemd)"
        );
    }
}
