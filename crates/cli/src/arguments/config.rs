//! Commands about the configuration file.

use crate::output::Output;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Find every mistake and doubt in a file, each with its place and a remedy; exit with 1 if there is a mistake.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Check the certificates of this controller; left out: of those whose files are on this machine.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show the configuration in force, defaults included.
    Show {
        /// The configuration file.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}
