//! Names of upstreams, segments, routes and rollouts: where they are defined, and which are used.

use std::borrow::Cow;

use ahash::HashMap;

use super::context::Context;
use super::diagnostic::Finding;
use super::source::Span;
use super::spanned_string::SpannedString;
use super::suggest::did_you_mean;
use super::value;

/// The type of the objects that have the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum NameKind {
    Upstream,
    Segment,
    Route,
    Rollout,
}

impl NameKind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Segment => "segment",
            Self::Route => "route",
            Self::Rollout => "rollout",
        }
    }

    /// The code of the warning for an unused name. A route is never unused; a rollout that no route uses has a warning of
    /// its own.
    const fn unused(self) -> Option<&'static str> {
        match self {
            Self::Upstream => Some("unused-upstream"),
            Self::Segment => Some("unused-segment"),
            Self::Route | Self::Rollout => None,
        }
    }

    const fn unknown(self) -> &'static str {
        match self {
            Self::Upstream => "unknown-upstream",
            Self::Segment => "unknown-segment",
            Self::Route => "unknown-route",
            Self::Rollout => "unknown-rollout",
        }
    }
}

/// All names of one kind, in the order of the files.
#[derive(Debug)]
pub(in crate::config) struct Registry<'d> {
    kind: NameKind,
    numbers: HashMap<Cow<'d, str>, u32>,
    names: Vec<(Cow<'d, str>, Span, bool)>,
    /// The numbers that were found since the last [`Self::take_found`].
    found: Vec<u32>,
}

impl<'d> Registry<'d> {
    /// An empty registry with capacity for `count` names.
    pub(in crate::config) fn new(kind: NameKind, count: usize) -> Self {
        let numbers = HashMap::with_capacity_and_hasher(count, ahash::RandomState::default());
        Self { kind, numbers, names: Vec::with_capacity(count), found: Vec::new() }
    }

    /// Defines a name. Its number is the count of the names before it.
    pub(in crate::config) fn define(&mut self, context: &mut Context<'_>, name: Cow<'d, str>, at: Span) {
        value::name(context, &name, at);
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        match self.numbers.get(&name) {
            Some(first) => {
                let message = format!("{} `{name}` is defined twice", self.kind.noun());
                let finding = Finding::error("duplicate-name", at, message).label("and again here");
                context.report(finding.also(self.names[*first as usize].1, "first defined here"));
            }
            None => {
                self.numbers.insert(name.clone(), number);
            }
        }
        self.names.push((name, at, false));
        debug_assert!(self.numbers.len() <= self.names.len(), "every number has a name");
    }

    /// Takes a number for an object without a name.
    pub(in crate::config) fn define_nameless(&mut self, at: Span) {
        self.names.push((Cow::Borrowed(""), at, true));
    }

    /// The number of a name; reports an error if the name is not defined.
    pub(in crate::config) fn find(&mut self, context: &mut Context<'_>, name: &SpannedString<'_>) -> Option<u32> {
        if let Some(number) = self.numbers.get(&**name) {
            debug_assert!((*number as usize) < self.names.len(), "numbers are dense");
            self.names[*number as usize].2 = true;
            self.found.push(*number);
            return Some(*number);
        }
        let message = format!("there is no {} `{}`", self.kind.noun(), &**name);
        let help = context.shows_more_errors().then(|| self.help(name)).flatten();
        context.report(Finding::error(self.kind.unknown(), name.span, message).maybe_help(help));
        None
    }

    fn help(&self, name: &str) -> Option<String> {
        let names = || self.names.iter().map(|(name, ..)| &**name).filter(|name| !name.is_empty());
        if self.kind == NameKind::Upstream && name.contains("://") {
            let help = "this must be the name of an upstream: write `[upstream.NAME]` with the URL in `endpoints`, and NAME here";
            return Some(help.to_owned());
        }
        if self.kind == NameKind::Rollout && self.names.is_empty() {
            return Some("there is no `[rollout.NAME]`".to_owned());
        }
        did_you_mean(name, names()).or_else(|| {
            let known: Vec<_> = names().take(8).map(|name| format!("`{name}`")).collect();
            (1..8).contains(&known.len()).then(|| format!("there is {}", known.join(", ")))
        })
    }

    /// The numbers that were found since the last call.
    pub(in crate::config) fn take_found(&mut self) -> Box<[u32]> {
        if self.found.is_empty() { Box::default() } else { std::mem::take(&mut self.found).into() }
    }

    /// Marks names as used by their numbers.
    pub(in crate::config) fn mark_used(&mut self, numbers: &[u32]) {
        for number in numbers {
            debug_assert!((*number as usize) < self.names.len(), "numbers are dense");
            if let Some(name) = self.names.get_mut(*number as usize) {
                name.2 = true;
            }
        }
    }

    /// The place where a name is defined.
    pub(in crate::config) fn place(&self, number: u32) -> Option<Span> {
        self.names.get(number as usize).map(|(_, at, _)| *at)
    }

    /// Warns of names that are not used.
    pub(in crate::config) fn warn_unused(&self, context: &mut Context<'_>) {
        let Some(code) = self.kind.unused() else { return };
        for (name, at, _) in self.names.iter().filter(|(_, _, used)| !used) {
            let message = format!("{} `{name}` is never used", self.kind.noun());
            context.report(Finding::warning(code, *at, message));
        }
    }
}
