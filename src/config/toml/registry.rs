//! Names that are defined in one place and referred to in others.

use std::borrow::Cow;

use ahash::HashMap;

use super::context::Context;
use super::diagnostic::Finding;
use super::source::Span;
use super::spanned_string::SpannedString;
use super::suggest::did_you_mean;
use super::value;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum NameKind {
    Upstream,
    Segment,
    Route,
}

impl NameKind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Segment => "segment",
            Self::Route => "route",
        }
    }

    /// The code of a warning that nobody refers to it; nobody needs to refer to a route.
    const fn unused(self) -> Option<&'static str> {
        match self {
            Self::Upstream => Some("unused-upstream"),
            Self::Segment => Some("unused-segment"),
            Self::Route => None,
        }
    }

    const fn unknown(self) -> &'static str {
        match self {
            Self::Upstream => "unknown-upstream",
            Self::Segment => "unknown-segment",
            Self::Route => "unknown-route",
        }
    }
}

/// All names of one kind, in the order of the files.
#[derive(Debug)]
pub(in crate::config) struct Registry<'d> {
    kind: NameKind,
    numbers: HashMap<Cow<'d, str>, u32>,
    names: Vec<(Cow<'d, str>, Span, bool)>,
}

impl<'d> Registry<'d> {
    /// For `count` names.
    pub(in crate::config) fn new(kind: NameKind, count: usize) -> Self {
        let numbers = HashMap::with_capacity_and_hasher(count, ahash::RandomState::default());
        Self { kind, numbers, names: Vec::with_capacity(count) }
    }

    /// Defines a name; its number is the count of those before it.
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
    }

    /// Takes a number for something whose name is missing.
    pub(in crate::config) fn define_nameless(&mut self, at: Span) {
        self.names.push((Cow::Borrowed(""), at, true));
    }

    /// The number of a name, or an error.
    pub(in crate::config) fn find(&mut self, context: &mut Context<'_>, name: &SpannedString<'_>) -> Option<u32> {
        if let Some(number) = self.numbers.get(&**name) {
            self.names[*number as usize].2 = true;
            return Some(*number);
        }
        let message = format!("there is no {} `{}`", self.kind.noun(), &**name);
        let help = context.listens().then(|| self.help(name)).flatten();
        context.report(Finding::error(self.kind.unknown(), name.span, message).maybe_help(help));
        None
    }

    fn help(&self, name: &str) -> Option<String> {
        let names = || self.names.iter().map(|(name, ..)| &**name).filter(|name| !name.is_empty());
        if self.kind == NameKind::Upstream && name.contains("://") {
            let help = "an upstream is named here: write `[upstream.NAME]` with the URL in `endpoints`, and NAME here";
            return Some(help.to_owned());
        }
        did_you_mean(name, names()).or_else(|| {
            let known: Vec<_> = names().take(8).map(|name| format!("`{name}`")).collect();
            (1..8).contains(&known.len()).then(|| format!("there is {}", known.join(", ")))
        })
    }

    /// Where a name was defined.
    pub(in crate::config) fn place(&self, number: u32) -> Option<Span> {
        self.names.get(number as usize).map(|(_, at, _)| *at)
    }

    /// Warns of names that nobody refers to.
    pub(in crate::config) fn warn_unused(&self, context: &mut Context<'_>) {
        let Some(code) = self.kind.unused() else { return };
        for (name, at, _) in self.names.iter().filter(|(_, _, used)| !used) {
            let message = format!("{} `{name}` is never used", self.kind.noun());
            context.report(Finding::warning(code, *at, message));
        }
    }
}
