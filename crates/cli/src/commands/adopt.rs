//! `backstay adopt`.

use super::config::read;
use crate::arguments::{Adopt, WhenDurable};
use crate::confirm::Plan;
use crate::failure::{FAILED, Failure};
use crate::output::Paint;
use crate::show;
use backstay_config::{Credentials, SecretSource};
use backstay_model::{Address, Durability};
use backstay_server::adopt::{AdoptError, Adoption, InstancePlan, MariaDbAdoption, MariaDbWish, Wish};

pub(super) fn adopt(arguments: &Adopt) -> Result<(), Failure> {
    if let Some(primary) = &arguments.mariadb {
        return adopt_mariadb(arguments, primary);
    }
    let config = read(&arguments.config)?;
    let wish = Wish {
        service: arguments.service.as_str().into(),
        instance: arguments.instance.as_deref().map(Into::into),
        admin: admin(arguments),
    };
    let runtime = super::runtime("nothing was looked at")?;
    let mut adoption = runtime.block_on(Adoption::look(&config, &wish))?;
    if arguments.consent.is_dry_run() {
        return arguments.output.show(&adoption, show::adoption);
    }
    if adoption.has_steps() {
        arguments.consent.given(&plan(&adoption), arguments.output)?;
        let done = runtime.block_on(adoption.carry_out());
        arguments.output.show(&adoption, show::adoption)?;
        done?;
    } else {
        arguments.output.show(&adoption, show::adoption)?;
    }
    left(&adoption)
}

/// A MariaDB primary and its replicas become a service of a new file.
fn adopt_mariadb(arguments: &Adopt, primary: &Address) -> Result<(), Failure> {
    let wish = MariaDbWish {
        service: arguments.service.as_str().into(),
        primary: primary.clone(),
        replicas: arguments.replica.clone(),
        admin: admin(arguments).unwrap_or_default(),
        durability: arguments.durability.map(|when| match when {
            WhenDurable::Async => Durability::Async,
            WhenDurable::Majority => Durability::Majority,
        }),
        from_hosts: arguments.from_hosts.clone(),
        file: arguments.config.clone(),
    };
    let runtime = super::runtime("nothing was looked at")?;
    let mut adoption = runtime.block_on(MariaDbAdoption::look(&wish))?;
    if arguments.consent.is_dry_run() {
        return arguments.output.show(&adoption, show::mariadb_adoption);
    }
    if !adoption.is_possible() {
        arguments.output.show(&adoption, show::mariadb_adoption)?;
        return Err(Failure::new(
            FAILED,
            "nothing was changed",
            "something stands in the way, see above",
            "mend it at each server, then run this again",
        ));
    }
    let shown = show::mariadb_adoption(&adoption, Paint::Plain);
    let would = format!("change servers, and write {}", arguments.config.display());
    let plan = shown.lines().fold(Plan::new(would), Plan::with);
    arguments.consent.given(&plan, arguments.output)?;
    let done = runtime.block_on(adoption.carry_out());
    arguments.output.show(&adoption, show::mariadb_adoption)?;
    Ok(done?)
}

/// Who may change the servers, if that was said.
fn admin(arguments: &Adopt) -> Option<Credentials> {
    let file = arguments.admin_password_file.clone().map(SecretSource::File);
    let password = file.or_else(|| arguments.admin_password_env.clone().map(SecretSource::Env))?;
    Some(Credentials {
        username: arguments.admin_user.clone(),
        password: Some(password),
        ..Credentials::default()
    })
}

fn plan(adoption: &Adoption) -> Plan {
    let shown = show::adoption(adoption, Paint::Plain);
    let would = format!("change servers of {}", adoption.service);
    shown.lines().fold(Plan::new(would), Plan::with)
}

/// What was not done, because it cannot be done from here.
fn left(adoption: &Adoption) -> Result<(), Failure> {
    let left: Vec<_> = adoption.instances.iter().filter(|plan| plan.is_left_by_hand()).collect();
    let Some(first) = left.first() else {
        return Ok(());
    };
    let names = left.iter().map(|plan: &&InstancePlan| plan.instance.as_str()).collect::<Vec<_>>().join(", ");
    let what = format!("everything else is as it should be, but what the files of {names} say is not known");
    let why = first.file.hindrance.clone().unwrap_or_default();
    let next = format!(
        "on the host of each, with the same configuration: `backstay adopt {} --instance NAME`; or write the lines above \
         into its file by hand",
        adoption.service
    );
    Err(Failure::new(FAILED, what, why, next))
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        Self::whole(FAILED, error.to_string())
    }
}
