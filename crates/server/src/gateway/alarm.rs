//! What is said aloud when a service is served without a lease.

use backstay_lease::{Alarm, Ending};
use backstay_model::{Flapping, ServiceName, Time};
use std::collections::BTreeMap;

/// Says aloud what an operator should hear of, and sums up what comes and goes again and again.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    services: BTreeMap<ServiceName, Told>,
}

#[derive(Debug, Default)]
struct Told {
    flapping: Flapping,
    goes_on: bool,
}

impl Alarms {
    /// Says what is new. Call with whatever there is ten times a second, and with nothing, too.
    pub(super) fn tell(&mut self, now: Time, alarms: &[Alarm]) {
        for sentence in self.sentences(now, alarms) {
            tracing::warn!("ALARM: {sentence}");
        }
    }

    fn sentences(&mut self, now: Time, alarms: &[Alarm]) -> Vec<String> {
        let mut said: Vec<String> = alarms.iter().filter_map(|alarm| self.hear(now, alarm)).collect();
        for (service, told) in &mut self.services {
            if let Some(times) = told.flapping.sum(now, told.goes_on) {
                said.push(again(service, times.get(), told.goes_on));
            }
        }
        said
    }

    fn hear(&mut self, now: Time, alarm: &Alarm) -> Option<String> {
        let told = self.services.entry(alarm.service().clone()).or_default();
        told.goes_on = matches!(alarm, Alarm::Begins { .. });
        let said = match alarm {
            Alarm::Begins { .. } => told.flapping.begins(now),
            Alarm::Ends { .. } => told.flapping.ends(),
        };
        said.then(|| sentence(alarm))
    }
}

fn sentence(alarm: &Alarm) -> String {
    match alarm {
        Alarm::Begins { service, primary, epoch } => format!(
            "{service} is served without a lease from now on, because no controller that leads tells this gateway \
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
            format!("{service} was served without a lease for {lasted:.1?}; that is over: {because}")
        }
    }
}

fn again(service: &ServiceName, times: u32, goes_on: bool) -> String {
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    let now = if goes_on { "and is so now" } else { "and is not now" };
    format!(
        "within the last minute {service} was served without a lease {times} more, {now}: the way to the controllers, or \
         the acknowledgements of its replicas, come and go; mend the network to the controllers"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::Epoch;
    use std::time::Duration;

    fn at(tenths: u64) -> Time {
        Time::from_micros(1_000_000_000 + tenths * 100_000)
    }

    fn begins() -> Alarm {
        Alarm::Begins { service: "shop".into(), primary: "r1:6379".parse().unwrap(), epoch: Epoch(5) }
    }

    fn ends() -> Alarm {
        Alarm::Ends { service: "shop".into(), lasted: Duration::from_millis(500), because: Ending::Told }
    }

    #[test]
    fn a_failsafe_that_flaps_is_told_once_and_then_summed_up_every_minute() {
        let mut alarms = Alarms::default();
        let mut said = Vec::new();
        for tenth in 0..1300 {
            let alarm = match tenth % 10 {
                0 => vec![begins()],
                5 => vec![ends()],
                _ => Vec::new(),
            };
            said.extend(alarms.sentences(at(tenth), &alarm).into_iter().map(|it| (tenth / 10, it)));
        }
        let seconds: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 0, 60, 60, 120, 120], "{said:#?}");
        assert!(said[0].1.starts_with("shop is served without a lease from now on"), "{said:#?}");
        assert!(said[1].1.contains("was served without a lease for 500.0ms"), "{said:#?}");
        assert!(said[2].1.contains("was served without a lease 60 times more, and is so now"), "{said:#?}");
        assert!(said[3].1.contains("that is over: a controller spoke"), "{said:#?}");
    }

    #[test]
    fn each_service_is_told_of() {
        let mut alarms = Alarms::default();
        let other =
            Alarm::Begins { service: "news".into(), primary: "r9:6379".parse().unwrap(), epoch: Epoch(1) };
        assert_eq!(alarms.sentences(at(0), &[begins(), other]).len(), 2);
    }
}
