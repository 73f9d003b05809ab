//! Rings: files of a room must not import each other in a cycle. Each room has a limit for its largest ring, which can
//! only decrease: if the largest ring becomes smaller, the limit must be lowered to its size.
//!
//! A file imports another when it names something that the other defines, by `use` or by a path, however many `pub use`
//! lie between. Tests are left out. Names that are reached through a value alone (a method, a
//! field) are not seen: they need no import.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, closing, words};

/// The largest ring that a room may have, in files. A room that is not named here may have none.
const LIMITS: &[(&str, usize)] = &[("proxy", 2)];

/// The folders of a room, each above those after it.
const ORDER: &[(&str, &[&str])] = &[
    ("config", &["tables", "toml"]),
    (
        "control",
        &[
            "admin",
            "dashboard",
            "files",
            "release",
            "notify",
            "gate",
            "guard",
            "history",
            "health",
            "next_snapshot",
            "resolver",
            "hand_over",
            "system",
        ],
    ),
    ("proxy", &["request", "mirror", "upstream", "body", "downstream", "worker", "wire"]),
    ("route", &["review", "decide", "lookup", "matching"]),
];

/// The longest chain of imports that a name is followed through.
const DEPTH_MAX: usize = 8;

/// A module's path from the crate's root.
type Module = Vec<String>;

/// Rings that are larger than their room's limit, and limits that are larger than their room's largest ring.
pub fn in_rooms(files: &[Source]) -> Vec<String> {
    judge(files, LIMITS)
}

/// Imports from a folder of the same room that comes earlier in [`ORDER`]. Files next to the folders are not checked:
/// they are above some folders and below others.
pub fn against_the_order(files: &[Source]) -> Vec<String> {
    let crate_ = Modules::new(files);
    let mut found = Vec::new();
    for (room, order) in ORDER {
        let names = order.join(", ");
        let place = |at: usize| {
            let name = folder(&files[at]).filter(|name| *name != "tests")?;
            Some(order.iter().position(|known| *known == name))
        };
        let inside = (0..files.len()).filter(|at| files[*at].room() == *room);
        for at in inside.filter(|at| place(*at) == Some(None)) {
            let path = &files[at].path;
            found.push(format!("{path}: its folder has no place among {names}: give it one in tests/tidy/rings.rs"));
        }
        for (from, to) in crate_.arrows_in(room).iter().flat_map(|(from, all)| all.iter().map(move |to| (*from, *to))) {
            if let (Some(Some(here)), Some(Some(there))) = (place(from), place(to))
                && there < here
            {
                let (from, to) = (&files[from].path, &files[to].path);
                found.push(format!(
                    "{from} imports {to}: a folder of src/{room} imports only from those after it ({names}): move what both need down"
                ));
            }
        }
    }
    found
}

/// The folder of its room in which a file lies.
fn folder(file: &Source) -> Option<&str> {
    let (folder, _) = file.path.strip_prefix("src/")?.strip_prefix(file.room())?.strip_prefix('/')?.split_once('/')?;
    Some(folder)
}

fn judge(files: &[Source], limits: &[(&str, usize)]) -> Vec<String> {
    let crate_ = Modules::new(files);
    let mut found = Vec::new();
    let rooms: BTreeSet<&str> = files.iter().map(Source::room).collect();
    for room in rooms {
        let arrows = crate_.arrows_in(room);
        let limit = limits.iter().find(|(name, _)| *name == room).map_or(0, |(_, limit)| *limit);
        let rings = rings(&arrows);
        for ring in rings.iter().filter(|ring| ring.len() > limit) {
            found.push(format!(
                "{} files of src/{room} import each other in a ring, at most {limit}: move what both need into a file below, or take it as an argument{}",
                ring.len(),
                drawn(files, &arrows, ring)
            ));
        }
        let largest = rings.iter().map(Vec::len).max().unwrap_or(0);
        if largest < limit {
            found.push(format!(
                "src/{room}: the largest ring has {largest} files and the limit is {limit}: lower the limit in tests/tidy/rings.rs, so that it does not grow again"
            ));
        }
    }
    found
}

/// A ring's files, with what each imports of it.
fn drawn(files: &[Source], arrows: &BTreeMap<usize, BTreeSet<usize>>, ring: &[usize]) -> String {
    let name = |at: &usize| files[*at].path.as_str();
    let line = |from: &usize| {
        let to: Vec<&str> = arrows[from].iter().filter(|to| ring.contains(to)).map(name).collect();
        format!("\n    {} imports {}", name(from), to.join(", "))
    };
    ring.iter().map(line).collect()
}

/// Groups of two or more files in which each reaches each.
fn rings(arrows: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<Vec<usize>> {
    let reaches: BTreeMap<usize, BTreeSet<usize>> = arrows.keys().map(|from| (*from, reached(arrows, *from))).collect();
    let mut rings: Vec<Vec<usize>> = Vec::new();
    for (from, to) in &reaches {
        if rings.iter().any(|ring| ring.contains(from)) {
            continue;
        }
        let ring: Vec<usize> = to.iter().copied().filter(|to| reaches[to].contains(from)).collect();
        if ring.len() > 1 {
            rings.push(ring);
        }
    }
    rings
}

fn reached(arrows: &BTreeMap<usize, BTreeSet<usize>>, from: usize) -> BTreeSet<usize> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        open.extend(arrows[&at].iter().copied().filter(|to| reached.insert(*to)));
    }
    reached
}

/// The modules of the crate, with what their files import and pass on.
struct Modules<'a> {
    files: &'a [Source],
    by_path: BTreeMap<Module, usize>,
    uses: Vec<Vec<Use>>,
}

/// One name that a `use` brings into a module.
struct Use {
    /// As it is called here; `*` for everything.
    name: String,
    /// Where it is from, as written.
    path: Vec<String>,
    /// `pub use`: others may reach it by this module.
    passes_on: bool,
}

impl<'a> Modules<'a> {
    fn new(files: &'a [Source]) -> Self {
        let by_path = files.iter().enumerate().map(|(at, file)| (module(&file.path), at)).collect();
        Self { files, by_path, uses: files.iter().map(uses).collect() }
    }

    /// What the files of a room import of the room.
    fn arrows_in(&self, room: &str) -> BTreeMap<usize, BTreeSet<usize>> {
        let inside: BTreeSet<usize> = (0..self.files.len()).filter(|at| self.files[*at].room() == room).collect();
        let below = |from: usize| self.imports(from).intersection(&inside).copied().collect();
        inside.iter().map(|from| (*from, below(*from))).collect()
    }

    /// The files that the file at `at` imports. What a `mod.rs` only passes on it does not import.
    fn imports(&self, at: usize) -> BTreeSet<usize> {
        let here = module(&self.files[at].path);
        let door = self.files[at].path.ends_with("/mod.rs");
        let mut found = BTreeSet::new();
        for one in self.uses[at].iter().filter(|one| !(door && one.passes_on)) {
            found.extend(self.defines(&here, &one.path, 0));
        }
        for path in paths(&self.files[at]) {
            found.extend(self.defines(&here, &path, 0));
        }
        found.remove(&at);
        found
    }

    /// The file that defines what `path` names in the module `here`.
    fn defines(&self, here: &Module, path: &[String], depth: usize) -> Option<usize> {
        let mut at = here.clone();
        let mut rest = path;
        let mut seen = 0;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" | "pointsman" if rest.len() == path.len() => at.clear(),
                "super" => drop(at.pop()?),
                "self" => {}
                _ => break,
            }
            (rest, seen) = (others, seen + 1);
        }
        if seen == 0 {
            return self.relative(here, path, depth);
        }
        self.down(&at, rest, depth)
    }

    /// A path that begins with a name: a module of this file, or one that a `use` has brought.
    fn relative(&self, here: &Module, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let child: Module = here.iter().chain([first]).cloned().collect();
        if self.by_path.contains_key(&child) {
            return self.down(&child, rest, depth);
        }
        let brought = self.uses[*self.by_path.get(here)?].iter().find(|one| one.name == *first)?;
        if depth >= DEPTH_MAX {
            return None;
        }
        let whole: Vec<String> = brought.path.iter().chain(rest).cloned().collect();
        self.defines(here, &whole, depth + 1)
    }

    /// Follows `rest` from the module `at` down, through what modules pass on.
    fn down(&self, at: &[String], rest: &[String], depth: usize) -> Option<usize> {
        let file = *self.by_path.get(at)?;
        let Some((first, others)) = rest.split_first() else { return Some(file) };
        let child: Module = at.iter().chain([first]).cloned().collect();
        if self.by_path.contains_key(&child) {
            return self.down(&child, others, depth);
        }
        // Of two modules that pass on everything, the one that defines the name is meant.
        let passed = self.uses[file].iter().filter(|one| one.passes_on && depth < DEPTH_MAX);
        for one in passed.filter(|one| one.name == *first || one.name == "*") {
            let mut path: Vec<String> = one.path.clone();
            if one.name == "*" {
                path.pop();
                path.push(first.clone());
            }
            let absolute = self.absolute(at, &path)?;
            let found = self.down(&[], &absolute, depth + 1)?;
            if one.name != "*" || names(&self.files[found], first) {
                return Some(found);
            }
        }
        Some(file)
    }

    /// A path as written in `here`, from the crate's root. None for one of another crate.
    fn absolute(&self, here: &[String], path: &[String]) -> Option<Module> {
        let mut at = here.to_vec();
        let mut rest = path;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()?),
                "self" => {}
                child => {
                    let child: Module = at.iter().map(String::as_str).chain([child]).map(str::to_owned).collect();
                    if rest.len() == path.len() && !self.by_path.contains_key(&child) {
                        return None;
                    }
                    break;
                }
            }
            rest = others;
        }
        Some(at.into_iter().chain(rest.iter().cloned()).collect())
    }
}

/// Whether `file` defines something of this name.
fn names(file: &Source, name: &str) -> bool {
    words(&file.code, name).any(|at| {
        let before = file.code[..at].trim_end();
        ["fn", "struct", "enum", "union", "trait", "const", "type", "macro_rules!"]
            .iter()
            .any(|item| before.ends_with(item))
    })
}

fn module(path: &str) -> Module {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Module::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// What the `use` lines of a file bring, tests left out.
fn uses(file: &Source) -> Vec<Use> {
    let code = file.code.as_str();
    let mut found = Vec::new();
    for at in words(code, "use").filter(|at| !file.is_test(*at)) {
        let before = code[..at].trim_end();
        // `impl Trait + use<'a>` is no import.
        let Some(end) = code[at..].find(';').map(|end| at + end) else { continue };
        let tree = code[at + "use".len()..end].trim();
        if tree.starts_with('<') {
            continue;
        }
        let line = before.rfind([';', '}', '{']).map_or(0, |end| end + 1);
        let passes_on = words(&code[line..at], "pub").next().is_some();
        spread(&[], tree, &mut |path, name| found.push(Use { name, path, passes_on }));
    }
    found
}

/// Takes a tree of imports apart: each path with the name that it gets.
fn spread(root: &[String], tree: &str, found: &mut impl FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let open = tree.find('{').unwrap_or(tree.len());
    let (stem, rest) = tree.split_at(open);
    let mut path: Vec<String> = root.to_vec();
    if rest.is_empty() {
        let (stem, alias) = stem.split_once(" as ").map_or((stem, None), |(stem, alias)| (stem, Some(alias.trim())));
        path.extend(stem.split("::").map(|part| part.trim().trim_start_matches("r#").to_owned()));
        // `a::{self}` is `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = path.last().cloned().filter(|last| !last.is_empty()) {
            found(path, alias.map_or(last, str::to_owned));
        }
        return;
    }
    path.extend(stem.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let inner = &rest[1..closing(rest, 0) - 1];
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                spread(&path, &inner[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Every path of two or more names in a file's code, `use` and tests left out.
fn paths(file: &Source) -> Vec<Vec<String>> {
    let code = file.code.as_str();
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = code[at..].find(part).map(|next| at + next) {
        let whole =
            code[next..].find(|letter: char| !(part(letter) || letter == ':')).map_or(code.len(), |end| next + end);
        at = whole;
        let path: Vec<String> =
            code[next..whole].split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let line = code[..next].rfind([';', '}', '{']).map_or(0, |end| end + 1);
        let imported = words(&code[line..next], "use").next().is_some();
        if path.len() > 1 && !imported && !file.is_test(next) && !code[..next].ends_with("::") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{against_the_order, judge};
    use crate::source::Source;

    fn found(files: &[(&str, &str)], limit: usize) -> Vec<String> {
        let root = ("src/lib.rs", "pub mod a; pub mod b;");
        let files: Vec<Source> = files.iter().chain([&root]).map(|(path, text)| Source::new(path, text)).collect();
        judge(&files, &[("a", limit)])
    }

    #[test]
    fn rings_are_found() {
        for (one, other) in [
            ("use super::two::Two;", "use super::one::One;"),
            ("use super::Two;", "use crate::a::one::One;"),
            ("use crate::a::{self, two::{Two, Three}};", "fn f(one: super::one::One) {}"),
            ("use super::two; fn f() { two::go() }", "fn f() { crate::a::one::go() }"),
            ("use crate::a; fn f(two: a::two::Two) {}", "use super::{\n    Two,\n    one::{self as first, One},\n};"),
            ("use super::inner::Deep;", "use super::one::go as started;"),
            ("use super::Spread;", "use super::one::One;"),
        ] {
            let door = "mod one; mod two; mod inner;\npub use two::Two;\npub use self::two::*;";
            let deep = "mod below;\npub(super) use super::two::Two as Deep;";
            let other = format!("{other}\npub struct Two;\npub struct Spread;");
            let files = [
                ("src/a/mod.rs", door),
                ("src/a/one.rs", one),
                ("src/a/two.rs", &*other),
                ("src/a/inner/mod.rs", deep),
            ];
            let said = found(&files, 0);
            assert_eq!(said.len(), 1, "{one} {other}: {said:?}");
            assert!(said[0].contains("src/a/one.rs imports src/a/two.rs"), "{}", said[0]);
            assert_eq!(found(&files, 2), [""; 0], "{one} {other}");
        }
    }

    #[test]
    fn a_line_of_imports_is_no_ring() {
        let files = [
            ("src/a/mod.rs", "mod one; mod two; mod three;\npub use one::One;\npub use three::*;"),
            ("src/a/one.rs", "use super::{two, Three};\npub struct One;"),
            (
                "src/a/two.rs",
                "use super::Three; use crate::b::One;\n#[cfg(test)]\nmod tests {\n    use super::super::One;\n}",
            ),
            ("src/a/three.rs", "// super::one::One\npub struct Three;\nfn f() { \"super::one\"; Self::One; } "),
            ("src/b.rs", "use crate::a::One;"),
        ];
        assert_eq!(found(&files, 0), [""; 0]);
    }

    #[test]
    fn a_file_that_passes_a_name_on_imports_it() {
        let files = [
            ("src/a/mod.rs", "mod one; mod two;"),
            ("src/a/one.rs", "pub use super::two::Two;"),
            ("src/a/two.rs", "use super::one::One;"),
        ];
        assert_eq!(found(&files, 0).len(), 1);
    }

    #[test]
    fn an_import_from_a_folder_before_is_found() {
        let look = |files: &[(&str, &str)]| {
            let files: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
            against_the_order(&files)
        };
        let fine = [
            ("src/lib.rs", "pub mod config;"),
            ("src/config/mod.rs", "mod roof; mod tables; mod toml;\npub use tables::Route;"),
            ("src/config/roof.rs", "use super::tables::route::Route;"),
            ("src/config/tables/mod.rs", "mod route;\npub use route::Route;"),
            ("src/config/tables/route.rs", "use crate::config::toml::reader::Reader; use super::super::roof;"),
            ("src/config/toml/mod.rs", "mod reader;"),
            ("src/config/toml/reader.rs", "use crate::config::roof::Roof;"),
        ];
        assert_eq!(look(&fine), [""; 0]);
        for (path, text) in [
            ("src/config/toml/item.rs", "use crate::config::{tables::route::Route, roof};"),
            ("src/config/toml/item.rs", "fn f(route: super::super::Route) {}"),
            ("src/config/toml/deep/item.rs", "use super::super::super::tables::Route;"),
            ("src/config/attic/thing.rs", ""),
        ] {
            let folders = [("src/config/toml/deep/mod.rs", "mod item;"), (path, text)];
            let said = look(&[&fine[..], &folders].concat());
            assert!(said.len() == 1 && said[0].starts_with(path), "{path} {text}: {said:?}");
        }
    }

    #[test]
    fn a_limit_falls_with_the_ring() {
        let files = [
            ("src/a/mod.rs", "mod one; mod two;"),
            ("src/a/one.rs", "use super::two::Two;"),
            ("src/a/two.rs", "use super::one::One;"),
        ];
        assert!(found(&files, 3)[0].contains("lower the limit"), "{:?}", found(&files, 3));
    }
}
