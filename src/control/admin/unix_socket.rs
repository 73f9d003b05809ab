//! The Unix socket of the admin listener: its folders, its permissions, and how it replaces a stale one.
//!
//! It is bound under another name and renamed: at its path there is never a socket with other permissions. Only a path
//! without a listener behind it is replaced, or that of the process that this one takes over from.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::access::group_id;
use crate::route::{AdminSpec, Rules};

/// The longest path of a socket, in bytes.
const PATH_BYTES_MAX: usize = 107;
/// The name under which a socket is bound first; shorter than any name that it gets.
const NEW: &str = ".n";

/// Where the socket is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketPlace {
    pub path: PathBuf,
    /// The group that may connect.
    pub group: Option<String>,
    /// `[state] dir`, when the socket lies in its folder `run`: these folders are made.
    state_dir: Option<PathBuf>,
}

/// What to do about a process that listens at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum OtherListener {
    /// Leave it: binding fails.
    Keep,
    /// Take its path: it is the process that this one takes over from.
    Replace,
}

/// A bound socket. Its file is removed when it is dropped, unless another socket has taken the path.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub path: PathBuf,
    file: FileId,
}

/// Device and inode.
type FileId = [u64; 2];

impl SocketPlace {
    /// The place that these rules name; `None` when the socket is off.
    pub fn of(rules: &Rules) -> Option<Self> {
        let AdminSpec { socket, socket_group, .. } = &rules.admin;
        let path = socket.clone()?;
        let state_dir = (path == rules.state.socket()).then(|| rules.state.dir.clone());
        Some(Self { path, group: socket_group.clone(), state_dir })
    }

    /// Whether the folder of the socket exists. A folder that was removed is not made again behind the back of the person
    /// who removed it.
    pub fn has_folder(&self) -> bool {
        self.path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.exists())
    }

    /// Binds the socket.
    ///
    /// # Errors
    /// Why it cannot be bound, and what to do.
    pub fn bind(&self, other: OtherListener) -> Result<(BoundSocket, UnixListener), String> {
        let path = self.path.as_path();
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > PATH_BYTES_MAX {
            return Err(format!(
                "its path has {bytes} bytes, and the system allows {PATH_BYTES_MAX}: set `socket` in `[admin]` to a \
                 shorter path, or `dir` in `[state]`"
            ));
        }
        let gid = self.group.as_deref().map(group_id).transpose()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        if let Some(state_dir) = &self.state_dir {
            make_folders(state_dir, folder, gid)?;
        }
        check_replaceable(path, other)?;
        let new =
            if path.file_name().is_some_and(|name| name.len() > NEW.len()) { folder.join(NEW) } else { path.into() };
        remove_file(&new).map_err(|error| format!("{} cannot be removed: {error}", new.display()))?;
        let explain = |error: io::Error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let is_closed = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            let hint = if is_missing {
                ": the folder does not exist"
            } else if is_closed {
                ": make its folder writable for the user of the proxy, or set `socket` in `[admin]`"
            } else {
                ""
            };
            format!("{error}{hint}")
        };
        let listener = UnixListener::bind(&new).map_err(explain)?;
        let bound = finish(&listener, &new, path, gid);
        if bound.is_err() {
            let _ = fs::remove_file(&new);
        }
        let file = bound.map_err(explain)?;
        Ok((BoundSocket { path: path.to_owned(), file }, listener))
    }
}

/// Sets the permissions of a new socket and moves it to its path.
fn finish(listener: &UnixListener, new: &Path, path: &Path, gid: Option<u32>) -> io::Result<FileId> {
    listener.set_nonblocking(true)?;
    let mode = if gid.is_some() { 0o660 } else { 0o600 };
    if gid.is_some() {
        chown(new, None, gid)?;
    }
    fs::set_permissions(new, Permissions::from_mode(mode))?;
    if new != path {
        fs::rename(new, path)?;
    }
    file_id(path)
}

impl BoundSocket {
    /// Whether the path still leads to this socket.
    pub fn is_in_place(&self) -> bool {
        file_id(&self.path).is_ok_and(|file| file == self.file)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| [file.dev(), file.ino()])
}

/// Makes `[state] dir` and its folder `run`, or checks them.
fn make_folders(state_dir: &Path, run: &Path, gid: Option<u32>) -> Result<(), String> {
    let explain = |path: &Path, error: &io::Error| format!("{} cannot be used: {error}", path.display());
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    let is_new = !state_dir.exists();
    make(state_dir).map_err(|error| explain(state_dir, &error))?;
    make(run).map_err(|error| explain(run, &error))?;
    let own = rustix::process::geteuid().as_raw();
    let folder = fs::symlink_metadata(run).map_err(|error| explain(run, &error))?;
    if !folder.is_dir() || folder.uid() != own {
        let who = super::access::user_name(own);
        return Err(format!("{} is not a folder of the user `{who}`: remove it, it is made again", run.display()));
    }
    let mode = if gid.is_some() { 0o750 } else { 0o700 };
    let set = |path: &Path, mode| {
        if gid.is_some() {
            chown(path, None, gid)?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    set(run, mode).map_err(|error| explain(run, &error))?;
    if gid.is_some() || is_new {
        let mode = if gid.is_some() { 0o710 } else { 0o700 };
        set(state_dir, mode).map_err(|error| explain(state_dir, &error))?;
    }
    Ok(())
}

/// Checks that nothing is lost when the path is replaced.
fn check_replaceable(path: &Path, other: OtherListener) -> Result<(), String> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    if !file.file_type().is_socket() {
        return Err(format!("{} exists and is not a socket: remove it, or set `socket` in `[admin]`", path.display()));
    }
    if other == OtherListener::Keep && is_listened_to(path) {
        return Err(format!("another process listens at {}: stop it, or set `socket` in `[admin]`", path.display()));
    }
    Ok(())
}

/// Whether a process listens behind the path. A full backlog counts, and so does every error but a refusal.
fn is_listened_to(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    !connect().is_err_and(|error: io::Error| {
        matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn place(dir: &Path, group: Option<&str>) -> SocketPlace {
        let state_dir = dir.join("state");
        let path = state_dir.join("run").join("admin.sock");
        SocketPlace { path, group: group.map(str::to_owned), state_dir: Some(state_dir) }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("a file").mode() & 0o7777
    }

    #[test]
    fn the_socket_and_its_folders_are_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path(), None);
        let (bound, _listener) = place.bind(OtherListener::Keep).expect("bound");
        let modes =
            [dir.path().join("state"), dir.path().join("state/run"), place.path.clone()].map(|path| mode(&path));
        assert_eq!(modes, [0o700, 0o700, 0o600]);
        UnixStream::connect(&place.path).expect("it listens");
        assert!(bound.is_in_place());
        drop(bound);
        assert!(!place.path.exists(), "its file goes with it");
    }

    #[test]
    fn with_a_group_its_members_reach_the_socket() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = nix::unistd::Group::from_gid(nix::unistd::getegid()).expect("groups").expect("a name").name;
        let place = place(dir.path(), Some(&own));
        let (_bound, _listener) = place.bind(OtherListener::Keep).expect("bound");
        let modes =
            [dir.path().join("state"), dir.path().join("state/run"), place.path.clone()].map(|path| mode(&path));
        assert_eq!(modes, [0o710, 0o750, 0o660]);
        let unknown = SocketPlace { group: Some("no-such-group".to_owned()), ..place };
        let error = unknown.bind(OtherListener::Keep).expect_err("no group");
        assert_eq!(error, "there is no group `no-such-group` on this machine");
    }

    #[test]
    fn only_a_socket_without_a_listener_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path(), None);
        let (first, listener) = place.bind(OtherListener::Keep).expect("bound");
        let error = place.bind(OtherListener::Keep).expect_err("in use");
        assert!(error.starts_with("another process listens at "), "{error}");
        let (second, listening) = place.bind(OtherListener::Replace).expect("taken over");
        assert!(!first.is_in_place() && second.is_in_place());
        drop((first, listener));
        assert!(second.is_in_place(), "the first one leaves the path of the second");
        std::mem::forget(second);
        drop(listening);
        place.bind(OtherListener::Keep).expect("a stale socket is replaced");
    }

    #[test]
    fn bad_places_say_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |path: PathBuf| SocketPlace { path, group: None, state_dir: None };
        let error = |place: SocketPlace| place.bind(OtherListener::Replace).expect_err("not bound");
        let long = error(at(dir.path().join("x".repeat(200))));
        assert!(long.contains("the system allows 107") && long.contains("shorter path"), "{long}");
        fs::write(dir.path().join("file"), "").expect("written");
        let file = error(at(dir.path().join("file")));
        assert!(file.contains("is not a socket"), "{file}");
        let missing = error(at(dir.path().join("none/admin.sock")));
        assert!(missing.contains("the folder does not exist"), "{missing}");
        let mut blocked = place(dir.path(), None);
        blocked.state_dir = Some(dir.path().join("file"));
        blocked.path = dir.path().join("file/run/admin.sock");
        assert!(error(blocked).contains("cannot be used"));
    }
}
