//! What is said of a service or an instance that this controller's file does not have.

use crate::Controller;
use backstay_model::{InstanceName, ServiceName, hint};

impl Controller {
    /// There is no such service; which ones there are.
    pub fn no_such_service(&self, name: &ServiceName) -> String {
        let known = self.scenes.keys().map(ServiceName::as_str);
        format!("there is no service called {name}; {}", hint(name.as_str(), known))
    }

    /// The service has no such instance; which ones it has.
    pub fn no_such_instance(&self, service: &ServiceName, name: &InstanceName) -> String {
        let spec = self.scenes.get(service).map(|scene| &scene.spec);
        let known = spec.iter().flat_map(|spec| &spec.instances).map(|instance| instance.name.as_str());
        format!("{service} has no instance called {name}; {}", hint(name.as_str(), known))
    }
}
