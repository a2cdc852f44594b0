//! `backstay-demo`: what can happen to a Redis and to a MariaDB primary, on real servers, while clients write.

use backstay_lab::demo::{DemoOptions, play};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "backstay-demo",
    about = "What can happen to a Redis and to a MariaDB primary while clients write."
)]
struct Cli {
    /// Leave the lab running and say what to type next.
    #[arg(long)]
    keep: bool,
    /// The lab's folder; by default a temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let options = DemoOptions { keep: arguments.keep, dir: arguments.dir, backstay: arguments.backstay };
    match play(&options) {
        Ok(report) => {
            print!("\n{report}");
            if report.broken().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
