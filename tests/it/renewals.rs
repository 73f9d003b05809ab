//! Renewed certificates, in any order in which their files appear, and how connections continue meanwhile.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman::clock::Clock;
use pointsman::config::{Loaded, load_keeping};
use pointsman::tls::LastGood;

use crate::harness::proxy::Setup;
use crate::harness::{Authority, Pair, Proxy, Raw, Upstream, until};

const LISTENER: &str = r#"
[[listener]]
name = "https"
address = "127.0.0.1:0"
[listener.tls]
certificates = [{certificates}]
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;

/// A folder that one process loads repeatedly.
struct Folder {
    dir: tempfile::TempDir,
    authority: Authority,
    last_good: RefCell<LastGood>,
}

impl Folder {
    fn new(certificates: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = LISTENER.replace("{certificates}", certificates).replace("{main}", "127.0.0.1:1");
        std::fs::write(dir.path().join("routes.toml"), format!("schema = 1\n{text}")).unwrap();
        Self { dir, authority: Authority::new("test root"), last_good: RefCell::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn leaf(&self, name: &str) -> Pair {
        self.authority.leaf(&[name])
    }

    fn try_load(&self) -> Result<Loaded, String> {
        let loaded = load_keeping(&self.path("routes.toml"), &|_| None, &self.last_good.borrow());
        // A loaded configuration is in use, as in a process that can bind all addresses.
        loaded.inspect(|loaded| *self.last_good.borrow_mut() = loaded.in_use.clone()).map_err(|bad| bad.to_string())
    }

    #[track_caller]
    fn load(&self) -> Loaded {
        self.try_load().unwrap_or_else(|bad| panic!("{bad}"))
    }

    /// The certificates that would be served now; `kept` replaces those whose files are invalid.
    #[track_caller]
    fn served(&self) -> Vec<String> {
        let loaded = self.load();
        let all = loaded.tls[0].as_ref().unwrap().served().iter();
        let name = |one: &pointsman::tls::ServedCertificate| {
            format!("{}{}", one.certificate.label(), if one.stale.is_some() { " kept" } else { "" })
        };
        all.map(name).collect()
    }

    #[track_caller]
    fn warns(&self, of: &str) {
        let warnings = self.load().warnings.to_string();
        assert!(warnings.contains(of), "{of}:\n{warnings}");
    }
}

/// A proxy that serves the certificates in `certs` next to its file.
fn proxy(echo: &Upstream, certs: &Path) -> Proxy {
    let certificates = format!("\"{}\"", certs.display());
    Setup::default().with("main", echo).place("certificates", certificates).start(LISTENER)
}

fn kept_because(proxy: &Proxy) -> Option<String> {
    let status = proxy.status();
    status["listeners"][0]["tls"]["certificates"][0]["kept_because"].as_str().map(str::to_owned)
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_used_when_it_is() {
    let (echo, authority, dir) = (Upstream::echo(), Authority::new("test root"), tempfile::tempdir().unwrap());
    authority.leaf(&["a.test"]).write(dir.path(), "a");
    let proxy = proxy(&echo, dir.path());
    let renewed = authority.leaf_at(&["a.test"], Clock.wall() + Duration::from_secs(5));
    renewed.write(dir.path(), "a");
    drop(proxy.app().reload());
    let why = until("it is kept back", || kept_because(&proxy));
    assert!(why.contains("not valid before"), "{why}");
    let client = authority.trusting_client().make();
    until("it is valid now", || {
        let raw = Raw::secured(proxy.address(), &client, "a.test");
        (raw.wire.session().peer_certificates().unwrap()[0] == renewed.der()).then_some(())
    });
    assert_eq!(kept_because(&proxy), None);
}

#[test]
fn a_renewal_in_steps_leaves_no_old_certificate() {
    let folder = Folder::new("\"certs\"");
    let (old, new) = (folder.leaf("a.test"), folder.leaf("a.test"));
    for name in ["fullchain.pem", "cert.pem"] {
        folder.write(&format!("certs/a/{name}"), &old.cert);
    }
    folder.write("certs/a/privkey.pem", &old.key);
    assert_eq!(folder.served(), ["a.test"]);
    folder.remove("certs/a/fullchain.pem");
    assert_eq!(folder.served(), ["a.test"]);
    for name in ["fullchain.pem", "cert.pem"] {
        folder.write(&format!("certs/a/{name}"), &new.cert);
    }
    folder.write("certs/a/privkey.pem", &new.key);
    assert_eq!(folder.served(), ["a.test"], "the certificate without its chain is not another one");
    // A pair with another name, of which the old certificate is left behind.
    let other = folder.leaf("a.test");
    other.write(&folder.path("certs"), "b");
    assert_eq!(folder.served(), ["a.test", "a.test"]);
    folder.remove("certs/b.key");
    assert_eq!(folder.served(), ["a.test kept", "a.test"], "its key is gone by mistake, perhaps");
    other.write(&folder.path("certs"), "c");
    assert_eq!(folder.served(), ["a.test", "a.test"], "the same certificate, under another name");
}

#[test]
fn refused_and_removed_certificates_are_forgotten() {
    let folder = Folder::new("\"certs\"");
    folder.leaf("a.test").write(&folder.path("certs"), "a");
    assert_eq!(folder.served(), ["a.test"]);
    let b = folder.leaf("b.test");
    b.write(&folder.path("certs"), "b");
    folder.leaf("c.test").write(&folder.path("certs"), "c");
    assert_eq!(folder.served(), ["a.test", "b.test", "c.test"]);
    folder.remove("certs/b.crt");
    folder.remove("certs/b.key");
    folder.remove("certs/c.crt");
    assert_eq!(folder.served(), ["a.test", "c.test kept"], "a pair is removed on purpose, half of it is not");
    folder.write("certs/b.crt", &b.cert);
    assert_eq!(folder.served(), ["a.test", "c.test kept"], "a certificate whose removal was taken has no key");
    folder.remove("certs/c.key");
    assert_eq!(folder.served(), ["a.test"]);
}

#[test]
fn a_missing_certificate_does_not_block_the_others() {
    let folder = Folder::new("{ cert = \"x.crt\", key = \"x.key\" }, \"certs\"");
    folder.leaf("x.test").write(&folder.path(""), "x");
    for name in ["a", "b"] {
        folder.leaf(&format!("{name}.test")).write(&folder.path("certs"), name);
    }
    assert_eq!(folder.served(), ["x.test", "a.test", "b.test"]);
    folder.remove("x.crt");
    assert_eq!(folder.served(), ["x.test kept", "a.test", "b.test"]);
    folder.warns("x.crt` cannot be read");
    folder.remove("x.key");
    folder.remove("certs/a.crt");
    folder.remove("certs/a.key");
    assert_eq!(folder.served(), ["x.test kept", "b.test"]);
    folder.remove("certs/b.crt");
    folder.remove("certs/b.key");
    assert_eq!(folder.served(), ["x.test kept", "b.test kept"], "the last one of a directory");
    folder.warns("no longer contains a certificate");
    std::fs::remove_dir(folder.path("certs")).unwrap();
    assert_eq!(folder.served(), ["x.test kept", "b.test kept"]);
    let text = std::fs::read_to_string(folder.path("routes.toml")).unwrap();
    folder.write("routes.toml", &format!("{text}[kill]\nall = true\n"));
    assert!(folder.load().overlay.kill().all, "a kill does not wait for certificates");
    let b = folder.leaf("b.test");
    b.write(&folder.path("certs"), "b");
    assert_eq!(folder.served(), ["x.test kept", "b.test"]);
}

#[test]
fn the_first_certificate_stays_the_default() {
    let folder = Folder::new("\"certs\"");
    for name in ["a", "b"] {
        folder.leaf(&format!("{name}.test")).write(&folder.path("certs"), name);
    }
    assert_eq!(folder.served(), ["a.test", "b.test"]);
    folder.remove("certs/a.key");
    assert_eq!(folder.served(), ["a.test kept", "b.test"]);
}

#[test]
fn kept_and_recovered_certificates_are_reported() {
    let (echo, authority, dir) = (Upstream::echo(), Authority::new("test root"), tempfile::tempdir().unwrap());
    let a = authority.leaf(&["a.test"]);
    a.write(dir.path(), "a");
    let proxy = proxy(&echo, dir.path());
    std::fs::write(dir.path().join("a.crt"), &a.cert[..100]).unwrap();
    drop(proxy.app().reload());
    let why = until("it is kept", || kept_because(&proxy));
    let file = dir.path().join("a.crt").display().to_string();
    assert!(why.starts_with(&format!("file {file}: is cut short")), "{why}");
    let outcome = proxy.app().reload();
    let expected =
        format!("unchanged: generation 2 stays in effect; 1 certificate is kept: a.test (file {file}: is cut short");
    assert!(outcome.to_text().starts_with(&expected), "{}", outcome.to_text());
    let summary = || proxy.status()["last_reload"]["summary"].to_string();
    assert!(summary().contains("1 certificate is kept: a.test"), "{}", summary());
    a.write(dir.path(), "a");
    until("it is valid again", || {
        let outcome = proxy.app().reload().to_text();
        format!("{outcome}{}", summary()).contains("certificate a.test is current again").then_some(())
    });
    until("the watcher has seen it, too", || {
        (summary() == "[]").then_some(()).or_else(|| {
            drop(proxy.app().reload());
            None
        })
    });
}

#[test]
fn a_second_certificate_for_the_same_names_is_not_renewed_each_time() {
    let folder = Folder::new("\"certs\"");
    for name in ["a", "b"] {
        folder.leaf("a.test").write(&folder.path("certs"), name);
    }
    let server = || folder.load().tls[0].clone().unwrap();
    let before = server();
    assert_eq!(server().changes(&before), [""; 0]);
    folder.leaf("a.test").write(&folder.path("certs"), "b");
    assert_eq!(server().changes(&before), ["certificate a.test renewed"]);
    folder.remove("certs/b.crt");
    folder.remove("certs/b.key");
    assert_eq!(server().changes(&before), ["certificate a.test removed"]);
}
