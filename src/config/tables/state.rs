//! `[state]`: the folder of the journal and of the admin socket. `check` does not touch it: whether it can be written
//! is seen at the start, and is never an error then.

use std::path::PathBuf;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{Shape, TableSpec, default};
use crate::route::StateSpec;

/// `[state]`.
pub(in crate::config) const STATE: TableSpec = TableSpec {
    title: "[state]",
    doc: "What survives a restart: the journal of every change, and kills by people.",
    keys: &[default(
        "dir",
        Shape::Text,
        "\"state\"",
        "Folder of the journal, the lock and the admin socket, relative to the file that names it; a change needs a \
         restart.",
    )],
    later: &[],
};

/// The state folder, and where the files name it.
pub(in crate::config) struct CompiledState {
    pub(in crate::config) spec: StateSpec,
    /// The value of `dir`; without one, the whole file.
    pub(in crate::config) at: Span,
}

/// Compiles `[state]`. `root` is the first file as a whole; the default folder is beside it.
pub(in crate::config) fn state(context: &mut Context<'_>, reader: Option<&Reader<'_>>, root: Span) -> CompiledState {
    let beside = |context: &Context<'_>| context.beside(root.file, "state");
    let Some(reader) = reader else { return CompiledState { spec: StateSpec { dir: beside(context) }, at: root } };
    let dir = reader.shown_text(context, "dir");
    reader.finish(context);
    let Some(dir) = dir else { return CompiledState { spec: StateSpec { dir: beside(context) }, at: root } };
    if dir.is_empty() || dir.contains('\0') {
        let finding = Finding::error("bad-path", dir.span, "`dir` must be the path of a folder");
        context.report(finding.help("write `dir = \"/var/lib/pointsman\"`, or a path relative to this file"));
    }
    let path: PathBuf = context.beside(dir.span.file, &dir);
    CompiledState { spec: StateSpec { dir: path }, at: dir.span }
}
