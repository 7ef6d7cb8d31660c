//! What is done to the files of a node that is down, and undone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::draw::Draw;

/// What ends the name of a segment of the log.
const SEGMENT: &str = ".wal";
/// What was not synced begins this far behind what was, at most: no byte of a last write that ends in
/// zeros is touched.
const APART: usize = 512;

/// What has to be undone.
#[derive(Debug)]
pub(super) enum Harm {
    Flipped { file: PathBuf, at: u64, was: u8 },
    Aside { data: PathBuf, kept: PathBuf },
}

/// Writes what a cut write leaves behind all that was written.
pub(super) fn tear(data: &Path, bytes: u32) -> anyhow::Result<()> {
    let (file, content) = newest(data)?;
    let begin = used(&content).next_multiple_of(APART);
    let end = begin.saturating_add(usize::try_from(bytes)?).min(content.len());
    let mut draw = Draw::new(u64::from(bytes), "torn");
    // No frame begins with a zero, and none is made by chance.
    let torn: Vec<u8> =
        (begin..end).map(|_| u8::try_from(draw.between(1, 255)).unwrap_or(1)).collect();
    write(&file, &torn, begin as u64)
}

/// Makes another of a byte of the log's newest file.
pub(super) fn flip(data: &Path, percent: u8) -> anyhow::Result<Harm> {
    let (file, content) = newest(data)?;
    let begin = used(&content) * usize::from(percent.min(99)) / 100;
    // What is between two writes is zeros, and means nothing.
    let at = content[begin..].iter().position(|byte| *byte != 0).map(|at| begin + at);
    let at = at.with_context(|| format!("there is nothing in {}", file.display()))?;
    let was = content[at];
    write(&file, &[!was], at as u64)?;
    Ok(Harm::Flipped { file, at: at as u64, was })
}

/// Takes the folder away.
pub(super) fn set_aside(data: &Path) -> anyhow::Result<Harm> {
    let kept = data.with_extension("aside");
    std::fs::rename(data, &kept).with_context(|| format!("cannot rename {}", data.display()))?;
    Ok(Harm::Aside { data: data.to_owned(), kept })
}

impl Harm {
    /// What the node's message has to hold.
    pub(super) fn must_say(&self) -> String {
        match self {
            Self::Flipped { file, .. } => format!("the log is damaged: {}", file.display()),
            Self::Aside { .. } => "data folder is empty, but node".to_owned(),
        }
    }

    /// Everything is as it was.
    pub(super) fn undo(&self) -> anyhow::Result<()> {
        match self {
            Self::Flipped { file, at, was } => write(file, &[*was], *at),
            Self::Aside { data, kept } => {
                if data.exists() {
                    std::fs::remove_dir_all(data)
                        .with_context(|| format!("cannot remove {}", data.display()))?;
                }
                let back = std::fs::rename(kept, data);
                back.with_context(|| format!("cannot rename {}", kept.display()))
            }
        }
    }
}

fn write(file: &Path, bytes: &[u8], at: u64) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).open(file);
    let written = opened.and_then(|open: File| {
        open.write_all_at(bytes, at)?;
        open.sync_all()
    });
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// The newest file of the log, and its content.
fn newest(data: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let mut segments = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(SEGMENT) {
                segments.push(path);
            }
        }
    }
    segments.sort();
    let Some(file) = segments.pop() else { bail!("no {SEGMENT} file is in {}", data.display()) };
    let content =
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((file, content))
}

/// How much of it was written: it is filled with zeros beforehand.
fn used(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("log")).unwrap();
        std::fs::write(data.join("log/01.wal"), [9; 8]).unwrap();
        let newest = data.join("log/02.wal");
        let mut content = vec![7; 1000];
        content.resize(4096, 0);
        std::fs::write(&newest, content).unwrap();
        (folder, data, newest)
    }

    #[test]
    fn a_torn_write_touches_nothing_that_was_written() {
        let (_folder, data, newest) = folder();
        tear(&data, 100).unwrap();
        let content = std::fs::read(&newest).unwrap();
        assert_eq!((content.len(), used(&content)), (4096, 1024 + 100));
        assert!(content[..1000].iter().all(|byte| *byte == 7));
        assert!(content[1000..1024].iter().all(|byte| *byte == 0));
        tear(&data, 1_000_000).unwrap();
        assert_eq!(std::fs::read(&newest).unwrap().len(), 4096);
    }

    #[test]
    fn what_is_flipped_or_taken_away_is_put_back() {
        let (_folder, data, newest) = folder();
        let before = std::fs::read(&newest).unwrap();
        let harm = flip(&data, 50).unwrap();
        let now = std::fs::read(&newest).unwrap();
        assert_eq!(before.iter().zip(&now).filter(|(a, b)| a != b).count(), 1);
        assert!(harm.must_say().contains("log/02.wal"), "{}", harm.must_say());
        harm.undo().unwrap();
        assert_eq!(std::fs::read(&newest).unwrap(), before);
        let harm = set_aside(&data).unwrap();
        assert!(!data.exists());
        std::fs::create_dir(&data).unwrap();
        harm.undo().unwrap();
        assert_eq!(std::fs::read(&newest).unwrap(), before);
    }
}
