//! Lists of tenants and users: inline, or in a file with one name per line.

use std::path::Path;
use std::sync::Arc;

use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::source::{Source, Span, offset};
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, required};
use crate::route::TenantList;

/// The longest name of a tenant or a user.
const NAME_BYTES_MAX: usize = 1024;

/// `{ file = … }`.
pub(in crate::config) const FILE: TableSpec = TableSpec {
    title: "a list in a file",
    doc: "A file with one name per line; `#` begins a comment. It is watched for changes.",
    keys: &[required("file", Shape::Text, "Path of the file, relative to the file that names it.")],
    later: &[],
};

/// Reads a list.
pub(in crate::config) fn list(context: &mut Context<'_>, item: &Item<'_>) -> Option<TenantList> {
    if item.is_table() {
        let reader = item.table(context, &FILE)?;
        let path = reader.require(context, "file").and_then(|item| item.shown_text(context));
        reader.finish(context);
        return from_file(context, &path?);
    }
    let items = item.not_empty(context);
    let mut names: Vec<Box<str>> = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = item.text(context) else { continue };
        if text.is_empty() {
            context.report(Finding::error("empty-name", text.span, "an empty name matches no caller"));
        }
        names.push((*text).into());
    }
    Some(TenantList::new(names))
}

fn from_file(context: &mut Context<'_>, written: &SpannedString<'_>) -> Option<TenantList> {
    let base = context.files.name(written.span.file);
    let path = Path::new(&*base).parent().unwrap_or_else(|| Path::new("")).join(&**written);
    if let Some(list) = context.list(&path) {
        return Some(list);
    }
    context.watch(&path);
    let bytes = match read::opened(context, FileUse::Tenants, &path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            context.report(Finding::error("unreadable", written.span, message));
            return None;
        }
    };
    context.depend(&bytes);
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let list = parse(context, &path, text);
            context.keep_list(path, list.clone());
            Some(list)
        }
        Err(error) => {
            let at = error.valid_up_to();
            let line = memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1;
            let message = format!("`{}` is not UTF-8 at line {line} (byte {at})", path.display());
            context.report(Finding::error("not-utf8", written.span, message));
            None
        }
    }
}

fn parse(context: &mut Context<'_>, path: &Path, text: &str) -> TenantList {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut names: Vec<Box<str>> = Vec::new();
    let mut bad = Vec::new();
    for line in text.lines() {
        let name = line.trim();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        if name.len() > NAME_BYTES_MAX || name.contains(|c: char| c.is_control()) {
            bad.push(name);
        }
        names.push(name.into());
    }
    if !bad.is_empty() {
        let name: Arc<str> = path.to_string_lossy().into();
        let file = context.files.add(Source { name, text: text.into() });
        for name in bad {
            let start = offset(name.as_ptr() as usize - text.as_ptr() as usize);
            debug_assert!(start as usize + name.len() <= text.len(), "the name is a part of the text");
            let at = Span { file, start, end: start + offset(name.len()) };
            let message =
                format!("this is not a name: names have at most {NAME_BYTES_MAX} bytes and no control characters");
            context.report(Finding::error("bad-tenant", at, message));
        }
    }
    TenantList::new(names)
}
