//! Tests of `[admin]` with its tokens and certificates, and of `[kill]` with its places, as whole loads.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::route::{AdminRole, AdminSpec, KillScope, RouteId};

const HEAD: &str =
    "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[[route]]\nname = 'r'\nrespond = { status = 200 }\n";

const UPSTREAMS: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.a]\nendpoints = 'http://10.0.0.1'\n[upstream.b]\nendpoints = 'http://10.0.0.2'\n";

/// A folder with a routes file, a file of tokens, and a certificate.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(admin: &str, tokens: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let made = rcgen::generate_simple_self_signed(vec!["admin.test".to_owned()]).unwrap();
        folder.write("cert.pem", &made.cert.pem());
        folder.write("key.pem", &made.signing_key.serialize_pem());
        folder.write("routes.toml", &format!("{HEAD}[admin]\n{admin}\n"));
        std::fs::create_dir(folder.0.path().join("certs")).unwrap();
        folder.write("certs/tokens.toml", tokens);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        load(&self.0.path().join("routes.toml"), &|_| None)
    }

    fn admin(&self) -> AdminSpec {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).rules.admin
    }
}

const TOKENS: &str = "tokens = 'certs/tokens.toml'";

fn entry(name: &str, digit: char) -> String {
    format!("[[token]]\nname = '{name}'\nroles = ['viewer']\nsha256 = '{}'\n", digit.to_string().repeat(64))
}

#[test]
fn tokens_have_names_roles_and_dates() {
    let text = format!(
        "{}expires = 2999-12-31\n[[token]]\nname = 'CI: deploy'\nroles = ['operator', 'approver:tech-lead']\nsha256 = '{}'\n",
        entry("ana", 'a'),
        "0F".repeat(32),
    );
    let tokens = Folder::new(TOKENS, &text).admin().tokens.unwrap();
    assert_eq!(tokens.len(), 2);
    let ana = tokens.find(&[0xaa; 32]).unwrap();
    assert_eq!((&*ana.name, ana.expires_at), ("ana", Some(Duration::from_hours(9_028_800))));
    let deploy = tokens.find(&[0x0f; 32]).unwrap();
    assert_eq!((&*deploy.name, deploy.expires_at), ("CI: deploy", None));
    assert!(deploy.roles.contains(&AdminRole::Approver("tech-lead".to_owned())));
    assert!(!deploy.roles.contains(&AdminRole::Viewer) && ana.roles.contains(&AdminRole::Viewer));
    assert!(Folder::new("", "").admin().tokens.is_none());
}

#[test]
fn tokens_are_an_input_and_hidden() {
    let folder = Folder::new(TOKENS, &entry("ana", 'a'));
    let first = folder.load().unwrap();
    let names: Vec<_> = first.watched.iter().map(|path| path.strip_prefix(folder.0.path()).unwrap()).collect();
    assert!(names.contains(&Path::new("certs/tokens.toml")), "{names:?}");
    assert_eq!(folder.load().unwrap().hash, first.hash);
    assert!(!format!("{first:?}").contains("aaaaaaaa"));
    assert!(!format!("{first:?}").contains("170, 170"), "as bytes");
    folder.write("certs/tokens.toml", &entry("ana", 'b'));
    let second = folder.load().unwrap();
    assert_ne!(second.hash, first.hash);
    let summary = crate::route::summary(first.effective(), second.effective());
    assert_eq!(summary, ["admin tokens changed"]);
    folder.write("certs/tokens.toml", "sha256 = ");
    assert!(folder.load().is_err());
}

#[test]
fn a_grafana_is_linked_to_and_its_change_is_seen() {
    let folder = Folder::new("grafana = 'https://grafana.example.com/'", "");
    assert_eq!(folder.admin().grafana.as_deref(), Some("https://grafana.example.com"));
    assert_eq!(Folder::new("", "").admin().grafana, None);
    let first = folder.load().unwrap();
    folder.write("routes.toml", &format!("{HEAD}[admin]\ngrafana = 'https://grafana.example.com/d/abc?orgId=2'\n"));
    let second = folder.load().unwrap();
    assert_eq!(crate::route::summary(first.effective(), second.effective()), ["admin grafana changed"]);
    let errors = Folder::new("grafana = 'https://ana:s3cret@g'", "").load().unwrap_err();
    let shown = format!("{}{}", errors, errors.to_json());
    assert!(shown.contains("has credentials before the host"), "{shown}");
}

/// Changes one character of the text.
fn edited(text: &str, at: usize, with: &str) -> String {
    let mut chars: Vec<String> = text.chars().map(String::from).collect();
    let at = at % chars.len();
    with.clone_into(&mut chars[at]);
    chars.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mistake_in_the_file_shows_a_hash_or_a_token(
        at in any::<usize>(),
        with in prop::sample::select(vec!["", "\n", "\"", "=", "#", "[", "]", "x = ", "'", "\\", "\"\"\"", "\u{e9}", "${", "."]),
        key in prop::sample::select(vec!["sha256", "token", "value", "name2", "\"SECRET\""]),
    ) {
        let secret = "5eCre7".repeat(11)[..64].to_owned();
        let hash = "0123456789abcdef".repeat(4);
        let text = format!("[[token]]\nname = \"ana\"\nroles = [\"viewer\"]\n{key} = \"{secret}\" # {secret}\n{}{secret}\n",
            entry("bo", 'x').replace(&"x".repeat(64), &hash)).replace("SECRET", &secret);
        let folder = Folder::new(TOKENS, &edited(&text, at, with));
        let errors = folder.load().unwrap_err();
        let shown = format!("{errors}{}", errors.to_json());
        // 128 of 256 bits stay unknown.
        for part in [&secret, &hash].into_iter().flat_map(|whole| (0..=32).map(|from| &whole[from..from + 32])) {
            prop_assert!(!shown.contains(part), "{}", shown);
        }
    }
}

#[test]
fn tokens_are_bounded() {
    let many = |count: u32| -> String {
        let entries = (0..count).map(|n| format!("[[token]]\nname='{n}'\nroles='flags'\nsha256='{n:064x}'\n"));
        entries.collect()
    };
    assert_eq!(Folder::new(TOKENS, &many(10_000)).admin().tokens.map(|all| all.len()), Some(10_000));
    let errors = Folder::new(TOKENS, &many(10_001)).load().unwrap_err().to_string();
    assert!(errors.contains("there are 10001 tokens; at most 10000 are supported"), "{errors}");
}

#[test]
fn public_addresses_need_tokens_and_tls() {
    const TLS: &str = "tls = { certificates = [{ cert = 'cert.pem', key = 'key.pem' }] }";
    const PUBLIC: &str = "address = '203.0.113.8:9900'";
    let folder = |keys: &[&str]| Folder::new(&keys.join("\n"), &entry("ana", 'a'));
    for (keys, allowed) in
        [(&[PUBLIC][..], false), (&[PUBLIC, TOKENS], false), (&[PUBLIC, TLS], false), (&[PUBLIC, TLS, TOKENS], true)]
    {
        assert_eq!(folder(keys).load().is_ok(), allowed, "{keys:?}");
    }
    let loaded = folder(&[TLS]).load().unwrap();
    assert!(loaded.admin_tls.is_some() && loaded.rules.admin.tls.is_some_and(|tls| tls.client_auth.is_none()));
    assert!(folder(&[]).load().unwrap().admin_tls.is_none());
}

#[test]
fn lists_are_read_and_bounded() {
    let admin = Folder::new(
        "hosts = ['Admin.Example.COM', 'a.']\nsocket_operators = ['ana', 'uid:1000']\nsocket_group = 'ops'",
        "",
    )
    .admin();
    assert_eq!(admin.hosts, ["admin.example.com", "a"]);
    assert_eq!(
        (admin.socket_operators, admin.socket_group.as_deref()),
        (vec!["ana".to_owned(), "uid:1000".to_owned()], Some("ops"))
    );
    for (key, max) in [("hosts", 100), ("socket_operators", 1_000)] {
        let list = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| format!("'n{n}'")).collect();
            Folder::new(&format!("{key} = [{}]", names.join(",")), "").load()
        };
        assert!(list(max).is_ok());
        let errors = list(max + 1).unwrap_err().to_string();
        assert!(errors.contains(&format!("`{key}` has {} names; at most {max} are supported", max + 1)), "{errors}");
    }
}

#[test]
fn a_killed_shadow_is_marked_and_every_kill_has_its_place() {
    let text = format!(
        "{UPSTREAMS}[[route]]\nname = 'r'\nstable = 'a'\ncanary = {{ upstream = 'b' }}\nshadow = {{ upstream = 'b', weight = 100 }}\n[kill]\nall = true\n\
         routes = 'r'\nvariants = ['r:canary']\ntenants = ['acme']\nshadows = [\n'r',\n'r']\n",
    );
    let loaded = load_text("routes.toml", &text, &|_| None).unwrap();
    let (split, lines) = (loaded.overlay.split(RouteId(0)), UPSTREAMS.lines().count());
    assert!(split.is_shadow_killed() && split.is_killed());
    let route = "r".to_owned();
    let variant = KillScope::Variant { route: route.clone(), variant: "canary".to_owned() };
    for (scope, line) in [
        (KillScope::All, 7),
        (KillScope::Route(route.clone()), 8),
        (variant, 9),
        (KillScope::Tenant("acme".to_owned()), 10),
        (KillScope::Shadow(route), 12),
    ] {
        let place = loaded.kills.place_of(&scope).unwrap();
        assert_eq!((&*place.file, place.line as usize), ("routes.toml", lines + line), "{scope}");
    }
    assert_eq!(loaded.kills.iter().count(), 4);
    assert!(loaded.overlay.unkilled().is_some_and(|without| !without.split(RouteId(0)).is_shadow_killed()));
    assert!(Folder::new("", "").load().unwrap().kills.is_empty());
}

#[test]
fn paths_of_the_state_are_relative_to_their_file() {
    let load = |name: &str, tables: &str| {
        let text = format!("{UPSTREAMS}[[route]]\nname = 'r'\nstable = 'a'\ncanary = {{ upstream = 'b' }}\n{tables}");
        let rules = load_text(name, &text, &|_| None).unwrap().rules;
        let socket = rules.admin.socket.map(|path| path.display().to_string());
        (rules.state.dir.display().to_string(), socket)
    };
    for (name, tables, dir, socket) in [
        ("routes.toml", "", "state", Some("state/run/admin.sock")),
        ("/etc/pointsman/routes.toml", "", "/etc/pointsman/state", Some("/etc/pointsman/state/run/admin.sock")),
        ("a/b.toml", "[state]\ndir = 'c'", "a/c", Some("a/c/run/admin.sock")),
        ("a/b.toml", "[state]\ndir = '/var/lib/p'", "/var/lib/p", Some("/var/lib/p/run/admin.sock")),
        ("a/b.toml", "[admin]\nsocket = 'x.sock'", "a/state", Some("a/x.sock")),
        ("a/b.toml", "[admin]\nsocket = 'unix:/run/x.sock'", "a/state", Some("/run/x.sock")),
        ("a/b.toml", "[admin]\nsocket = 'off'", "a/state", None),
    ] {
        assert_eq!(load(name, tables), (dir.to_owned(), socket.map(str::to_owned)), "{name} {tables}");
    }
}
