//! What is said aloud when a service is served without a lease.

use backstay_lease::{Alarm, Ending};

/// Says aloud what an operator should hear of.
pub(super) fn tell(alarm: &Alarm) {
    match alarm {
        Alarm::Begins { service, primary, epoch } => tracing::warn!(
            "ALARM: {service} is served without a lease from now on, because no controller that leads tells this gateway \
             anything and the file says failsafe = \"risk-two-primaries\": commands go on to {primary}, the primary of epoch \
             {epoch}. If controllers that cannot be heard here open another primary, what is written here meanwhile is \
             lost. Start controllers, or mend the network to them, until a majority runs and is reached from here"
        ),
        Alarm::Ends { service, lasted, because } => {
            let because = match because {
                Ending::Told => "a controller spoke, and leases rule again; see `backstay status`",
                Ending::Unsupported => {
                    "no replica acknowledges what its primary writes any more, so commands wait until a controller \
                     speaks or a replica does; start controllers, or mend the network to them"
                }
                Ending::Leaving => "this gateway stops",
            };
            tracing::warn!(
                "ALARM: {service} was served without a lease for {lasted:.1?}; that is over: {because}"
            );
        }
    }
}
