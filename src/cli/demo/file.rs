//! The demo's `routes.toml`: its directory, and the addresses filled in.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use uuid::Uuid;

use super::certificate;
use super::staged::ROLLOUT;
use crate::app::Environment;
use crate::config;
use crate::route::{EndpointHost, EndpointSpec};

/// What the demo shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoKind {
    /// A canary with a weight, and a dark launch.
    Weight,
    /// A rollout.
    Rollout,
}

impl DemoKind {
    /// The file as it is shipped: valid by itself but for the tokens that it names, with the addresses below.
    const fn template(self) -> &'static str {
        match self {
            Self::Weight => include_str!("routes.toml"),
            Self::Rollout => include_str!("rollout.toml"),
        }
    }
}

/// Addresses that are filled in, each as written in the template.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoAddresses {
    /// Where the proxy listens; `127.0.0.1:8080`.
    pub(super) proxy: SocketAddr,
    /// Where it listens for TLS, if it does.
    pub(super) tls: Option<SocketAddr>,
    /// Where admin listens; `127.0.0.1:9900`.
    pub(super) admin: SocketAddr,
    /// Where stable answers; `127.0.0.1:9001`.
    pub(super) stable: SocketAddr,
    /// Where the canary answers; `127.0.0.1:9002`.
    pub(super) canary: SocketAddr,
    /// Where the dark launch answers, if there is one; `127.0.0.1:9003`.
    pub(super) dark: Option<SocketAddr>,
}

/// The text with these addresses; the access log is next to the file, in `dir`.
pub(super) fn text(kind: DemoKind, places: &DemoAddresses, dir: &Path) -> String {
    let quoted = |address: &str| format!("\"{address}\"");
    let log = dir.join("access.log");
    let [certificate, key] = certificate::VARIABLES;
    let listener = places.tls.map(|tls| {
        format!(
            r#"[[listener]]
name    = "https"
address = "{tls}"
[listener.tls]
# Made in memory for the demo; in production, name a pair of files or a directory.
certificates = [{{ cert = "${{{certificate}}}", key = "${{{key}}}" }}]

[admin]"#
        )
    });
    let dark = places.dark.map_or_else(|| "http://127.0.0.1:9003".to_owned(), |dark| format!("http://{dark}"));
    kind.template()
        .replace("http://127.0.0.1:9003", &dark)
        .replacen("[admin]", listener.as_deref().unwrap_or("[admin]"), 1)
        .replace("http://127.0.0.1:9001", &format!("http://{}", places.stable))
        .replace("http://127.0.0.1:9002", &format!("http://{}", places.canary))
        .replace(&quoted("127.0.0.1:8080"), &quoted(&places.proxy.to_string()))
        .replace(&quoted("127.0.0.1:9900"), &quoted(&places.admin.to_string()))
        .replace("\"access.log\"", &serde_json::Value::from(log.to_string_lossy()).to_string())
}

/// The file that an earlier demo left in `dir`, and the addresses in it; `None` if there is no file.
pub(super) fn kept(kind: DemoKind, dir: &Path, env: &Environment) -> anyhow::Result<Option<(PathBuf, DemoAddresses)>> {
    let file = dir.join("routes.toml");
    if !file.exists() {
        return Ok(None);
    }
    let file = fs::canonicalize(&file).with_context(|| format!("cannot enter {}", dir.display()))?;
    let refusal =
        || format!("{} exists, and the demo overwrites nothing; name another directory with --dir", file.display());
    let rules = config::load(&file, &**env).with_context(refusal)?.rules;
    let has_rollout = rules.rollouts.iter().any(|rollout| rollout.name == ROLLOUT);
    match (kind, has_rollout) {
        (DemoKind::Weight, true) => bail!("{} has the rollout of a demo: add --rollout", file.display()),
        (DemoKind::Rollout, false) => bail!("{}; the rollout {ROLLOUT} of a demo is not in it", refusal()),
        (DemoKind::Weight, false) | (DemoKind::Rollout, true) => {}
    }
    let service = |name: &str| {
        let upstream = rules.upstreams.iter().find(|upstream| upstream.name == name)?;
        match upstream.endpoints.first() {
            Some(EndpointSpec { host: EndpointHost::Ip(ip), port, .. }) if ip.is_loopback() => {
                Some((*ip, *port).into())
            }
            Some(_) | None => None,
        }
    };
    let (Some(proxy), Some(admin), Some(stable), Some(canary)) =
        (rules.listeners.first(), rules.admin.addresses.first(), service("shop-v1"), service("shop-v2"))
    else {
        bail!("{}; the services shop-v1 and shop-v2 of a demo are not in it", refusal());
    };
    let tls = rules.listeners.get(1).map(|listener| listener.address);
    let places = DemoAddresses { proxy: proxy.address, tls, admin: *admin, stable, canary, dark: service("shop-v3") };
    Ok(Some((file, places)))
}

/// The directory of the demo's files. A temporary one is removed on drop.
#[derive(Debug)]
pub(super) enum DemoDirectory {
    /// Named by `--dir`: it is kept.
    Kept(PathBuf),
    /// A fresh temporary directory.
    Own(PathBuf),
}

impl DemoDirectory {
    /// Makes `dir`, or a fresh temporary directory.
    pub(super) fn make(dir: Option<&Path>) -> anyhow::Result<Self> {
        let fresh = || format!("pointsman-demo-{}", &Uuid::now_v7().simple().to_string()[24..]);
        let path = dir.map_or_else(|| std::env::temp_dir().join(fresh()), Path::to_owned);
        let made = if dir.is_some() { fs::create_dir_all(&path) } else { fs::create_dir(&path) };
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        let path = fs::canonicalize(&path).with_context(|| format!("cannot enter {}", path.display()))?;
        Ok(if dir.is_some() { Self::Kept(path) } else { Self::Own(path) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        let (Self::Kept(path) | Self::Own(path)) = self;
        path
    }

    /// Removes the demo's temporary directory, and returns what was done.
    pub(super) fn remove(self) -> String {
        match &self {
            Self::Kept(path) => format!("kept {}", path.join("routes.toml").display()),
            Self::Own(path) => match fs::remove_dir_all(path) {
                Ok(()) => format!("removed {}", path.display()),
                Err(error) => format!("{} cannot be removed: {error}", path.display()),
            },
        }
    }
}

impl Drop for DemoDirectory {
    fn drop(&mut self) {
        if let Self::Own(path) = self {
            // Where the demo has failed, it says why; where it has ended, this is done already.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Writes the file into a directory. Never touches a file that is there.
pub(super) fn write(kind: DemoKind, places: &DemoAddresses, folder: &DemoDirectory) -> anyhow::Result<PathBuf> {
    let dir = folder.path();
    let file = dir.join("routes.toml");
    let mut open = match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} exists, and the demo overwrites nothing; name another directory with --dir", file.display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", file.display())),
    };
    open.write_all(text(kind, places, dir).as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::person;
    use super::*;

    fn places() -> DemoAddresses {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        DemoAddresses { proxy: at(1), tls: Some(at(5)), admin: at(2), stable: at(3), canary: at(4), dark: Some(at(6)) }
    }

    #[test]
    fn every_address_is_filled_in() {
        let text = text(DemoKind::Weight, &places(), Path::new("/somewhere"));
        for shipped in ["8080", "9900", "9001", "9002", "9003", "\"access.log\""] {
            assert!(!text.contains(shipped), "{shipped} is left in\n{text}");
        }
        for filled in ["\"127.0.0.1:1\"", "\"127.0.0.1:2\"", "1:3\"", "1:4\"", "\"127.0.0.1:5\"", "1:6\""] {
            assert!(text.contains(filled), "{filled} is missing in\n{text}");
        }
        assert!(text.contains("sink   = \"/somewhere/access.log\"\nsample = 0.1 "));
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(DemoKind::Weight, &places(), &DemoDirectory::make(Some(dir.path())).unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let refused = write(DemoKind::Weight, &places(), &DemoDirectory::make(Some(dir.path())).unwrap())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("--dir"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        let refused =
            format!("{:#}", kept(DemoKind::Weight, dir.path(), &certificate::environment().unwrap()).unwrap_err());
        assert!(refused.contains("--dir"), "{refused}");
    }

    #[test]
    fn only_a_directory_of_its_own_is_removed() {
        let own = DemoDirectory::make(None).unwrap();
        let file = write(DemoKind::Weight, &places(), &own).unwrap();
        let path = file.parent().unwrap().to_owned();
        assert_eq!(own.remove(), format!("removed {}", path.display()));
        assert!(!path.exists());
        let dropped = DemoDirectory::make(None).unwrap();
        let path = write(DemoKind::Weight, &places(), &dropped).unwrap();
        drop(dropped);
        assert!(!path.exists(), "also when the demo fails");
        let dir = tempfile::tempdir().unwrap();
        let kept = DemoDirectory::make(Some(&dir.path().join("deep/er"))).unwrap();
        let file = write(DemoKind::Weight, &places(), &kept).unwrap();
        assert_eq!(kept.remove(), format!("kept {}", file.display()));
        assert!(file.exists());
    }

    #[test]
    fn a_demo_finds_its_own_file_again() {
        let dir = tempfile::tempdir().unwrap();
        let env = certificate::environment().unwrap();
        assert!(kept(DemoKind::Weight, dir.path(), &env).unwrap().is_none());
        let file = write(DemoKind::Weight, &places(), &DemoDirectory::make(Some(dir.path())).unwrap()).unwrap();
        let (found, kept) = kept(DemoKind::Weight, dir.path(), &env).unwrap().unwrap();
        assert_eq!((found, format!("{kept:?}")), (file, format!("{:?}", places())));
    }

    #[test]
    fn the_file_of_a_rollout_is_valid_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let env = certificate::environment().unwrap();
        let folder = DemoDirectory::make(Some(dir.path())).unwrap();
        person::make(folder.path()).unwrap();
        let places = DemoAddresses { dark: None, ..places() };
        let file = write(DemoKind::Rollout, &places, &folder).unwrap();
        let loaded = config::load(&file, &*env).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let [rollout] = loaded.rules.rollouts.as_slice() else { panic!("{:#?}", loaded.rules.rollouts) };
        assert_eq!((rollout.name.as_str(), rollout.plan.stages.len(), rollout.members.len()), (ROLLOUT, 3, 1));
        let approvers = &rollout.approvers;
        assert!(approvers.iter().all(|role| role.people == [person::PERSON]), "{approvers:#?}");
        let (found, kept) = kept(DemoKind::Rollout, dir.path(), &env).unwrap().unwrap();
        assert_eq!((found, format!("{kept:?}")), (file, format!("{places:?}")));
        let refused = super::kept(DemoKind::Weight, dir.path(), &env).unwrap_err().to_string();
        assert!(refused.contains("add --rollout"), "{refused}");
    }
}
