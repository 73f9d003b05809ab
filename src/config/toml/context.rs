//! The state of one load: files, diagnostics, the environment, and all inputs that the result depends on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ahash::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3;

use super::applied_files::{AppliedFiles, FileUse};
use super::covered::without_secrets;
use super::diagnostic::{Diagnostic, Diagnostics, Finding, Label, Severity};
use super::source::{Files, Source, Span};
use super::variable_masks::VariableMasks;
use crate::route::{SourceLocation, TenantList};
use crate::tls::LastGood;

/// The most regexes in a configuration: each can take a megabyte.
pub(in crate::config) const REGEXES_MAX: usize = 5_000;

/// Looks up the variables of `${NAME}`.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The state of one load.
pub(in crate::config) struct Context<'e> {
    pub(in crate::config) files: Files,
    /// The strings with variables of the environment.
    pub(in crate::config) variables: VariableMasks,
    env: Env<'e>,
    diagnostics: Diagnostics,
    watched: Vec<PathBuf>,
    applied: AppliedFiles,
    /// The only files that this load opens; `None`: it opens every one.
    pub(in crate::config) allowed: Option<&'e AppliedFiles>,
    known: HashSet<PathBuf>,
    lists: HashMap<PathBuf, TenantList>,
    regexes: usize,
    hash: Xxh3,
    /// The same without files of endpoints.
    base_hash: Xxh3,
    /// The same without the texts of the configuration: variables and data files.
    data_hash: Xxh3,
    /// How often something other than the tables of routes was read, written or reported.
    effects: u64,
    /// Where findings point to: file and offset.
    reported: Vec<(u16, u32)>,
    /// The warnings of the route that is compiled, where they are collected.
    of_route: Option<Vec<Finding>>,
    /// How often a part that was not read was needed: then the load is worthless.
    wanted_texts: usize,
    /// Whether the load collects what the next one need not read.
    pub(in crate::config) keeps_routes: bool,
    /// Whether there is an `identity.jwt`.
    pub(in crate::config) has_jwt: bool,
    /// Whether there is an `identity.geo`.
    pub(in crate::config) has_geo: bool,
    /// The identities that requests can have: `tenant` and `user` if `[identity]` says where they are read,
    /// `client_cert` if a listener requests one.
    pub(in crate::config) identified: Vec<&'static str>,
    /// Files in which messages must not repeat long values, since they may be tokens.
    pub(in crate::config) has_secrets: Vec<u16>,
    /// The certificates and authorities of the active configuration, to fall back to.
    pub(in crate::config) last_good: &'e LastGood,
    /// The certificates and authorities of this load.
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
            applied: AppliedFiles::default(),
            allowed: None,
            known,
            lists,
            regexes: 0,
            hash: Xxh3::new(),
            base_hash: Xxh3::new(),
            data_hash: Xxh3::new(),
            effects: 0,
            reported: Vec::new(),
            of_route: None,
            wanted_texts: 0,
            keeps_routes: false,
            has_jwt: false,
            has_geo: false,
            identified: Vec::new(),
            has_secrets: Vec::new(),
            last_good,
            in_use: LastGood::default(),
        }
    }

    /// Adds a file; the result depends on its text.
    pub(in crate::config) fn add(&mut self, source: Source) -> u16 {
        let text = source.text.as_bytes();
        for hash in [&mut self.hash, &mut self.base_hash] {
            add(hash, text);
        }
        self.files.add(source)
    }

    /// Adds bytes that the result depends on to the hash.
    pub(in crate::config) fn depend(&mut self, bytes: &[u8]) {
        self.effects += 1;
        for hash in [&mut self.hash, &mut self.base_hash, &mut self.data_hash] {
            add(hash, bytes);
        }
    }

    /// The variables and data files so far, as a hash.
    pub(in crate::config) fn data_hash(&self) -> u128 {
        self.data_hash.digest128()
    }

    /// How often something other than the tables of routes was read, written or reported.
    pub(in crate::config) const fn effects(&self) -> u64 {
        self.effects
    }

    /// Where findings point to, in no order: file and offset.
    pub(in crate::config) fn take_reported(&mut self) -> Vec<(u16, u32)> {
        std::mem::take(&mut self.reported)
    }

    /// Collects warnings from now on: they are reported, and have no other effect.
    pub(in crate::config) fn collect_warnings(&mut self) {
        debug_assert!(self.of_route.is_none(), "one route is compiled at a time");
        self.of_route = Some(Vec::new());
    }

    /// The warnings that were collected.
    pub(in crate::config) fn take_warnings(&mut self) -> Vec<Finding> {
        self.of_route.take().unwrap_or_default()
    }

    /// Notes that findings point to these places.
    pub(in crate::config) fn note_reported(&mut self, findings: &[Finding]) {
        let places = findings.iter().flat_map(|finding| &finding.labels);
        self.reported.extend(places.map(|(at, _)| (at.file, at.start)));
    }

    /// Reports a warning of a route that is not read; `at_new_place` makes it, where another warning is shown.
    pub(in crate::config) fn repeat_warning(&mut self, at_new_place: impl FnOnce() -> Finding) {
        if self.diagnostics.count(Severity::Warning) {
            self.show(at_new_place());
        }
    }

    /// Notes that a part that was not read is needed.
    pub(in crate::config) const fn want_text(&mut self) {
        self.wanted_texts += 1;
    }

    /// Whether a part that was not read is needed.
    pub(in crate::config) const fn lacks_text(&self) -> bool {
        self.wanted_texts > 0
    }

    /// Adds a file of endpoints, which changes often, to the hash.
    pub(in crate::config) fn depend_on_endpoints(&mut self, bytes: &[u8]) {
        self.effects += 1;
        add(&mut self.hash, bytes);
    }

    /// A path that a file names, relative to its folder.
    pub(in crate::config) fn beside(&self, file: u16, path: &str) -> PathBuf {
        let name = self.files.name(file);
        Path::new(&*name).parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    /// The place of a value, for messages after the load.
    pub(in crate::config) fn location(&self, at: Span) -> SourceLocation {
        SourceLocation { file: self.files.name(at.file), line: self.files.line(at) }
    }

    /// Adds a path that the result depends on.
    pub(in crate::config) fn watch(&mut self, path: &Path) {
        self.effects += 1;
        if self.known.insert(path.to_owned()) {
            self.watched.push(path.to_owned());
        }
    }

    /// Records that the result depends on this file; returns whether it may be opened.
    pub(in crate::config) fn may_open(&mut self, file_use: FileUse, path: &Path) -> bool {
        self.effects += 1;
        self.applied.insert(file_use, path);
        self.allowed.is_none_or(|allowed| allowed.contain(file_use, path))
    }

    /// The list that was already read from this path: each file is read once.
    pub(in crate::config) fn list(&mut self, path: &Path) -> Option<TenantList> {
        self.effects += 1;
        self.lists.get(path).cloned()
    }

    /// Stores the list that was read from this path.
    pub(in crate::config) fn keep_list(&mut self, path: PathBuf, list: TenantList) {
        self.lists.insert(path, list);
    }

    /// Counts a regex; returns whether the limit allows it.
    pub(in crate::config) const fn count_regex(&mut self) -> bool {
        self.regexes += 1;
        self.regexes <= REGEXES_MAX
    }

    /// The number of regexes so far.
    pub(in crate::config) const fn regexes(&self) -> usize {
        self.regexes
    }

    /// Counts the regexes of a route that is not read.
    pub(in crate::config) const fn count_regexes(&mut self, count: usize) {
        self.regexes += count;
        if self.regexes > REGEXES_MAX {
            self.want_text();
        }
    }

    /// Looks up a variable of the environment; the result depends on its value.
    pub(in crate::config) fn variable(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        self.depend(value.as_deref().unwrap_or("\0").as_bytes());
        value
    }

    /// Whether another error would be shown. If not, there is no need to search for suggestions.
    pub(in crate::config) const fn shows_more_errors(&self) -> bool {
        self.diagnostics.errors() < super::diagnostic::KEPT_MAX
    }

    /// The number of errors so far.
    pub(in crate::config) const fn errors(&self) -> usize {
        self.diagnostics.errors()
    }

    /// Adds an error or a warning.
    pub(in crate::config) fn report(&mut self, finding: Finding) {
        match &mut self.of_route {
            Some(collected) if finding.severity == Severity::Warning => collected.push(finding.clone()),
            Some(_) | None => {
                self.effects += 1;
                self.note_reported(std::slice::from_ref(&finding));
            }
        }
        if self.diagnostics.count(finding.severity) {
            self.show(finding);
        }
    }

    /// Keeps a finding that was counted.
    fn show(&mut self, finding: Finding) {
        let Finding { severity, code, message, labels, help, fails_check } =
            self.variables.mask(self.suggest_braces(finding));
        let help = help.map(Cow::into_owned);
        let is_secret = labels.first().is_some_and(|(at, _)| self.has_secrets.contains(&at.file));
        let shown = |text: String| if is_secret { without_secrets(&text) } else { text };
        let (message, help) = (shown(message), help.map(shown));
        let order = labels.first().map_or((0, 0), |(at, _)| (at.file, if at.is_whole() { 0 } else { at.start }));
        let labels = labels.into_iter().map(|(at, text)| self.label(at, text)).collect();
        self.diagnostics.keep(Diagnostic { severity, code, message, labels, help, fails_check, order });
    }

    /// Adds a line of help if an invalid string has a variable without braces.
    fn suggest_braces(&self, mut finding: Finding) -> Finding {
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

    /// The label of a place, for diagnostics after the load.
    pub(in crate::config) fn label_of(&self, at: Span) -> Label {
        self.label(at, String::new())
    }

    fn label(&self, at: Span, text: String) -> Label {
        debug_assert!(at.start <= at.end, "a span ends behind its start");
        let (line, column, excerpt) = self.files.show(at);
        let end = self.files.end(at);
        let span = if at.is_whole() { 0..0 } else { at.start as usize..at.end as usize };
        Label { file: self.files.name(at.file), span, line, column, text, end, excerpt }
    }

    /// Ends the load. Returns all diagnostics as the error if one of them is an error.
    pub(in crate::config) fn end(mut self) -> Result<FinishedLoad, Diagnostics> {
        self.diagnostics.sort();
        if self.diagnostics.iter().any(|d| d.severity == Severity::Error) {
            self.diagnostics.watched = self.watched;
            return Err(self.diagnostics);
        }
        let [hash, base_hash] = [self.hash, self.base_hash].map(|hash| format!("{:032x}", hash.digest128()));
        Ok(FinishedLoad {
            warnings: self.diagnostics,
            watched: self.watched,
            applied: self.applied,
            hash,
            base_hash,
            in_use: self.in_use,
        })
    }
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The name of the first variable without braces.
fn unbraced(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let end =
            rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(rest.len());
        let begins = rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        (begins && end > 1 && !text[..at].ends_with('$')).then(|| &rest[..end])
    })
}

/// The results of a load besides the rules.
pub(in crate::config) struct FinishedLoad {
    pub(in crate::config) warnings: Diagnostics,
    pub(in crate::config) watched: Vec<PathBuf>,
    pub(in crate::config) applied: AppliedFiles,
    pub(in crate::config) hash: String,
    pub(in crate::config) base_hash: String,
    pub(in crate::config) in_use: LastGood,
}
