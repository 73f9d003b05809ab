//! The state folder on a disk: folder mode 0700, files 0600.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::files::JournalFiles;

/// The mode of a folder that is created here.
const DIR_MODE: u32 = 0o700;
/// The mode of the files.
const FILE_MODE: u32 = 0o600;

/// The files of a state folder.
#[derive(Clone, Debug)]
pub struct DiskFiles {
    dir: PathBuf,
}

impl DiskFiles {
    /// The files of this folder, which need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Creates the folder, and those above it, with mode 0700 where it is missing.
    ///
    /// # Errors
    /// It cannot be created, or its path is not a folder.
    pub fn create_dir(dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        debug_assert!(!name.contains('/'), "names are plain");
        self.dir.join(name)
    }

    /// Makes new, renamed and removed names durable.
    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl JournalFiles for DiskFiles {
    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is not a file")));
        }
        Ok(Box::new(file))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_all()?;
        self.sync_dir()
    }

    fn append(&self, name: &str, len: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.path(name))?;
        let found = file.metadata()?.len();
        if found < len {
            let why = format!("{name} has {found} bytes and had {len}: another program cut it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if found > len {
            file.set_len(len)?;
        }
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        Self::create_dir(&self.dir)?;
        let whole = self.path(name);
        let part = self.path(&format!("{name}.tmp"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&part)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &whole)?;
        self.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))?;
        self.sync_dir()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))?;
        self.sync_dir()
    }
}
