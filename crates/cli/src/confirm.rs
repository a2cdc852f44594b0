//! The operator's word before something that cannot be taken back: the plan is shown, then `yes` is asked for on the
//! terminal. Where there is no terminal, `--yes` is demanded, so that a script that did not mean it does nothing.
//!
//! A dangerous command flattens `Consent` into its arguments, one that is only worth a look beforehand flattens
//! `DryRun`. Both are asked after every name was checked and before anything is ordered:
//!
//! ```ignore
//! let plan = Plan::new("make r2 the primary of mymaster").with("r2 is 120 bytes behind, and they are lost");
//! if !arguments.consent.given(&plan, arguments.output)? {
//!     return Ok(());
//! }
//! ```

use crate::failure::{FAILED, Failure, USAGE};
use crate::output::{Format, Output, Paint};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::io::{BufRead, IsTerminal, Write};

/// What a command is about to do, and what that means. As JSON: `{"would": ..., "means": [...]}`.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    would: String,
    means: Vec<String>,
}

impl Plan {
    /// What would be done, as what follows "would": `make r2 the primary of mymaster`.
    pub(crate) fn new(would: impl Into<String>) -> Self {
        Self { would: would.into(), means: Vec::new() }
    }

    /// Adds one consequence, as a clause.
    pub(crate) fn with(mut self, meaning: impl Into<String>) -> Self {
        self.means.push(meaning.into());
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "this would {}", self.would)?;
        self.means.iter().try_for_each(|meaning| writeln!(f, "  {meaning}"))
    }
}

/// For commands that change something but can be taken back.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DryRun {
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl DryRun {
    /// Whether to go on. If not, the plan was shown as the command's result, and nothing is left to do. The plan is made
    /// for a dry run only.
    pub(crate) fn passed(
        self,
        plan: impl FnOnce() -> Result<Plan, Failure>,
        output: Output,
    ) -> Result<bool, Failure> {
        if self.dry_run {
            output.show(&plan()?, |plan, _| plan.to_string())?;
        }
        Ok(!self.dry_run)
    }
}

/// For commands that cannot be taken back.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Do it without asking; without a terminal nobody can be asked, so there it is needed.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Consent {
    /// Whether nothing is to be done, for a command that shows more than a plan.
    pub(crate) const fn is_dry_run(self) -> bool {
        self.dry_run.dry_run
    }

    /// Whether to go on: `true` once the operator agreed, `false` after a dry run, whose plan was shown as the command's
    /// result. Otherwise a failure that says that nothing was done.
    pub(crate) fn given(self, plan: &Plan, output: Output) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if self.dry_run.dry_run {
            output.show(plan, |plan, _| plan.to_string())?;
            return Ok(false);
        }
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        // A program that reads JSON cannot answer.
        if !stdin.is_terminal() || !stderr.is_terminal() || output.output == Format::Json {
            return Err(Failure::new(
                USAGE,
                format!("nothing was done: this would {}", plan.would),
                "that cannot be taken back, and there is nobody to ask",
                "look at it with --dry-run, then say --yes",
            ));
        }
        if ask(plan, &mut stdin.lock(), &mut stderr, Paint::of_stderr()) {
            return Ok(true);
        }
        Err(Failure::whole(FAILED, "nothing was done, because the answer was not yes"))
    }
}

/// The standard output is for the result, so the question goes to the standard error output.
fn ask(plan: &Plan, from: &mut impl BufRead, to: &mut impl Write, paint: Paint) -> bool {
    let question = paint.bold("type yes to do it: ");
    let asked = write!(to, "{plan}{question}").and_then(|()| to.flush());
    let mut answer = String::new();
    let answered = asked.and_then(|()| from.read_line(&mut answer));
    answered.is_ok() && answer.trim() == "yes"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_is_consent_and_the_plan_comes_first() {
        let plan = Plan::new("make r2 the primary").with("what r1 alone holds is lost");
        for (answer, granted) in [
            ("yes\n", true),
            ("  yes \r\n", true),
            ("yes", true),
            ("y\n", false),
            ("YES!\n", false),
            ("\n", false),
            ("", false),
        ] {
            let mut shown = Vec::new();
            assert_eq!(ask(&plan, &mut answer.as_bytes(), &mut shown, Paint::Plain), granted, "{answer:?}");
            assert_eq!(
                String::from_utf8(shown).unwrap(),
                "this would make r2 the primary\n  what r1 alone holds is lost\ntype yes to do it: "
            );
        }
    }
}
