//! `[[controllers]]`: one section into one draft, with the defaults that depend on the name and the address. What
//! controllers must not share is checked elsewhere.

use crate::config::NodeSettings;
use crate::finding::{Findings, Span};
use crate::section::{At, Section};
use crate::values;
use backstay_model::{Address, ControllerSpec, NodeName};
use std::path::PathBuf;

/// The port that Sentinel clients try.
const SENTINEL_PORT: u16 = 26379;
/// How the file says that no Sentinel clients are served.
pub(crate) const SENTINEL_OFF: &str = "off";

/// A controller as it was read.
pub(crate) struct ControllerDraft {
    pub(crate) span: Span,
    pub(crate) name: Option<At<NodeName>>,
    pub(crate) address: Option<At<Address>>,
    /// `None` inside: off.
    pub(crate) sentinel: Option<At<Option<Address>>>,
    pub(crate) sentinel_is_default: bool,
    pub(crate) admin: Option<At<PathBuf>>,
    pub(crate) admin_address: Option<At<Address>>,
    pub(crate) state: Option<At<PathBuf>>,
    pub(crate) gateway: Option<At<()>>,
    site: String,
    zone: String,
}

impl ControllerDraft {
    pub(crate) fn read(mut section: Section<'_>, findings: &mut Findings) -> Self {
        let name = section
            .required("name", findings, "a", values::name)
            .map(|name| At { value: NodeName::from(name.value), span: name.span });
        let address = section.required("address", findings, "127.0.0.1:7601", values::address);
        let sentinel_is_default = !section.has("sentinel");
        let sentinel = if sentinel_is_default {
            // Said here so that it is known even though it has a default.
            let _ = section.optional("sentinel", findings, values::address);
            address.as_ref().map(|address| At {
                value: Some(Address { host: address.value.host.clone(), port: SENTINEL_PORT }),
                span: address.span.clone(),
            })
        } else {
            section.optional("sentinel", findings, |text| match text {
                SENTINEL_OFF => Ok(None),
                text => values::address(text).map(Some),
            })
        };
        let admin =
            default_path(&section, "admin", name.as_ref(), |name| format!("/run/backstay/{name}.sock"));
        let admin = section.optional("admin", findings, values::socket_path).or(admin);
        let admin_address = section.optional("admin_address", findings, values::address);
        let state =
            default_path(&section, "state", name.as_ref(), |name| format!("/var/lib/backstay/{name}"));
        let state = section.optional("state", findings, values::path).or(state);
        let gateway = section.key_span("gateway");
        let gateway = section.flag("gateway", findings).then_some(At { value: (), span: gateway });
        let mut place =
            |key| section.optional(key, findings, values::place).map_or_else(String::new, |at| at.value);
        let (site, zone) = (place("site"), place("zone"));
        let span = section.span.clone();
        section.finish(findings);
        Self {
            span,
            name,
            address,
            sentinel,
            sentinel_is_default,
            admin,
            admin_address,
            state,
            gateway,
            site,
            zone,
        }
    }

    pub(crate) fn spec(&self) -> Option<ControllerSpec> {
        Some(ControllerSpec {
            name: self.name.as_ref()?.value.clone(),
            address: self.address.as_ref()?.value.clone(),
            site: self.site.clone(),
            zone: self.zone.clone(),
        })
    }

    pub(crate) fn node(&self) -> Option<NodeSettings> {
        Some(NodeSettings {
            name: self.name.as_ref()?.value.clone(),
            peer: self.address.as_ref()?.value.clone(),
            sentinel: self.sentinel.as_ref()?.value.clone(),
            admin: self.admin.as_ref()?.value.clone(),
            admin_address: self.admin_address.as_ref().map(|at| at.value.clone()),
            state: self.state.as_ref()?.value.clone(),
            gateway: self.gateway.is_some(),
        })
    }
}

fn default_path(
    section: &Section<'_>,
    key: &str,
    name: Option<&At<NodeName>>,
    path: impl Fn(&NodeName) -> String,
) -> Option<At<PathBuf>> {
    // A default beside a wrong value would bring mistakes that the user did not make.
    name.filter(|_| !section.has(key)).map(|name| section.default(path(&name.value).into()))
}
