//! What is to be said about the file: a sentence, the place, a remedy. Errors stop a start, warnings do not. Nothing here
//! knows what can be wrong.

use crate::conceal::conceal;
use backstay_model::Severity;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes of the file.
pub(crate) type Span = Range<usize>;

/// As many mistakes as are worth reading at once.
const SHOWN_MAX: usize = 50;

/// One mistake or doubt.
#[derive(Clone, Debug)]
pub struct Finding {
    severity: Severity,
    message: String,
    help: String,
    label: String,
    span: Span,
    also: Vec<(Span, String)>,
    source: Arc<NamedSource<Arc<str>>>,
}

/// A finding as plain values, for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Error or warning.
    pub severity: Severity,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    /// The finding as plain values.
    pub fn note(&self) -> Note {
        let text = self.source.inner();
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Note {
            severity: self.severity,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: self.message.clone(),
            help: self.help.clone(),
        }
    }

    /// Says something at the place itself.
    pub(crate) fn labelled(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Points at a second place.
    pub(crate) fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.also.push((span, label.into()));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl Diagnostic for Finding {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(&self.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let place = LabeledSpan::new_primary_with_span(label, self.span.clone());
        let also = self
            .also
            .iter()
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(std::iter::once(place).chain(also)))
    }
}

/// A place of the file, kept for what turns out later.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    span: Span,
    file_name: String,
    source: Arc<NamedSource<Arc<str>>>,
}

impl Place {
    /// One mistake here.
    pub(crate) fn mistake(&self, message: &str, help: &str) -> ConfigErrors {
        let finding = Finding {
            severity: Severity::Error,
            message: message.to_owned(),
            help: help.to_owned(),
            label: "here".into(),
            span: self.span.clone(),
            also: Vec::new(),
            source: Arc::clone(&self.source),
        };
        ConfigErrors { file_name: self.file_name.clone(), findings: vec![finding], hidden: 0 }
    }
}

/// All mistakes of one file, in the order of its lines. Nothing of the file was used.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    file_name: String,
    findings: Vec<Finding>,
    hidden: usize,
}

impl ConfigErrors {
    /// The mistakes, then doubts that were found beside them; the first 50 if there are more.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings as plain values.
    pub fn notes(&self) -> Vec<Note> {
        self.findings.iter().map(Finding::note).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        match errors.count() + self.hidden {
            1 => write!(f, "{} has a mistake", self.file_name)?,
            count => write!(f, "{} has {count} mistakes", self.file_name)?,
        }
        if self.hidden > 0 {
            write!(f, "; these are the first {SHOWN_MAX}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.findings.iter().map(|finding| finding as &dyn Diagnostic)))
    }
}

/// Where findings are gathered while a file is read.
pub(crate) struct Findings {
    file_name: String,
    source: Arc<NamedSource<Arc<str>>>,
    list: Vec<Finding>,
}

impl Findings {
    pub(crate) fn new(file_name: &str, text: &str) -> Self {
        Self {
            file_name: file_name.to_owned(),
            source: Arc::new(NamedSource::new(file_name, conceal(text).into())),
            list: Vec::new(),
        }
    }

    /// Notes a mistake: what is wrong at `span`, and what to do about it.
    pub(crate) fn error(
        &mut self,
        span: &Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Finding {
        self.push(Severity::Error, span, message.into(), help.into())
    }

    /// Notes a doubt: it works, but not as well as the operator may think.
    pub(crate) fn warning(
        &mut self,
        span: &Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Finding {
        self.push(Severity::Warning, span, message.into(), help.into())
    }

    fn push(&mut self, severity: Severity, span: &Span, message: String, help: String) -> &mut Finding {
        let at = self.list.len();
        self.list.push(Finding {
            severity,
            message,
            help,
            label: "here".into(),
            span: span.clone(),
            also: Vec::new(),
            source: Arc::clone(&self.source),
        });
        &mut self.list[at]
    }

    /// A place, to come back to.
    pub(crate) fn place(&self, span: &Span) -> Place {
        Place { span: span.clone(), file_name: self.file_name.clone(), source: Arc::clone(&self.source) }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The warnings, if there is no error; else everything.
    pub(crate) fn finish(mut self) -> Result<Vec<Finding>, ConfigErrors> {
        if self.has_errors() {
            return Err(self.finish_failed());
        }
        self.list.sort_by_key(|finding| finding.span.start);
        Ok(self.list)
    }

    /// Everything, once there is an error.
    pub(crate) fn finish_failed(mut self) -> ConfigErrors {
        // The worst first, and within that by line.
        self.list.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.span.start));
        let errors = self.list.iter().filter(|finding| finding.severity == Severity::Error);
        let hidden = errors.count().saturating_sub(SHOWN_MAX);
        self.list.truncate(SHOWN_MAX);
        ConfigErrors { file_name: self.file_name, findings: self.list, hidden }
    }
}
