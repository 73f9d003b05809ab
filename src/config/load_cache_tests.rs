//! A load that leaves out what has not changed has the same result as one that reads all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Method;
use proptest::prelude::*;

use super::{Diagnostics, LoadCache, Loaded, load_keeping};
use crate::fields::Fields;
use crate::route::{Index, RequestHead, Rules};
use crate::tls::LastGood;

/// The tables beside the routes.
const HEAD: &str = "\
schema = 1
include = 'more-*.toml'
[[listener]]
name = 'web'
address = '127.0.0.1:0'
[identity]
tenant = 'header:x-tenant'
[segment.staff]
cidr = '10.20.0.0/16'
[segment.idle]
cidr = '10.21.0.0/16'
[upstream.a]
endpoints = 'http://10.0.0.1'
[upstream.b]
endpoints = 'http://10.0.0.2'
revision = '1'
[upstream.c]
endpoints = 'http://10.0.0.3'
[rollout.roll]
[[rollout.roll.stage]]
name = 'beta'
weight = 10
min_duration = '1h'
[[rollout.roll.stage]]
name = 'full'
weight = 100
min_duration = '1h'
";

/// The tables beside the routes, in versions: with more of them, and with another meaning.
fn head(version: u8) -> String {
    let more = |text: &str| format!("{HEAD}{text}");
    match version {
        0 => HEAD.to_owned(),
        1 => more("# more\n"),
        2 => more("[upstream.0]\nendpoints = 'http://10.0.0.9'\n"),
        3 => more("[kill]\nall = true\n"),
        4 => more("[kill]\nroutes = ['r1', 'r3']\ntenants = ['acme']\n"),
        5 => HEAD.replace("schema = 1\n", "# note\r\n\nschema = 1\n"),
        6 => HEAD.replace("header:x-tenant", "query:tenant"),
        7 => HEAD.replace("10.20.0.0/16", "10.22.0.0/16"),
        8 => HEAD.replace("revision = '1'", "revision = '2'"),
        9 => HEAD.replace("name = 'web'", "name = 'edge'"),
        10 => more("[segment.long]\nuser = '''\n# one'''\n"),
        _ => more("[segment.long]\nuser = '''\n# two'''\n"),
    }
}

/// A route by the number of its kind; `n` is in its name and `k` in its settings. Some have warnings, some errors.
pub(super) fn route(kind: u8, n: u8, k: u8) -> String {
    let head = format!("[[route]]\nname = 'r{n}'\n");
    let canary = "stable = 'a'\nsticky = 'client_ip'\ncanary = { upstream = 'b', weight = 5 }\n";
    match kind {
        0 => format!("{head}match = {{ host = 'h{n}.test', path = '/{k}/*' }}\nstable = 'a'\n"),
        1 => format!(
            "{head}match = {{ host = 'h{n}.test' }}\nstable = 'a'\nsticky = 'client_ip'\ncanary = {{ upstream = 'b', weight = {k} }}\n"
        ),
        2 => format!(
            "{head}match = {{ host = 't{n}.test' }}\n{canary}[[route.target]]\nsegment = 'staff'\nserve = 'canary'\n\n"
        ),
        3 => format!(
            "{head}stable = 'a'\n  [route.match]\n  path = '/x{n}'\n  methods = ['GET']\n[route.timeout]\nrequest = '{}s'\n",
            1 + k
        ),
        4 => format!(
            "{head}match = {{ host = 'o{n}.test' }}\nstable = 'a'\nsticky = 'client_ip'\ncanary = {{ upstream = 'b', rollout = 'roll' }}\n"
        ),
        5 => format!("{head}match = {{ host = 'e{n}.test' }}\nstable = '${{UP}}'\n"),
        6 => format!("{head}match = {{ host = 'x{n}.test', path = {{ regex = '/a{k}+' }} }}\nstable = 'a'\n"),
        7 => {
            format!("{head}match = {{ host = 'w{n}.test' }}\nstable = 'a'\ncanary = {{ upstream = 'c', weight = 5 }}\n")
        }
        8 => format!(
            "{head}match = {{ host = 'm{n}.test' }}\nrespond = {{ status = 200, body = '''\n[[route]]\n{k}''' }}\n"
        ),
        9 => format!(
            "{head}match = {{ host = 'd{n}.test' }}\nredirect = {{ to = 'https://{{host}}/{k}', status = 301 }}\n"
        ),
        10 => format!(
            "{head}match = {{ host = 'l{n}.test' }}\n{canary}[[route.target]]\ntenant = {{ file = 'tenants.txt' }}\nserve = 'canary'\n"
        ),
        11 => format!(
            "{head}match = {{ host = 's{n}.test' }}\nstable = 'a'\nshadow = {{ upstream = 'c', weight = {k} }}\n"
        ),
        12 => format!(
            "{head}match = {{ host = 'g{n}.test' }}\nstable = 'a'\nsticky = 'client_ip'\ncanary = {{ upstream = 'c', weight = 5 }}\n[[route.guard]]\nname = 'own'\nmetric = 'error'\nabove = 0.{}\nact = 'rollback'\n",
            1 + k % 9
        ),
        13 => format!("{head}match = {{ path = '/same/*', methods = ['GET'] }}\nstable = 'a'\n"),
        14 => format!("{head}match = {{ path = '/*' }}\npriority = {k}\nstable = 'c'\n"),
        15 => format!("[[ route ]]\nname = 'r{n}'\nmatch = {{ host = 'u{n}.test' }}\nstable = 'a'\n"),
        16 => format!(
            "{head}match = {{ host = 'q{n}.test' }}\nstable = 'a'\n[[route.rate_limit]]\nper = 'tenant'\nrate = {}\nexcept = 'idle'\n",
            1 + k
        ),
        17 => format!(
            "{head}match = {{ host = 'z{n}.test' }}\nstable = 'a'\n[[route.target]]\ncidr = '10.0.0.0/8'\nrespond = {{ status = 403 }}\n"
        ),
        18 => format!("{head}match = {{ host = 'h{n}.test' }}\nstable = 'nowhere'\n"),
        19 => format!("{head}match = {{ host = 'h{n}.test', colour = {k} }}\nstable = 'a'\n"),
        20 => format!("{head}stable = 'a\n"),
        21 => format!(
            "{head}match = {{ host = 'f{n}.test' }}\n{canary}[[route.target]]\ncidr = '10.0.0.0/8'\nserve = 'canary'\n[[route.target]]\ncidr = '10.0.0.0/8'\nserve = 'stable'\n"
        ),
        22 => "[[test]]\nrequest = '/x'\n".to_owned(),
        23 => format!("[kill]\nroutes = ['r{k}']\n"),
        24 => format!("[segment.more{n}]\nuser = 'u{k}'\n"),
        25 => format!("[upstream.u{n}]\nendpoints = 'http://10.0.1.{k}'\n"),
        26 => "[route.match]\npath = '/y'\n".to_owned(),
        _ => format!("# {k}\n"),
    }
}

/// The kinds of [`route`], the valid ones more often than the others.
fn kind() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 0_u8..4, 6 => 5_u8..15, 2 => 16_u8..18, 1 => 4_u8..28]
}

#[derive(Clone, Debug)]
pub(super) enum RouteEdit {
    Insert { at: u16, kind: u8, k: u8 },
    Remove { at: u16 },
    Replace { at: u16, kind: u8, k: u8 },
    Swap { a: u16, b: u16 },
    Rename { at: u16, n: u8 },
    Comment { at: u16 },
    Move { at: u16 },
    Variable { value: u8 },
    Tenants { value: u8 },
    Head { value: u8 },
}

fn edit() -> impl Strategy<Value = RouteEdit> {
    prop_oneof![
        4 => (any::<u16>(), kind(), 0_u8..9).prop_map(|(at, kind, k)| RouteEdit::Insert { at, kind, k }),
        3 => any::<u16>().prop_map(|at| RouteEdit::Remove { at }),
        4 => (any::<u16>(), kind(), 0_u8..9).prop_map(|(at, kind, k)| RouteEdit::Replace { at, kind, k }),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| RouteEdit::Swap { a, b }),
        1 => (any::<u16>(), 0_u8..40).prop_map(|(at, n)| RouteEdit::Rename { at, n }),
        2 => any::<u16>().prop_map(|at| RouteEdit::Comment { at }),
        1 => any::<u16>().prop_map(|at| RouteEdit::Move { at }),
        1 => (0_u8..3).prop_map(|value| RouteEdit::Variable { value }),
        1 => (0_u8..3).prop_map(|value| RouteEdit::Tenants { value }),
        3 => (0_u8..12).prop_map(|value| RouteEdit::Head { value }),
    ]
}

/// A table of a file.
#[derive(Clone, Debug)]
struct Block {
    kind: u8,
    n: u8,
    k: u8,
    comment: bool,
    is_included: bool,
}

/// The files of a configuration, the last load of them, and the environment.
pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) cache: LoadCache,
    blocks: Vec<Block>,
    next: u8,
    head: u8,
    variables: RefCell<BTreeMap<String, String>>,
}

impl World {
    pub(super) fn new(kinds: &[(u8, u8)]) -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            cache: LoadCache::default(),
            blocks: Vec::new(),
            next: 0,
            head: 0,
            variables: RefCell::new(BTreeMap::from([("UP".to_owned(), "a".to_owned())])),
        };
        for (kind, k) in kinds {
            let block = world.block(*kind, *k);
            world.blocks.push(block);
        }
        std::fs::write(world.folder.path().join("tenants.txt"), "acme\n").unwrap();
        world
    }

    fn block(&mut self, kind: u8, k: u8) -> Block {
        self.next += 1;
        Block { kind, n: self.next, k, comment: false, is_included: self.next.is_multiple_of(5) }
    }

    pub(super) fn apply(&mut self, edit: &RouteEdit) {
        let count = self.blocks.len();
        let place = |at: u16| usize::from(at) % count.max(1);
        match *edit {
            RouteEdit::Insert { at, kind, k } => {
                let block = self.block(kind, k);
                self.blocks.insert(usize::from(at) % (count + 1), block);
            }
            RouteEdit::Variable { value } => {
                let value = ["a", "b", "nowhere"][usize::from(value)];
                self.variables.borrow_mut().insert("UP".to_owned(), value.to_owned());
            }
            RouteEdit::Tenants { value } => {
                let text = ["acme\n", "acme\nglobex\n", ""][usize::from(value)];
                std::fs::write(self.folder.path().join("tenants.txt"), text).unwrap();
            }
            RouteEdit::Head { value } => self.head = value,
            _ if count == 0 => {}
            RouteEdit::Remove { at } => drop(self.blocks.remove(place(at))),
            RouteEdit::Replace { at, kind, k } => {
                let block = &mut self.blocks[place(at)];
                (block.kind, block.k) = (kind, k);
            }
            RouteEdit::Swap { a, b } => self.blocks.swap(place(a), place(b)),
            RouteEdit::Rename { at, n } => self.blocks[place(at)].n = n,
            RouteEdit::Comment { at } => self.blocks[place(at)].comment ^= true,
            RouteEdit::Move { at } => self.blocks[place(at)].is_included ^= true,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("routes.toml")
    }

    pub(super) fn write(&self) {
        let text = |is_included: bool| -> String {
            let blocks = self.blocks.iter().filter(|block| block.is_included == is_included);
            let note = |block: &Block| if block.comment { "# note\n" } else { "" };
            blocks.flat_map(|one| [note(one).to_owned(), route(one.kind, one.n, one.k)]).collect()
        };
        std::fs::write(self.path(), format!("{}{}", head(self.head), text(false))).unwrap();
        std::fs::write(self.folder.path().join("more-1.toml"), text(true)).unwrap();
    }

    /// Loads twice: by the cache, and all anew. Returns whether the file is valid.
    pub(super) fn compare(&self) -> Result<bool, TestCaseError> {
        self.write();
        let env = |name: &str| self.variables.borrow().get(name).cloned();
        let (path, last_good) = (self.path(), LastGood::default());
        let all = load_keeping(&path, &env, &last_good);
        let cached = self.cache.load(&path, &env, &last_good);
        match (&all, &cached) {
            (Ok(all), Ok(cached)) => same(all, cached)?,
            (Err(all), Err(cached)) => prop_assert_eq!(all, cached),
            (Ok(_), Err(errors)) | (Err(errors), Ok(_)) => prop_assert!(false, "one of both: {}", errors),
        }
        Ok(all.is_ok())
    }
}

/// Whether both loads have the same result.
fn same(all: &Loaded, cached: &Loaded) -> Result<(), TestCaseError> {
    let warnings =
        |loaded: &Loaded| -> (Diagnostics, String) { (loaded.warnings.clone(), loaded.warnings.to_string()) };
    prop_assert_eq!(warnings(all), warnings(cached));
    prop_assert_eq!(&all.overlay, &cached.overlay);
    prop_assert_eq!((&all.hash, &all.base_hash), (&cached.hash, &cached.base_hash));
    prop_assert_eq!((&all.watched, &all.applied), (&cached.watched, &cached.applied));
    prop_assert_eq!(format!("{:?} {:?}", all.kills, all.tests), format!("{:?} {:?}", cached.kills, cached.tests));
    // The hashes of the index are random: it is compared by what it finds.
    let plain = |rules: &Rules| format!("{:#?}", Rules { index: Index::default(), ..rules.clone() });
    let (expected, found) = (plain(&all.rules), plain(&cached.rules));
    // A list of tenants has no order.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    prop_assert!(expected.len() == found.len(), "{} {}", expected, found);
    prop_assert!(expected == found || sorted(&expected) == sorted(&found), "{} {}", expected, found);
    let fields = Fields::default();
    for letter in ["h", "t", "o", "e", "x", "w", "m", "d", "l", "s", "g", "u", "q", "z", "f", "none"] {
        for n in 0..16 {
            let host = format!("{letter}{n}.test");
            for path in ["/3/y", "/same/1", &format!("/x{n}")] {
                let head = RequestHead {
                    method: &Method::GET,
                    host: &host,
                    path,
                    query: None,
                    fields: &fields,
                    client_cert: None,
                    listener: "web",
                };
                let [a, b] = [&all.rules, &cached.rules].map(|rules| rules.index.find(&rules.routes, &head));
                prop_assert_eq!(a, b, "{} {}", host, path);
            }
        }
    }
    Ok(())
}

fn kinds() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((prop_oneof![9 => 0_u8..3, 9 => 5_u8..13, 1 => kind()], 0_u8..9), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_load_of_what_has_changed_is_like_a_load_of_all(
        kinds in kinds(),
        edits in proptest::collection::vec(proptest::collection::vec(edit(), 0..3), 1..6),
    ) {
        let mut world = World::new(&kinds);
        world.compare()?;
        for some in edits {
            for edit in &some {
                world.apply(edit);
            }
            world.compare()?;
        }
    }
}

/// Each kind of route, alone and beside a plain one, when another route changes and when lines above move it.
#[test]
fn each_kind_of_route_is_like_a_load_of_all() {
    let mut valid = 0;
    for kind in 0..28 {
        let mut world = World::new(&[(0, 1), (kind, 2), (0, 3)]);
        valid += usize::from(world.compare().unwrap());
        for edit in [
            RouteEdit::Replace { at: 0, kind: 1, k: 4 },
            RouteEdit::Comment { at: 1 },
            RouteEdit::Insert { at: 0, kind: 0, k: 1 },
            RouteEdit::Replace { at: 0, kind: 18, k: 1 },
            RouteEdit::Replace { at: 0, kind: 1, k: 5 },
            RouteEdit::Remove { at: 0 },
            RouteEdit::Variable { value: 1 },
            RouteEdit::Tenants { value: 1 },
            RouteEdit::Head { value: 2 },
            RouteEdit::Head { value: 0 },
            RouteEdit::Head { value: 3 },
            RouteEdit::Head { value: 4 },
            RouteEdit::Head { value: 5 },
        ] {
            world.apply(&edit);
            world.compare().unwrap_or_else(|error| panic!("kind {kind}, {edit:?}: {error}"));
        }
    }
    assert!(valid >= 20, "most kinds are valid: {valid}");
}
