//! Nothing is named or used twice: names, addresses, folders. Two spellings of one address are one; host names are not
//! resolved, so two names of one host pass.

use super::exposure::is_loopback;
use crate::config::File;
use crate::controllers::ControllerDraft;
use crate::finding::{Findings, Span};
use crate::section::At;
use backstay_model::{Address, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Notes everything that is there twice.
pub(super) fn all(file: &File, findings: &mut Findings) {
    names(file, findings);
    node_ids(file, findings);
    addresses(file, findings);
    paths(file, findings);
}

/// Things that may be there once, by what makes them the same.
struct Once<K>(BTreeMap<K, (Span, String)>);

impl<K: Ord> Once<K> {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Remembers a thing; if there was one like it, says what and where that was.
    fn again(&mut self, key: K, span: &Span, what: String) -> Option<&(Span, String)> {
        let mut is_new = false;
        let first = self.0.entry(key).or_insert_with(|| {
            is_new = true;
            (span.clone(), what)
        });
        (!is_new).then_some(&*first)
    }
}

fn names(file: &File, findings: &mut Findings) {
    let controllers = file.controllers.iter().filter_map(|controller| controller.name.as_ref());
    unique("controller", controllers.map(|name| (name.value.as_str(), &name.span)), findings);
    let services = file.services.iter().filter_map(|service| service.name.as_ref());
    unique("service", services.map(|name| (name.value.as_str(), &name.span)), findings);
    let instances = file.services.iter().flat_map(|service| &service.instances);
    let instances = instances.filter_map(|instance| instance.name.as_ref());
    unique("instance", instances.map(|name| (name.value.as_str(), &name.span)), findings);
    let endpoints = file.endpoints.iter().filter_map(|endpoint| endpoint.name.as_ref());
    unique("endpoint", endpoints.map(|name| (name.value.as_str(), &name.span)), findings);
}

fn unique<'a>(what: &str, names: impl Iterator<Item = (&'a str, &'a Span)>, findings: &mut Findings) {
    let mut seen = Once::new();
    for (name, span) in names {
        if let Some((first, _)) = seen.again(name, span, String::new()) {
            let message = format!("two {what}s are called '{name}'");
            let help = format!("Give every {what} of the file a name of its own.");
            findings.error(span, message, help).labelled("here again").also(first.clone(), "first here");
        }
    }
}

fn node_ids(file: &File, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for name in file.controllers.iter().filter_map(|controller| controller.name.as_ref()) {
        let first: &At<_> = seen.entry(NodeId::of(&name.value)).or_insert(name);
        if first.value != name.value {
            let message = format!("the names '{}' and '{}' have the same digest", first.value, name.value);
            let help = "A bad coincidence: controllers are told apart by it. Change one of the names.";
            findings.error(&name.span, message, help).also(first.span.clone(), "the other one");
        }
    }
}

/// No address is used twice, whatever for.
fn addresses(file: &File, findings: &mut Findings) {
    let mut seen = Once::new();
    let listeners = file.controllers.iter().flat_map(listeners);
    let instances = file.services.iter().flat_map(|service| &service.instances).filter_map(|instance| {
        let name = instance.name.as_ref().map_or("an instance", |name| name.value.as_str());
        let address = instance.address.as_ref()?;
        Some((&address.value, &address.span, format!("the address of {name}")))
    });
    let agents = file.services.iter().flat_map(|service| &service.instances).filter_map(|instance| {
        let name = instance.name.as_ref().map_or("an instance", |name| name.value.as_str());
        let agent = instance.agent.as_ref()?;
        Some((&agent.value, &agent.span, format!("where the agent of {name} listens")))
    });
    let endpoints = file.endpoints.iter().filter_map(|endpoint| {
        let name = endpoint.name.as_ref().map_or("an endpoint", |name| name.value.as_str());
        let listen = endpoint.listen.as_ref()?;
        Some((&listen.value, &listen.span, format!("where {name} listens")))
    });
    let endpoints: Vec<_> = endpoints.collect();
    let spans: Vec<_> = endpoints.iter().map(|(_, span, _)| (*span).clone()).collect();
    for (address, span, what) in listeners.chain(instances).chain(agents).chain(endpoints).collect::<Vec<_>>()
    {
        if is_anywhere(address) && !spans.contains(span) {
            let help = "Write the address at which it is reached from every controller.";
            findings.error(span, format!("nobody can connect to {address}"), help);
        } else if let Some((first, other)) = seen.again(canonical(address), span, what.clone()) {
            let message = format!("{address} is used twice: it is {other} and {what}");
            let help = "Give each an address of its own. If sentinel is left out, it is the host of address with port \
                        26379; sentinel = \"off\" serves no Sentinel clients.";
            let help = if message.contains("Sentinel") { help } else { "Give each an address of its own." };
            findings.error(span, message, help).labelled("here again").also(first.clone(), "first here");
        }
    }
}

fn listeners(controller: &ControllerDraft) -> impl Iterator<Item = (&Address, &Span, String)> {
    let name = controller.name.as_ref().map_or("a controller", |name| name.value.as_str());
    let peer = controller.address.as_ref();
    let peer = peer.map(|peer| (&peer.value, &peer.span, format!("the address of {name}")));
    let given = if controller.sentinel_is_default { " (by default)" } else { "" };
    let sentinel = controller.sentinel.as_ref();
    let sentinel = sentinel.and_then(|sentinel| {
        let address = sentinel.value.as_ref()?;
        Some((address, &sentinel.span, format!("the Sentinel port of {name}{given}")))
    });
    let admin = controller.admin_address.as_ref();
    let admin = admin.map(|admin| (&admin.value, &admin.span, format!("the admin address of {name}")));
    peer.into_iter().chain(sentinel).chain(admin)
}

fn is_anywhere(address: &Address) -> bool {
    address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// Two spellings of one address are one.
fn canonical(address: &Address) -> (String, u16) {
    let host = address.host.to_ascii_lowercase();
    let host = match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) if host == "localhost" => "127.0.0.1".into(),
        Err(_) => host,
    };
    (host, address.port)
}

/// What tells the controller's machine from others; all loopback addresses are one.
fn machine(controller: &ControllerDraft) -> String {
    let address = controller.address.as_ref().map(|address| &address.value);
    let address = address.filter(|address| !is_loopback(address));
    address.map_or_else(String::new, |address| canonical(address).0)
}

/// Controllers at one host share its folders. (Two names of one host pass, as above.)
fn paths(file: &File, findings: &mut Findings) {
    let mut seen = Once::new();
    let mut names = BTreeSet::new();
    for controller in &file.controllers {
        let name = controller.name.as_ref();
        let name = name.map_or("a controller", |name| name.value.as_str());
        if !names.insert(name) {
            // The name was noted, and the default paths follow from it.
            continue;
        }
        let admin = controller.admin.as_ref().map(|path| (path, "admin socket"));
        let state = controller.state.as_ref().map(|path| (path, "state folder"));
        for (path, what) in admin.into_iter().chain(state) {
            let what = format!("the {what} of {name}");
            let key = (machine(controller), &path.value);
            if let Some((first, other)) = seen.again(key, &path.span, what.clone()) {
                let path_text = path.value.display();
                let message = format!("{path_text} is used twice: it is {other} and {what}");
                let help = "Controllers on one machine share nothing: give each a path of its own.";
                findings
                    .error(&path.span, message, help)
                    .labelled("here again")
                    .also(first.clone(), "first here");
            }
        }
    }
}
