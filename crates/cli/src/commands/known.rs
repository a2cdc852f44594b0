//! What the cluster knows by name: looked up before something is ordered, so that a typing error changes nothing.

use crate::admin::Controllers;
use crate::failure::{FAILED, Failure};
use backstay_model::{ClusterStatus, InstanceStatus, ServiceStatus, hint};

/// The cluster as a controller in touch with a quorum sees it, else as any sees it.
pub(super) fn cluster(controllers: &Controllers) -> Result<ClusterStatus, Failure> {
    controllers.get_best("/v1/status", |status: &ClusterStatus| status.quorum)
}

/// The service called so, or a failure with the names that exist.
pub(super) fn service<'a>(cluster: &'a ClusterStatus, name: &str) -> Result<&'a ServiceStatus, Failure> {
    cluster.services.iter().find(|service| service.name.as_str() == name).ok_or_else(|| {
        let hint = hint(name, cluster.services.iter().map(|service| service.name.as_str()));
        Failure::whole(FAILED, format!("there is no service called {name}; {hint}"))
    })
}

/// The service called so, or all of them.
pub(super) fn services<'a>(
    cluster: &'a ClusterStatus,
    name: Option<&str>,
) -> Result<Vec<&'a ServiceStatus>, Failure> {
    match name {
        Some(name) => Ok(vec![service(cluster, name)?]),
        None => Ok(cluster.services.iter().collect()),
    }
}

/// The service's instance called so, or a failure with the names that exist.
pub(super) fn instance<'a>(service: &'a ServiceStatus, name: &str) -> Result<&'a InstanceStatus, Failure> {
    service.instances.iter().find(|instance| instance.name.as_str() == name).ok_or_else(|| {
        let hint = hint(name, service.instances.iter().map(|instance| instance.name.as_str()));
        Failure::whole(FAILED, format!("{} has no instance called {name}; {hint}", service.name))
    })
}
