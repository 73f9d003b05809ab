//! Loading: reads the file and all that it includes, parses and compiles.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::{self, Compiled, FILE};
use super::read;
use super::read::ReadError;
use super::tables::route_test::RouteTest;
use super::toml::context::{Context, Env, FinishedLoad};
use super::toml::diagnostic::{Diagnostics, Finding};
use super::toml::document::Document;
use super::toml::reader::Reader;
use super::toml::source::{Source, Span};
use super::toml::spanned_string::SpannedString;
use crate::identity::IdentityProviders;
use crate::route::{EffectiveConfig, Overlay, Rules};
use crate::tls::{LastGood, Server};

/// How many files may be included.
const INCLUDED_MAX: usize = 1_000;

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files mean.
    pub rules: Rules,
    /// Their weights and kills.
    pub overlay: Overlay,
    /// What the listeners present under TLS, in their order; nothing for those that speak cleartext.
    pub tls: Vec<Option<Arc<Server>>>,
    /// Who can tell more about callers: keys for tokens, a database of countries.
    pub identity_providers: IdentityProviders,
    /// What is allowed but probably not meant.
    pub warnings: Diagnostics,
    /// All that the result depends on: files, directories of globs, lists of tenants.
    pub watched: Vec<PathBuf>,
    /// tables::certificate_pairs::H3-128 over all inputs in order, in hex.
    pub hash: String,
    /// The `[[test]]` tables.
    pub tests: Vec<RouteTest>,
    /// What a later load falls back to once this one has taken effect.
    pub in_use: LastGood,
}

impl Loaded {
    /// What is in force as the files say.
    #[must_use]
    pub const fn effective(&self) -> EffectiveConfig<'_> {
        EffectiveConfig { rules: &self.rules, overlay: &self.overlay }
    }
}

/// Loads a file and all that it includes.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(path: &Path, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    load_keeping(path, env, &LastGood::default())
}

/// Loads like [`load`]. A certificate whose new file does not hold is kept as it was last good, with a warning. Like
/// every load it has no effect: [`Loaded::in_use`] is `last_good` for the next one when what was loaded is in use.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_keeping(path: &Path, env: Env<'_>, last_good: &LastGood) -> Result<Loaded, Diagnostics> {
    let mut context = Context::new(env, last_good);
    context.watch(path);
    let name: Arc<str> = path.to_string_lossy().into();
    let source = source(&mut context, path, name, None);
    finish(context, source)
}

/// Loads one text; what it includes is read from the disk, from where its name says it is.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_text(name: &str, text: &str, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    let last_good = LastGood::default();
    let context = Context::new(env, &last_good);
    finish(context, Some(Source { name: name.into(), text: text.into() }))
}

/// Loads what can be read, such as standard input; what it includes is read from where its name says it is.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_input(name: &str, input: impl Read, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    let last_good = LastGood::default();
    let mut context = Context::new(env, &last_good);
    let source = text(&mut context, read::all(input, read::FILE_BYTES_MAX), name.into(), None);
    finish(context, source)
}

fn finish(mut context: Context<'_>, source: Option<Source>) -> Result<Loaded, Diagnostics> {
    let compiled = source.and_then(|source| compile_all(&mut context, source));
    let ended = context.end()?;
    match compiled {
        Some(Compiled { rules, overlay, tls, identity_providers, tests }) => {
            let FinishedLoad { warnings, watched, hash, in_use } = ended;
            Ok(Loaded { rules, overlay, tls, identity_providers, warnings, watched, hash, tests, in_use })
        }
        None => Err(ended.warnings),
    }
}

fn compile_all(context: &mut Context<'_>, source: Source) -> Option<Compiled> {
    let text = Arc::clone(&source.text);
    let path = PathBuf::from(&*source.name);
    let file = context.add(source);
    let root = Document::parse(context, &FILE, file, &text)?;
    let included = included(context, &root, &path);
    let mut documents = vec![root];
    let mut broken = false;
    for (file, text) in &included {
        match Document::parse(context, &FILE, *file, text) {
            Some(document) => documents.push(document),
            None => broken = true,
        }
    }
    if broken { None } else { compile::compile(context, &documents) }
}

/// Reads what `include` names.
fn included(context: &mut Context<'_>, root: &Document<'_>, path: &Path) -> Vec<(u16, Arc<str>)> {
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut known: Vec<PathBuf> = path.canonicalize().into_iter().collect();
    let mut all = Vec::new();
    for item in Reader::root(root, &FILE).get("include").map(|item| item.one_or_more()).unwrap_or_default() {
        let Some(pattern) = item.shown_text(context) else { continue };
        for path in found(context, base, &pattern) {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            if known.contains(&canonical) {
                if !pattern.contains(['*', '?']) {
                    let message = format!("`{}` is read already", path.display());
                    context.report(Finding::error("included-twice", pattern.span, message));
                }
                continue;
            }
            known.push(canonical);
            if all.len() >= INCLUDED_MAX {
                let message = format!("more than {INCLUDED_MAX} files are included");
                context.report(Finding::error("too-many", pattern.span, message));
                return all;
            }
            context.watch(&path);
            let name: Arc<str> = path.to_string_lossy().into();
            if let Some(source) = source(context, &path, name, Some(pattern.span)) {
                let text = Arc::clone(&source.text);
                all.push((context.add(source), text));
            }
        }
    }
    all
}

fn found(context: &mut Context<'_>, base: &Path, pattern: &SpannedString<'_>) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?']) {
        return vec![base.join(&**pattern)];
    }
    let found = read::glob(base, pattern);
    for directory in &found.directories {
        context.watch(if directory.as_os_str().is_empty() { Path::new(".") } else { directory });
    }
    if found.files.is_empty() {
        let message = format!("`{}` fits no file", &**pattern);
        let finding = Finding::warning("nothing-included", pattern.span, message);
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        context.report(finding.help(format!("it was looked for in `{}`", base.display())));
    }
    found.files
}

/// Reads a file as text; what is wrong is reported at `at`, or at the file itself.
fn source(context: &mut Context<'_>, path: &Path, name: Arc<str>, at: Option<Span>) -> Option<Source> {
    text(context, read::bytes(path), name, at)
}

/// What was read as text.
fn text(
    context: &mut Context<'_>,
    read: Result<Vec<u8>, ReadError>,
    name: Arc<str>,
    at: Option<Span>,
) -> Option<Source> {
    let empty = |context: &mut Context<'_>| {
        let source = Source { name: Arc::clone(&name), text: "".into() };
        at.unwrap_or_else(|| Span::whole(context.files.add(source)))
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            let at = empty(context);
            context.report(Finding::error("unreadable", at, format!("cannot read `{name}`: {error}")));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source { name, text: text.into() }),
        Err(error) => {
            let upto = error.utf8_error().valid_up_to();
            let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..upto]).count() + 1;
            let at = empty(context);
            let message = format!("`{name}` is not UTF-8 at line {line} (byte {upto})");
            context.report(Finding::error("not-utf8", at, message).help("save it as UTF-8"));
            None
        }
    }
}
