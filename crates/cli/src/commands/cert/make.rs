//! Making certificates, and saying what to do with them.

use super::files::{Pair, read_authority};
use super::{Authority, Client, Cluster, Leaf, Node};
use crate::commands::config::read;
use crate::failure::{FAILED, Failure};
use crate::output::Output;
use backstay_config::Config;
use backstay_model::{ClusterName, GatewayName, InstanceName, NodeName, UnixMicros};
use backstay_server::tls::issue::{self, Dates, IssueError};
use backstay_server::tls::{Identity, Right};
use serde::Serialize;
use std::path::PathBuf;

/// What was made.
#[derive(Serialize)]
struct Made {
    certificate: PathBuf,
    key: PathBuf,
    /// Whose it is: a URI.
    identity: Option<String>,
    hosts: Vec<String>,
    expires: UnixMicros,
    #[serde(skip)]
    next: String,
}

pub(super) fn authority(arguments: &Authority) -> Result<(), Failure> {
    let cluster = arguments.cluster.find()?.name;
    let pair = Pair::of(&arguments.place.dir, "authority");
    pair.refuse_existing("an authority")?;
    let dates = Dates::from_now(arguments.days);
    let issued = issue::authority(cluster.as_str(), dates)?;
    pair.write(&issued)?;
    let next = format!(
        "Keep {} to yourself; no machine of the cluster needs it. Then, for each controller: backstay cert node NAME",
        pair.key.display()
    );
    show(arguments.output, &pair, None, Vec::new(), dates, next)
}

pub(super) fn node(arguments: &Node) -> Result<(), Failure> {
    let leaf = &arguments.leaf;
    let found = leaf.cluster.find()?;
    let name = NodeName::from(leaf.name.as_str());
    let mut hosts = arguments.hosts.clone();
    if let Some(config) = &found.config {
        let node = config.node(&name)?;
        let addresses = [Some(&node.peer), node.admin_address.as_ref()];
        hosts.extend(addresses.into_iter().flatten().map(|address| address.host.to_string()));
    }
    hosts.sort();
    hosts.dedup();
    certify(leaf, &Identity::Node { cluster: found.name, name }, hosts, |pair| {
        format!(
            "Put {pair} and authority.pem on the machine of controller {}, as [tls] of the configuration names them. A \
             controller that runs takes renewed files within seconds.",
            leaf.name
        )
    })
}

pub(super) fn client(arguments: &Client) -> Result<(), Failure> {
    let leaf = &arguments.leaf;
    let right = if arguments.read_only { Right::Read } else { Right::Operate };
    let identity = Identity::Client { cluster: leaf.cluster.find()?.name, name: leaf.name.clone(), right };
    certify(leaf, &identity, Vec::new(), |pair| {
        format!(
            "Give {pair} and authority.pem to {}, in one folder. Then: backstay status --server HOST:PORT --cert {}",
            leaf.name,
            pair.certificate.display()
        )
    })
}

pub(super) fn gateway(leaf: &Leaf) -> Result<(), Failure> {
    let name = GatewayName::from(leaf.name.as_str());
    let identity = Identity::Gateway { cluster: leaf.cluster.find()?.name, name };
    certify(leaf, &identity, Vec::new(), |pair| {
        format!(
            "Put {pair} and authority.pem on the gateway's machine, as [tls] of the configuration names them. Then: \
             backstay gateway --config FILE --name {}",
            leaf.name
        )
    })
}

pub(super) fn agent(leaf: &Leaf) -> Result<(), Failure> {
    let name = InstanceName::from(leaf.name.as_str());
    let identity = Identity::Agent { cluster: leaf.cluster.find()?.name, name };
    certify(leaf, &identity, Vec::new(), |pair| {
        format!(
            "Put {pair} and authority.pem on the host of {0}, as [tls] of the configuration names them. Then: backstay \
             agent --config FILE --instance {0}",
            leaf.name
        )
    })
}

/// Makes a certificate by the authority, and says what is next.
fn certify(
    leaf: &Leaf,
    identity: &Identity,
    hosts: Vec<String>,
    next: impl FnOnce(&Pair) -> String,
) -> Result<(), Failure> {
    let authority = read_authority(&leaf.place.dir)?;
    check_name(identity, &leaf.name)?;
    let pair = Pair::of(&leaf.place.dir, &leaf.name);
    if !leaf.replace {
        pair.refuse_existing("a certificate")?;
    }
    let dates = Dates::from_now(leaf.days);
    pair.write(&issue::certificate(&authority, identity, &hosts, dates)?)?;
    let next = next(&pair);
    show(leaf.output, &pair, Some(identity), hosts, dates, next)
}

/// A cluster by its name, and the file if there is one.
struct Found {
    name: ClusterName,
    config: Option<Config>,
}

impl Cluster {
    fn find(&self) -> Result<Found, Failure> {
        let config = self.config.as_deref().map(read).transpose()?;
        let name = match (&self.cluster, &config) {
            (Some(name), _) => ClusterName::from(name.as_str()),
            (None, Some(config)) => config.spec.cluster.clone(),
            // Clap demands one of them.
            (None, None) => ClusterName::from(""),
        };
        check_name(&Identity::Node { cluster: name.clone(), name: "a".into() }, name.as_str())?;
        // A file of another cluster has other hosts.
        let config = config.filter(|config| config.spec.cluster == name);
        Ok(Found { name, config })
    }
}

/// Whether the identity reads back to the same.
fn check_name(identity: &Identity, name: &str) -> Result<(), Failure> {
    if name != "authority" && Identity::of_uri(&identity.uri()).as_ref() == Some(identity) {
        return Ok(());
    }
    Err(Failure::new(
        FAILED,
        format!("'{}' cannot be a name", name.escape_debug()),
        "it becomes part of file names and of certificates",
        "use letters, digits, '.', '-' and '_', at most 64, begin with a letter or digit, and do not take 'authority'",
    ))
}

fn show(
    output: Output,
    pair: &Pair,
    identity: Option<&Identity>,
    hosts: Vec<String>,
    dates: Dates,
    next: String,
) -> Result<(), Failure> {
    let made = Made {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        identity: identity.map(Identity::uri),
        hosts,
        expires: dates.not_after,
        next,
    };
    output.show(&made, |made, _| {
        format!(
            "made {} and {}, good until {} UTC\n{}\n",
            made.certificate.display(),
            made.key.display(),
            made.expires,
            made.next
        )
    })
}

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        Self::whole(FAILED, error.to_string())
    }
}
