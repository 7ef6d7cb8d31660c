//! The file operations that the log needs, in one folder: few enough to be imitated by a disk that
//! loses, tears and reorders whatever was not synced.

#[cfg(test)]
pub(crate) mod lossy;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::PathBuf;

/// One folder of files. Names are plain file names.
pub(crate) trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// The whole path of a name, for messages.
    fn path(&self, name: &str) -> PathBuf;
    fn list(&self) -> io::Result<Vec<String>>;
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// An empty file to write; what stood under the name is gone.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// An existing file.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes every creation, renaming and removal so far durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file open for reading and writing.
pub(crate) trait DiskFile: Send + Sync + 'static {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`; an error where the file is too short.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    /// Makes what was written durable, and the length with it.
    fn sync(&self) -> io::Result<()>;
    /// Lets the kernel forget what it holds of a synced file, so that the next read comes from the
    /// disk. A hint: where it can't be followed, nothing is lost but the sharpness of a check.
    fn forget_cached(&self);
}

/// A real folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    syncs: bool,
}

/// A real file.
#[derive(Debug)]
pub(crate) struct FolderFile {
    file: File,
    syncs: bool,
}

impl Folder {
    /// The folder must exist. Without `syncs` nothing that is written is durable (`Options::syncs`).
    pub(crate) fn new(path: PathBuf, syncs: bool) -> Self {
        Self { path, syncs }
    }
}

impl Disk for Folder {
    type File = FolderFile;

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn create(&self, name: &str) -> io::Result<FolderFile> {
        // What it will hold includes secrets, not encrypted in this version.
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(FolderFile { file: file.open(self.path(name))?, syncs: self.syncs })
    }

    fn open(&self, name: &str) -> io::Result<FolderFile> {
        let file = File::options().read(true).write(true).open(self.path(name))?;
        Ok(FolderFile { file, syncs: self.syncs })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl DiskFile for FolderFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn forget_cached(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the length is part of what it must make durable, times are not.
        if self.syncs { self.file.sync_data() } else { Ok(()) }
    }
}
