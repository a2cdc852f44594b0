//! `backstay doctor`.

use super::config::read;
use crate::arguments::Doctor;
use crate::failure::{FAILED, Failure, USAGE};
use crate::show;
use backstay_model::ServiceName;
use backstay_server::doctor::{DoctorError, Examination, Severity};

/// The kind of service that there is a doctor for.
const KIND: &str = "mariadb";

pub(super) fn doctor(arguments: &Doctor) -> Result<(), Failure> {
    let service = service(&arguments.words)?;
    let config = read(&arguments.config)?;
    let runtime = super::runtime("nothing was looked at")?;
    let examination = runtime.block_on(Examination::of(&config, service.as_ref()))?;
    arguments.output.show(&examination, show::examination)?;
    if examination.count(Severity::Error) > 0 { Err(Failure::said(FAILED)) } else { Ok(()) }
}

/// The service, if one was named.
fn service(words: &[String]) -> Result<Option<ServiceName>, Failure> {
    match words {
        [] => Ok(None),
        [kind] if kind == KIND => Ok(None),
        [service] => Ok(Some(service.as_str().into())),
        [kind, service] if kind == KIND => Ok(Some(service.as_str().into())),
        [other, ..] => Err(Failure::new(
            USAGE,
            format!("nothing was looked at: there is no doctor for '{other}'"),
            "of two words the first one says what the service runs",
            "write `backstay doctor mariadb SERVICE`",
        )),
    }
}

impl From<DoctorError> for Failure {
    fn from(error: DoctorError) -> Self {
        Self::whole(FAILED, error.to_string())
    }
}
