//! New contents for a data folder, which take the place of the old ones as a whole.
//!
//! They are made in a folder within it, where a crash leaves something that nobody starts from.
//! Once they are complete they are moved in, one rename after the other; a crash between two of them leaves a
//! folder that is refused until the same command has ended what it began.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::{
    COMPLETE, DataFolder, FolderError, HISTORY, IDENTITY, INCOMING, Identity, LOCK, LOG, Owned,
    SNAPSHOTS, failed, sync_folder,
};

/// What a file system puts into its own root.
const LOST_AND_FOUND: &str = "lost+found";

/// A name in a folder that says that it is in use; none in an empty one, or where there is none.
pub(crate) fn occupant(path: &Path) -> Result<Option<String>, FolderError> {
    let names = match fs::read_dir(path) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("list", path)(e)),
    };
    for name in names {
        let name = name.map_err(failed("list", path))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name != LOCK && name != LOST_AND_FOUND {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

impl DataFolder {
    /// An empty folder for new contents; what a crash left of earlier ones is gone.
    pub(crate) fn incoming(&self) -> Result<Self, FolderError> {
        self.abandon()?;
        Self::lock(&self.path.join(INCOMING))
    }

    /// Removes contents that were not taken in.
    pub(crate) fn abandon(&self) -> Result<(), FolderError> {
        let path = self.path.join(INCOMING);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Ends the making of the contents of `incoming`, which hold log and snapshots already: durably, so that
    /// [`take_in`](Self::take_in) may begin. What is replaced goes to the folder `aside`.
    pub(crate) fn complete(
        &self,
        identity: Identity,
        hand_out: bool,
        aside: &str,
    ) -> Result<(), FolderError> {
        self.write(Owned { identity, log: true, hand_out })?;
        let marker = self.path.join(COMPLETE);
        let written = File::create(&marker).and_then(|mut file| {
            file.write_all(aside.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &marker))?;
        self.sync()
    }

    /// Moves complete contents in; false: there are none. May be called again after a crash.
    pub(crate) fn take_in(&self) -> Result<bool, FolderError> {
        let incoming = self.path.join(INCOMING);
        let marker = incoming.join(COMPLETE);
        let aside = match fs::read_to_string(&marker) {
            Ok(aside) => aside,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(failed("read", &marker)(e)),
        };
        let aside = self.path.join(aside);
        // Of another cluster, and never made while this is going on.
        self.put_aside(HISTORY, &aside)?;
        for name in [LOG, SNAPSHOTS, IDENTITY] {
            let from = incoming.join(name);
            if from.exists() {
                self.put_aside(name, &aside)?;
                let to = self.path.join(name);
                fs::rename(&from, &to).map_err(failed("rename to", &to))?;
            }
        }
        self.sync()?;
        fs::remove_dir_all(&incoming).map_err(failed("remove", &incoming))?;
        self.sync()?;
        Ok(true)
    }

    fn put_aside(&self, name: &str, aside: &Path) -> Result<(), FolderError> {
        let from = self.path.join(name);
        if !from.exists() {
            return Ok(());
        }
        fs::create_dir_all(aside).map_err(failed("create", aside))?;
        let to = aside.join(name);
        fs::rename(&from, &to).map_err(failed("rename to", &to))?;
        // It is there before something else stands in its place.
        sync_folder(aside).map_err(failed("sync", aside))?;
        self.sync()
    }
}
