//! `backstay doctor`.

use super::config::read;
use crate::arguments::Doctor;
use crate::failure::{FAILED, Failure, USAGE};
use crate::show;
use backstay_lab::Lab;
use backstay_model::ServiceName;
use backstay_server::doctor::{DoctorError, Examination, Severity};
use std::path::PathBuf;

/// The kind of service that there is a doctor for.
const KIND: &str = "mariadb";

pub(super) fn doctor(arguments: &Doctor) -> Result<(), Failure> {
    let service = service(&arguments.words)?;
    let config = read(&file(arguments)?)?;
    let runtime = super::runtime("nothing was looked at")?;
    let examination = runtime.block_on(Examination::of(&config, service.as_ref()))?;
    arguments.output.show(&examination, show::examination)?;
    if examination.count(Severity::Error) > 0 { Err(Failure::said(FAILED)) } else { Ok(()) }
}

fn file(arguments: &Doctor) -> Result<PathBuf, Failure> {
    if let Some(file) = &arguments.config {
        return Ok(file.clone());
    }
    let lab = Lab::open_latest().map_err(|error| {
        Failure::new(
            USAGE,
            "nothing was looked at: no file was named",
            error.to_string(),
            "name it with --config FILE, or start a lab with `backstay lab up --mariadb 3`",
        )
    })?;
    Ok(lab.dir().join("backstay.toml"))
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
