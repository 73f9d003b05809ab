//! What one load carries along: the files, the diagnostics, the environment, and all that the result depends on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ahash::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3;

use super::diagnostic::{Diagnostic, Diagnostics, Finding, Label, Severity};
use super::source::{Files, Source, Span};
use super::variable_masks::VariableMasks;
use crate::route::TenantList;
use crate::tls::LastGood;

/// How many regexes there may be: each may take a megabyte.
pub(in crate::config) const REGEXES_MAX: usize = 5_000;

/// Where `${NAME}` is looked up.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One load.
pub(in crate::config) struct Context<'e> {
    pub(in crate::config) files: Files,
    /// What variables produced.
    pub(in crate::config) variables: VariableMasks,
    env: Env<'e>,
    diagnostics: Diagnostics,
    watched: Vec<PathBuf>,
    known: HashSet<PathBuf>,
    lists: HashMap<PathBuf, TenantList>,
    regexes: usize,
    hash: Xxh3,
    /// There is an `identity.jwt`.
    pub(in crate::config) has_jwt: bool,
    /// There is an `identity.geo`.
    pub(in crate::config) has_geo: bool,
    /// `tenant` and `user`, as far as `[identity]` says where they are read; `client_cert`, where a listener asks for one.
    pub(in crate::config) identified: Vec<&'static str>,
    /// The certificates and authorities in use, to fall back to.
    pub(in crate::config) last_good: &'e LastGood,
    /// Those that are in use when this load takes effect.
    pub(in crate::config) in_use: LastGood,
}

impl<'e> Context<'e> {
    pub(in crate::config) fn new(env: Env<'e>, last_good: &'e LastGood) -> Self {
        let (files, diagnostics) = (Files::default(), Diagnostics::default());
        let (known, lists) = (HashSet::default(), HashMap::default());
        Self {
            files,
            variables: VariableMasks::default(),
            env,
            diagnostics,
            watched: Vec::new(),
            known,
            lists,
            regexes: 0,
            hash: Xxh3::new(),
            has_jwt: false,
            has_geo: false,
            identified: Vec::new(),
            last_good,
            in_use: LastGood::default(),
        }
    }

    /// Adds a file, which is an input.
    pub(in crate::config) fn add(&mut self, source: Source) -> u16 {
        self.depend(source.text.as_bytes());
        self.files.add(source)
    }

    /// The result depends on these bytes.
    pub(in crate::config) fn depend(&mut self, bytes: &[u8]) {
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// The result depends on what is at this path.
    pub(in crate::config) fn watch(&mut self, path: &Path) {
        if self.known.insert(path.to_owned()) {
            self.watched.push(path.to_owned());
        }
    }

    /// A list that was read from this path before: each file is read once.
    pub(in crate::config) fn list(&self, path: &Path) -> Option<TenantList> {
        self.lists.get(path).cloned()
    }

    /// Keeps the list that was read from this path.
    pub(in crate::config) fn keep_list(&mut self, path: PathBuf, list: TenantList) {
        self.lists.insert(path, list);
    }

    /// Counts a regex, and says whether there may be that many.
    pub(in crate::config) const fn count_regex(&mut self) -> bool {
        self.regexes += 1;
        self.regexes <= REGEXES_MAX
    }

    /// A variable of the environment, which is an input.
    pub(in crate::config) fn variable(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        self.depend(value.as_deref().unwrap_or("\0").as_bytes());
        value
    }

    /// Whether another error would be shown; suggestions need not be sought otherwise.
    pub(in crate::config) const fn listens(&self) -> bool {
        self.diagnostics.errors() < super::diagnostic::KEPT_MAX
    }

    /// How many errors there are so far.
    pub(in crate::config) const fn errors(&self) -> usize {
        self.diagnostics.errors()
    }

    /// Notes something that is wrong.
    pub(in crate::config) fn report(&mut self, finding: Finding) {
        if !self.diagnostics.count(finding.severity) {
            return;
        }
        let Finding { severity, code, message, labels, help } = self.variables.cover(self.with_braces(finding));
        let help = help.map(Cow::into_owned);
        let order = labels.first().map_or((0, 0), |(at, _)| (at.file, if at.is_whole() { 0 } else { at.start }));
        let labels = labels.into_iter().map(|(at, text)| self.label(at, text)).collect();
        self.diagnostics.keep(Diagnostic { severity, code, message, labels, help, order });
    }

    /// Adds a line of help where a string that does not fit has a variable without braces.
    fn with_braces(&self, mut finding: Finding) -> Finding {
        let written = finding.labels.first().map_or("", |(at, _)| self.files.text(*at));
        if finding.severity == Severity::Error
            && finding.code != "syntax"
            && written.starts_with(['"', '\''])
            && let Some(name) = unbraced(written)
        {
            let braces = format!("a variable of the environment is written `${{{name}}}`");
            let help = finding.help.map_or_else(|| braces.clone(), |help| format!("{help}\n{braces}"));
            finding.help = Some(Cow::Owned(help));
        }
        finding
    }

    /// A place as a label, for diagnostics that come later.
    pub(in crate::config) fn label_of(&self, at: Span) -> Label {
        self.label(at, String::new())
    }

    fn label(&self, at: Span, text: String) -> Label {
        let (line, column, excerpt) = self.files.show(at);
        let end = self.files.end(at);
        let span = if at.is_whole() { 0..0 } else { at.start as usize..at.end as usize };
        Label { file: self.files.name(at.file), span, line, column, text, end, excerpt }
    }

    /// Ends the load: the warnings, or everything when there are errors.
    pub(in crate::config) fn end(mut self) -> Result<FinishedLoad, Diagnostics> {
        self.diagnostics.sort();
        if self.diagnostics.iter().any(|d| d.severity == Severity::Error) {
            self.diagnostics.watched = self.watched;
            return Err(self.diagnostics);
        }
        let hash = format!("{:032x}", self.hash.digest128());
        Ok(FinishedLoad { warnings: self.diagnostics, watched: self.watched, hash, in_use: self.in_use })
    }
}

/// The name of a variable that is written without braces.
fn unbraced(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let end =
            rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(rest.len());
        let begins = rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        (begins && end > 1 && !text[..at].ends_with('$')).then(|| &rest[..end])
    })
}

/// What a load leaves besides the rules.
pub(in crate::config) struct FinishedLoad {
    pub(in crate::config) warnings: Diagnostics,
    pub(in crate::config) watched: Vec<PathBuf>,
    pub(in crate::config) hash: String,
    pub(in crate::config) in_use: LastGood,
}
