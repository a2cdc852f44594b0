//! `backstay lab up`.

use crate::arguments::LabUp;
use crate::failure::Failure;
use crate::output::Format;
use crate::show;
use backstay_lab::{Lab, Options, nursery};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

pub(super) fn up(arguments: &LabUp) -> Result<(), Failure> {
    let defaults = Options::default();
    let options = Options {
        controllers: arguments.controllers,
        redis: arguments.redis,
        mariadb: arguments.mariadb,
        durability: arguments.durability,
        agents: arguments.agents,
        gateways: arguments.gateways,
        dir: arguments.folder.dir.clone(),
        // Its controllers are this very program.
        backstay: std::env::current_exe().ok(),
        service: arguments.service.clone(),
        down_after: arguments.down_after.unwrap_or(defaults.down_after),
        tls: arguments.tls,
        ..defaults
    };
    nursery::end_all_on_interrupt();
    let spinner = spinner(&options);
    let lab = Lab::up(&options);
    spinner.finish_and_clear();
    let view = lab?.status()?;
    nursery::release();
    let output = arguments.json.output();
    output.show(&view, show::lab)?;
    if output.output == Format::Table {
        crate::output::print(NEXT)?;
    }
    Ok(())
}

const NEXT: &str = "
It keeps running. Next, for example:
  backstay status
  backstay lab fault kill r1
  backstay history
  backstay lab down
";

/// On the standard error output, and only on a terminal.
fn spinner(options: &Options) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    let (controllers, redis) = (options.controllers, options.redis);
    let mariadb = match options.mariadb {
        0 => String::new(),
        count => format!(", and {count} MariaDB instances"),
    };
    spinner.set_message(format!("starting {controllers} controllers and {redis} Redis instances{mariadb}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
