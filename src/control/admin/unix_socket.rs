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
    file: SocketFile,
    /// What is wrong with its folders.
    pub remark: Option<String>,
}

/// The file of a bound socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// Device and inode.
type FileId = [u64; 2];

/// The result of a check of the socket.
#[derive(Debug)]
pub struct SocketCheck {
    pub(super) place: SocketPlace,
    /// The file of the socket that was served when the check began.
    pub(super) before: Option<SocketFile>,
    /// A new socket; `None` when the one before is in place, or the folder is gone.
    pub(super) bound: Option<Result<(BoundSocket, UnixListener), String>>,
}

impl SocketCheck {
    /// Binds the socket again when its file is gone, or when there was none. It may block.
    pub(super) fn run(place: SocketPlace, before: Option<SocketFile>) -> Self {
        let is_in_place = before.as_ref().is_some_and(SocketFile::is_in_place);
        let bound = (!is_in_place && place.has_folder()).then(|| place.bind(OtherListener::Keep));
        Self { place, before, bound }
    }
}

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
        let remark = match &self.state_dir {
            Some(state_dir) => make_folders(state_dir, folder, gid)?,
            None => None,
        };
        check_replaceable(path, other)?;
        // With the process, so that two of them do not meet; the system may allow no longer name than the one it gets.
        let new = format!(".n{}", std::process::id());
        let new =
            if path.file_name().is_some_and(|name| name.len() >= new.len()) { folder.join(new) } else { path.into() };
        remove_socket(&new).map_err(|error| format!("{} cannot be removed: {error}", new.display()))?;
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
            let _ = remove_socket(&new);
        }
        let id = bound.map_err(explain)?;
        Ok((BoundSocket { file: SocketFile { path: path.to_owned(), id }, remark }, listener))
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
    /// Its file.
    pub const fn file(&self) -> &SocketFile {
        &self.file
    }
}

impl SocketFile {
    /// Whether the path still leads to this socket.
    pub fn is_in_place(&self) -> bool {
        file_id(&self.path).is_ok_and(|id| id == self.id)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if self.file.is_in_place() {
            let _ = remove_socket(&self.file.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| [file.dev(), file.ino()])
}

/// Makes `[state] dir` and its folder `run`, or closes them to others. Returns what it could not close.
fn make_folders(state_dir: &Path, run: &Path, gid: Option<u32>) -> Result<Option<String>, String> {
    let explain = |path: &Path, error: &io::Error| format!("{} cannot be used: {error}", path.display());
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
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
    let mode = if gid.is_some() { 0o710 } else { 0o700 };
    let folder = fs::metadata(state_dir).map_err(|error| explain(state_dir, &error))?;
    // A folder with the sticky bit, such as /tmp, is there for others, too.
    let is_own = folder.uid() == own && folder.mode() & 0o1000 == 0;
    if gid.is_some() || is_own {
        set(state_dir, mode).map_err(|error| explain(state_dir, &error))?;
        return Ok(None);
    }
    let found = folder.mode() & 0o7777;
    let dir = state_dir.display();
    Ok((found & 0o077 & !mode != 0).then(|| {
        format!(
            "others can use the state folder {dir} (mode {found:o}): give the proxy one of its own, with mode {mode:o}"
        )
    }))
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

/// Removes a socket, if there is one; other files stay.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => Err(io::Error::other("it is not a socket")),
        Ok(_) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
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
        assert!(bound.file().is_in_place());
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
    fn an_open_state_folder_is_closed_and_a_group_can_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let state_dir = dir.path().join("state");
        fs::create_dir(&state_dir).expect("made");
        let bind = |group: Option<&str>| {
            let (bound, _listener) = place(dir.path(), group).bind(OtherListener::Replace).expect("bound");
            assert_eq!(bound.remark, None);
            [state_dir.clone(), state_dir.join("run"), state_dir.join("run/admin.sock")].map(|path| mode(&path))
        };
        fs::set_permissions(&state_dir, Permissions::from_mode(0o755)).expect("set");
        assert_eq!(bind(None), [0o700, 0o700, 0o600]);
        let own = nix::unistd::Group::from_gid(nix::unistd::getegid()).expect("groups").expect("a name").name;
        assert_eq!(bind(Some(&own)), [0o710, 0o750, 0o660]);
        assert_eq!(bind(None), [0o700, 0o700, 0o600]);
        fs::set_permissions(&state_dir, Permissions::from_mode(0o1777)).expect("set");
        let (bound, _listener) = place(dir.path(), None).bind(OtherListener::Replace).expect("bound");
        assert!(bound.remark.as_ref().is_some_and(|remark| remark.contains("(mode 1777)")), "{:?}", bound.remark);
        assert_eq!(mode(&state_dir), 0o1777, "it is there for others, too");
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let other = dir.path().join(format!(".n{}", std::process::id()));
        fs::write(&other, "words").expect("written");
        let place = SocketPlace { path: dir.path().join("a-longer-name.sock"), group: None, state_dir: None };
        let error = place.bind(OtherListener::Keep).expect_err("not bound");
        assert!(error.ends_with("cannot be removed: it is not a socket"), "{error}");
        assert!(other.exists());
    }

    #[test]
    fn a_check_binds_only_a_socket_that_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path(), None);
        let (bound, _listener) = place.bind(OtherListener::Keep).expect("bound");
        let before = Some(bound.file().clone());
        assert!(SocketCheck::run(place.clone(), before.clone()).bound.is_none());
        fs::remove_file(&place.path).expect("removed");
        let check = SocketCheck::run(place.clone(), before);
        assert!(check.bound.is_some_and(|bound| bound.is_ok_and(|(bound, _)| bound.file().is_in_place())));
    }

    #[test]
    fn only_a_socket_without_a_listener_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path(), None);
        let (first, listener) = place.bind(OtherListener::Keep).expect("bound");
        let error = place.bind(OtherListener::Keep).expect_err("in use");
        assert!(error.starts_with("another process listens at "), "{error}");
        let (second, listening) = place.bind(OtherListener::Replace).expect("taken over");
        assert!(!first.file().is_in_place() && second.file().is_in_place());
        drop((first, listener));
        assert!(second.file().is_in_place(), "the first one leaves the path of the second");
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
