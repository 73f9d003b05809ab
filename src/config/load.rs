//! Loads a configuration: reads the file and its includes, parses and compiles them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::{self, Compiled, FILE};
use super::compile_routes::ReadFile;
use super::kept::KeptRoutes;
use super::read;
use super::read::ReadError;
use super::tables::route_test::RouteTest;
use super::toml::applied_files::{AppliedFiles, FileUse};
use super::toml::context::{Context, Env, FinishedLoad};
use super::toml::diagnostic::{Diagnostics, Finding};
use super::toml::document::Document;
use super::toml::pieces::TextPieces;
use super::toml::reader::Reader;
use super::toml::source::{Source, Span};
use super::toml::spanned_string::SpannedString;
use crate::identity::IdentityProviders;
use crate::route::{EffectiveConfig, FileKills, Overlay, Rules};
use crate::tls::{LastGood, Server};

/// The most included files.
const INCLUDED_MAX: usize = 1_000;

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The compiled rules.
    pub rules: Rules,
    /// The weights and kills of the files.
    pub overlay: Overlay,
    /// What the files kill, with its places.
    pub kills: FileKills,
    /// The TLS configuration of the admin listener; `None` for cleartext.
    pub admin_tls: Option<Arc<Server>>,
    /// The TLS configurations of the listeners, in their order; `None` for cleartext listeners.
    pub tls: Vec<Option<Arc<Server>>>,
    /// The identity providers: keys for tokens, a database of countries.
    pub identity_providers: IdentityProviders,
    /// The warnings.
    pub warnings: Diagnostics,
    /// The paths that the result depends on: files, directories of globs, lists of tenants.
    pub watched: Vec<PathBuf>,
    /// The files that were read, with their uses.
    pub applied: AppliedFiles,
    /// XXH3-128 of all inputs in order, in hex.
    pub hash: String,
    /// The same without the files of endpoints.
    pub base_hash: String,
    /// The `[[test]]` tables.
    pub tests: Vec<RouteTest>,
    /// The certificates and authorities that the next load can fall back to.
    pub in_use: LastGood,
}

impl Loaded {
    /// Rules and overlay together.
    #[must_use]
    pub const fn effective(&self) -> EffectiveConfig<'_> {
        EffectiveConfig { rules: &self.rules, overlay: &self.overlay }
    }
}

/// Loads a file and its includes.
///
/// # Errors
/// All errors and warnings.
pub fn load(path: &Path, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    load_keeping(path, env, &LastGood::default())
}

/// Loads like [`load`]. If the new file of a certificate is invalid, the last good certificate stays in use, with a
/// warning. When the result takes effect, its [`Loaded::in_use`] is the `last_good` of the next load.
///
/// # Errors
/// All errors and warnings.
pub fn load_keeping(path: &Path, env: Env<'_>, last_good: &LastGood) -> Result<Loaded, Diagnostics> {
    let mut context = Context::new(env, last_good);
    let source = open(&mut context, path);
    finish(context, source)
}

/// Loads like [`load_keeping`], and collects what the next load need not read.
pub(super) fn load_collecting(
    path: &Path,
    env: Env<'_>,
    last_good: &LastGood,
) -> Result<(Loaded, Option<KeptRoutes>), Diagnostics> {
    let mut context = Context::new(env, last_good);
    context.keeps_routes = true;
    let compiled = open(&mut context, path).and_then(|source| compile_all(&mut context, source, None));
    end(context, compiled)
}

/// Loads like [`load_collecting`], and reads only what is not in `last`; `None`: all has to be read.
pub(super) fn load_changed(
    path: &Path,
    env: Env<'_>,
    last_good: &LastGood,
    last: &KeptRoutes,
) -> Option<(Loaded, Option<KeptRoutes>)> {
    let mut context = Context::new(env, last_good);
    context.keeps_routes = true;
    let source = open(&mut context, path)?;
    let compiled = compile_all(&mut context, source, Some(last))?;
    if context.lacks_text() || context.errors() > 0 {
        return None;
    }
    end(context, Some(compiled)).ok()
}

/// Reads the root file.
fn open(context: &mut Context<'_>, path: &Path) -> Option<Source> {
    context.watch(path);
    let name: Arc<str> = path.to_string_lossy().into();
    to_source(context, read::bytes(path), name, None)
}

/// Loads a text. Its includes are read from the disk, relative to `name`.
///
/// # Errors
/// All errors and warnings.
pub fn load_text(name: &str, text: &str, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    let last_good = LastGood::default();
    let context = Context::new(env, &last_good);
    finish(context, Some(Source { name: name.into(), text: text.into() }))
}

/// Loads a text that someone sends. It opens only files that the running configuration uses in the same way.
///
/// # Errors
/// All errors and warnings.
pub fn load_edit(name: &str, text: &str, env: Env<'_>, running: &AppliedFiles) -> Result<Loaded, Diagnostics> {
    let last_good = LastGood::default();
    let mut context = Context::new(env, &last_good);
    context.allowed = Some(running);
    finish(context, Some(Source { name: name.into(), text: text.into() }))
}

/// Loads from a reader, such as standard input. Its includes are read from the disk, relative to `name`.
///
/// # Errors
/// All errors and warnings.
pub fn load_input(name: &str, input: impl Read, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    let last_good = LastGood::default();
    let mut context = Context::new(env, &last_good);
    let source = to_source(&mut context, read::all(input, read::FILE_BYTES_MAX), name.into(), None);
    finish(context, source)
}

fn finish(mut context: Context<'_>, source: Option<Source>) -> Result<Loaded, Diagnostics> {
    let compiled = source.and_then(|source| compile_all(&mut context, source, None));
    end(context, compiled).map(|(loaded, _)| loaded)
}

fn end(context: Context<'_>, compiled: Option<Compiled>) -> Result<(Loaded, Option<KeptRoutes>), Diagnostics> {
    let ended = context.end()?;
    match compiled {
        Some(Compiled { rules, overlay, kills, admin_tls, tls, identity_providers, tests, kept }) => {
            let FinishedLoad { warnings, watched, applied, hash, base_hash, in_use } = ended;
            let loaded = Loaded {
                rules,
                overlay,
                kills,
                admin_tls,
                tls,
                identity_providers,
                warnings,
                watched,
                applied,
                hash,
                base_hash,
                tests,
                in_use,
            };
            Ok((loaded, kept))
        }
        None => Err(ended.warnings),
    }
}

fn compile_all(context: &mut Context<'_>, source: Source, last: Option<&KeptRoutes>) -> Option<Compiled> {
    let text = Arc::clone(&source.text);
    let path = PathBuf::from(&*source.name);
    let file = context.add(source);
    let of_file = |at: usize| last.map(|last| LastFile { last, at });
    let root = parse(context, file, &text, of_file(0))?;
    let included = read_included(context, &root.document, &path);
    let mut files = vec![root];
    let mut broken = false;
    for ((file, text), at) in included.iter().zip(1..) {
        match parse(context, *file, text, of_file(at)) {
            Some(read) => files.push(read),
            None => broken = true,
        }
    }
    if broken { None } else { compile::compile(context, &files, last) }
}

/// A file of the last load.
#[derive(Clone, Copy)]
struct LastFile<'d> {
    last: &'d KeptRoutes,
    /// Its position among the files.
    at: usize,
}

impl LastFile<'_> {
    /// Whether the tables beside the routes are the same.
    fn has_same_rest(&self, name: &str, pieces: &TextPieces) -> bool {
        self.last.files.get(self.at).is_some_and(|(known, rest)| **known == *name && *rest == pieces.rest)
    }
}

/// Parses a file; of one that is known what is new in it.
fn parse<'d>(context: &mut Context<'_>, file: u16, text: &'d str, last: Option<LastFile<'d>>) -> Option<ReadFile<'d>> {
    let pieces = if context.keeps_routes { TextPieces::of(text) } else { None };
    let Some(known) = last else {
        let document = Document::parse(context, &FILE, file, text)?;
        let whole = 0..text.len();
        let whole = std::slice::from_ref(&whole);
        let pieces = pieces.filter(|pieces| pieces.has_headers(document.headers(), whole));
        let kept = vec![None; pieces.as_ref().map_or(0, |pieces| pieces.routes.len())];
        return Some(ReadFile { document, pieces, kept });
    };
    let pieces = pieces.filter(|pieces| known.has_same_rest(&context.files.name(file), pieces))?;
    let kept = known.last.find_all(&pieces.routes);
    let parts = pieces.parts_without(text, kept.iter().map(Option::is_some));
    let document = Document::parse_parts(file, text, &parts)?;
    let is_split = pieces.has_headers(document.headers(), &parts);
    is_split.then_some(ReadFile { document, pieces: Some(pieces), kept })
}

/// Reads the files of `include`.
fn read_included(context: &mut Context<'_>, root: &Document<'_>, path: &Path) -> Vec<(u16, Arc<str>)> {
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut known: Vec<PathBuf> = path.canonicalize().into_iter().collect();
    let mut all = Vec::new();
    for item in Reader::root(root, &FILE).get("include").map(|item| item.one_or_more()).unwrap_or_default() {
        let Some(pattern) = item.shown_text(context) else { continue };
        let is_glob = is_glob(&pattern);
        for path in matching_files(context, base, &pattern) {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            if known.contains(&canonical) {
                if !is_glob {
                    let message = format!("`{}` is already included", path.display());
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
            // All files of a pattern that may be opened may be opened.
            let may_open = context.may_open(FileUse::Included, &path) || is_glob;
            let read = if may_open { read::bytes(&path) } else { Err(ReadError::NotApplied) };
            if let Some(source) = to_source(context, read, name, Some(pattern.span)) {
                let text = Arc::clone(&source.text);
                debug_assert!(all.len() < INCLUDED_MAX, "further files are refused above");
                all.push((context.add(source), text));
            }
        }
    }
    all
}

/// The files of one `include`; warns if a glob matches none.
fn matching_files(context: &mut Context<'_>, base: &Path, pattern: &SpannedString<'_>) -> Vec<PathBuf> {
    if !is_glob(pattern) {
        return vec![base.join(&**pattern)];
    }
    if !context.may_open(FileUse::Pattern, &base.join(&**pattern)) {
        let message = format!("`{}` is not searched: {}", &**pattern, read::NOT_APPLIED);
        context.report(Finding::error("unreadable", pattern.span, message));
        return Vec::new();
    }
    let found = read::glob(base, pattern);
    for directory in &found.directories {
        context.watch(if directory.as_os_str().is_empty() { Path::new(".") } else { directory });
    }
    if found.files.is_empty() {
        let message = format!("`{}` matches no file", &**pattern);
        let finding = Finding::warning("nothing-included", pattern.span, message);
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        context.report(finding.help(format!("searched in `{}`", base.display())));
    }
    found.files
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Converts the bytes of a file to text. Reports errors at `at`, or else for the file as a whole.
fn to_source(
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
            let end = error.utf8_error().valid_up_to();
            let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..end]).count() + 1;
            let at = empty(context);
            let message = format!("`{name}` is not UTF-8 at line {line} (byte {end})");
            context.report(Finding::error("not-utf8", at, message).help("save the file as UTF-8"));
            None
        }
    }
}
