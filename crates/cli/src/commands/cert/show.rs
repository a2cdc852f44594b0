//! `backstay cert show`.

use super::Show;
use crate::failure::{FAILED, Failure};
use backstay_model::UnixMicros;
use backstay_server::tls::{Certificate, Files};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// One certificate of the file.
#[derive(Serialize)]
struct View {
    subject: String,
    issuer: String,
    /// Whose it is: a URI.
    identity: Option<String>,
    authority: bool,
    hosts: Vec<String>,
    valid_from: UnixMicros,
    expires: UnixMicros,
    /// Whole days left; negative days are 0 and `expired`.
    days_left: u64,
    expired: bool,
}

pub(super) fn show(arguments: &Show) -> Result<(), Failure> {
    let files = Files { authority: arguments.file.clone(), own: None };
    let certificates = files.read_unchecked().map_err(|error| Failure::whole(FAILED, error.to_string()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMicros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    let views: Vec<_> = certificates.authorities().into_iter().map(|it| View::of(it, now)).collect();
    arguments.output.show(&views, |views, _| views.iter().map(View::text).collect())
}

impl View {
    fn of(it: Certificate, now: UnixMicros) -> Self {
        Self {
            subject: it.subject,
            issuer: it.issuer,
            identity: it.identity.map(|identity| identity.uri()),
            authority: it.is_authority,
            hosts: it.hosts,
            valid_from: it.not_before,
            expires: it.not_after,
            days_left: it.not_after.since(now).as_secs() / (24 * 3600),
            expired: it.not_after <= now,
        }
    }

    fn text(&self) -> String {
        let whose = match (&self.identity, self.authority) {
            (Some(identity), _) => identity.as_str(),
            (None, true) => "an authority",
            (None, false) => "nobody that Backstay knows",
        };
        let left = if self.expired { "expired".to_owned() } else { format!("{} days left", self.days_left) };
        format!(
            "{}\n  whose     {whose}\n  made by   {}\n  hosts     {}\n  from      {} UTC\n  until     {} UTC ({left})\n",
            self.subject,
            self.issuer,
            if self.hosts.is_empty() { "-".to_owned() } else { self.hosts.join(", ") },
            self.valid_from,
            self.expires,
        )
    }
}
