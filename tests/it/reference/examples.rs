//! The TOML examples of a page. An example that is no whole file is completed: `schema`, a listener, the upstreams that
//! it names, and a route.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jsonwebtoken::Algorithm;
use pointsman::config::{load_text, run_route_tests};
use toml::Value;

use crate::harness::Authority;
use crate::harness::issuer::Issuer;
use crate::harness::mmdb::countries;

/// An example, and the line of the page on which it begins.
pub struct Example {
    pub line: usize,
    pub text: String,
}

/// The examples of a page, each marked as `toml`.
pub fn of(page: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim() == "```toml" {
            let inside = lines.by_ref().map(|(line, _)| line).take_while(|line| line.trim() != "```");
            let text = inside.fold(String::new(), |text, line| text + line + "\n");
            found.push(Example { line: number, text });
        }
    }
    found
}

/// The file of tokens.
const TOKENS: &str = "certs/admin-tokens.toml";

/// A folder with the files that examples name: certificates, keys, lists.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = Authority::new("example root");
        let server = root.leaf(&["shop.example.com"]);
        let client = root.client("edge", Vec::new());
        for path in ["certs/server", "tenants", "routes.d"] {
            fs::create_dir_all(folder.path().join(path)).expect("a writable folder");
        }
        let write = |path: &str, bytes: &[u8]| fs::write(folder.path().join(path), bytes).expect("a writable folder");
        write("certs/server/shop.crt", server.cert.as_bytes());
        write("certs/server/shop.key", server.key.as_bytes());
        write("certs/client.pem", client.cert.as_bytes());
        write("certs/client.key", client.key.as_bytes());
        write("certs/clients.pem", root.pem.as_bytes());
        write("certs/internal-ca.pem", root.pem.as_bytes());
        write("certs/jwks.json", Issuer::new(Algorithm::ES256, "one").jwks().as_bytes());
        write("certs/geo.mmdb", &countries(&[("192.0.2.0/24", "DE")]));
        write("tenants/contractual.txt", b"acme\n");
        write("routes.d/empty.toml", b"");
        write(TOKENS, b"");
        Self(folder)
    }

    /// The errors that `check` reports for an example, and the tests in it that fail.
    pub fn check(&self, example: &str) -> String {
        let text = if toml::from_str::<Value>(example).is_ok_and(|file| file.get("token").is_some()) {
            fs::write(self.0.path().join(TOKENS), example).expect("a writable folder");
            complete(&format!("[admin]\ntokens = \"{TOKENS}\"\n"))
        } else {
            complete(example)
        };
        let name = self.0.path().join("routes.toml");
        let env = |name: &str| match name {
            "OTLP_TOKEN" | "HOOK_SECRET" | "AM_PASSWORD" => Some("secret-0123456789".to_owned()),
            "SLACK_URL" => Some("https://hooks.slack.com/services/T/B/x".to_owned()),
            _ => None,
        };
        match load_text(&name.to_string_lossy(), &text, &env) {
            Ok(loaded) => run_route_tests(&loaded).to_string(),
            Err(errors) => errors.to_string(),
        }
    }
}

/// The example as a whole file.
fn complete(example: &str) -> String {
    let Ok(file) = toml::from_str::<Value>(example) else { return example.to_owned() };
    let mut text = String::new();
    if file.get("schema").is_none() {
        text += "schema = 1\n";
    }
    if file.get("listener").is_none() {
        text += "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
    }
    let mut named = BTreeSet::new();
    upstreams(&file, &mut named);
    let part = file.get("route").filter(|route| route.is_table());
    let killed = killed(&file);
    if part.is_some() || !killed.is_empty() {
        named.extend(["frame-v1", "frame-v2"]);
    }
    let known = file.get("upstream").and_then(Value::as_table);
    for name in named.into_iter().filter(|name| known.is_none_or(|known| !known.contains_key(*name))) {
        write!(text, "[upstream.{name}]\nendpoints = [\"http://127.0.0.1:9001\"]\n").unwrap();
    }
    // A table of a route, such as `[route.headers]`, belongs to the route before it.
    if let Some(route) = part {
        text += "[[route]]\nname = \"frame\"\nstable = \"frame-v1\"\nsticky = [\"client_ip\"]\n";
        if route.get("shadow").is_some_and(|shadow| shadow.get("upstream").is_none()) {
            text += "[route.shadow]\nupstream = \"frame-v2\"\nweight = 1\n";
        }
    }
    let whole = if file.get("schema").is_some() { example.to_owned() + &text } else { text + example };
    whole + &killed
}

/// Routes for the variants that `[kill]` names, where the example has no route.
fn killed(file: &Value) -> String {
    let variants = file.get("kill").and_then(|kill| kill.get("variants")).and_then(Value::as_array);
    let names = variants.into_iter().flatten().filter_map(|name| name.as_str()?.split_once(':'));
    let mut text = String::new();
    for (route, variant) in names.filter(|_| file.get("route").is_none()) {
        write!(text, "[[route]]\nname = \"{route}\"\nstable = \"frame-v1\"\nsticky = [\"client_ip\"]\n").unwrap();
        write!(text, "[[route.variant]]\nname = \"{variant}\"\nupstream = \"frame-v2\"\nweight = 1\n").unwrap();
    }
    text
}

/// The upstreams that routes name.
fn upstreams<'v>(value: &'v Value, named: &mut BTreeSet<&'v str>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                match value.as_str().filter(|_| key == "stable" || key == "upstream") {
                    Some(name) => drop(named.insert(name)),
                    None => upstreams(value, named),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| upstreams(one, named)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

#[test]
fn a_part_of_a_file_is_completed() {
    let folder = Folder::make();
    assert_eq!(folder.check("[[route]]\nname = \"shop\"\nstable = \"shop-v1\"\n"), "");
    assert!(folder.check("[[route]]\nname = \"shop\"\nstabel = \"shop-v1\"\n").contains("unknown-key"));
    assert!(folder.check("[[route\n").contains("error"), "invalid TOML is an error");
    assert!(folder.check("[[token]]\nname = \"ana\"\n").contains("`roles` is missing"));
    assert!(Path::new(&folder.0.path().join("certs/clients.pem")).exists());
}
