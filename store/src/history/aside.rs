//! Where a history goes that can't be used.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Damaged histories that are kept aside, for whoever wants to know why.
const ASIDE: usize = 2;

/// Renames a history that can't be used, so that another one can begin; the oldest of those that
/// were put aside before is removed.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |at: usize| path.with_extension(format!("damaged-{at}"));
    match fs::remove_dir_all(name(ASIDE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for at in (1..ASIDE).rev() {
        rename(&name(at), &name(at + 1))?;
    }
    rename(path, &name(1))?;
    Ok(name(1))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
