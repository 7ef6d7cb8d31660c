//! Room on the disk: how much there is, when it is too little, and what is held back for then.
//!
//! A full disk stops a node, and a node that can't write can't take the deletion that would make
//! room either. So before it is full: the leader hands over, and once fewer members than a majority
//! have room, puts are refused and deletions taken. The file `reserve` takes up space until then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Free space below which a node counts as nearly full, beside room for two more snapshots (one
/// that is built and one that is received): several segments of the log, and a minute of writes at
/// the pace that fills them.
pub(crate) const ROOM_BYTES: u64 = 128 << 20;
/// Held back: two segments of the log, enough for thousands of deletions and the records of a
/// purge. The prepared next segment is a reserve too.
const RESERVE_BYTES: u64 = 32 << 20;
/// Back to normal only with this much more than what is too little: no flapping.
const MARGIN_BYTES: u64 = RESERVE_BYTES + (32 << 20);

const RESERVE: &str = "reserve";

/// What a look at the disk found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that this process may still write.
    pub(crate) free: u64,
    pub(crate) is_low: bool,
}

/// What to do about the reserve.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Release,
    Hold,
}

/// Watches the file system of one folder.
pub(crate) struct Disk {
    folder: PathBuf,
    room: Room,
    holds: bool,
}

impl Disk {
    pub(crate) fn new(folder: &Path) -> Self {
        let holds = folder.join(RESERVE).exists();
        Self { folder: folder.to_owned(), room: Room::default(), holds }
    }

    /// Measures, and holds space back or gives it free. `least`: what must be free.
    pub(crate) fn look(&mut self, least: u64) -> io::Result<Room> {
        let found = statvfs(&self.folder)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let (room, step) = decide(free, least, self.room.is_low, self.holds);
        self.room = room;
        match step {
            Step::Stay => {}
            Step::Release => self.release()?,
            // Without it nothing breaks: there is less warning.
            Step::Hold => match self.hold() {
                Ok(()) => self.holds = true,
                Err(error) => tracing::debug!(%error, "no space can be held back here"),
            },
        }
        Ok(self.room)
    }

    fn hold(&self) -> io::Result<()> {
        let file = File::create(self.folder.join(RESERVE))?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        Ok(())
    }

    fn release(&mut self) -> io::Result<()> {
        fs::remove_file(self.folder.join(RESERVE))?;
        self.holds = false;
        tracing::warn!("the disk is full: gave the reserve free");
        Ok(())
    }
}

fn decide(free: u64, least: u64, was_low: bool, holds: bool) -> (Room, Step) {
    let enough = if was_low { least.saturating_add(MARGIN_BYTES) } else { least };
    let room = Room { free, is_low: free < enough };
    let step = match holds {
        true if free < RESERVE_BYTES => Step::Release,
        false if !room.is_low && free >= least.saturating_add(MARGIN_BYTES) => Step::Hold,
        _ => Step::Stay,
    };
    (room, step)
}

/// Why puts are refused, if they are: some member is nearly full, and those that have room and
/// answer are no majority. One that does not answer has none that anybody could count on.
pub(crate) fn refusal(members: &[(u64, Option<Room>)]) -> Option<String> {
    let has_room = |room: &Option<Room>| room.is_some_and(|room| !room.is_low);
    let with_room = members.iter().filter(|(_, room)| has_room(room)).count();
    let low: Vec<String> = members
        .iter()
        .filter_map(|(id, room)| room.filter(|room| room.is_low).map(|room| (id, room)))
        .map(|(id, room)| format!("node {id} ({} MiB free)", room.free >> 20))
        .collect();
    (!low.is_empty() && with_room <= members.len() / 2).then(|| {
        format!(
            "disk nearly full on {}: free space there; until then only deletions are taken",
            low.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn low(free: u64, was_low: bool) -> bool {
        decide(free, 128 * MIB, was_low, true).0.is_low
    }

    #[test]
    fn low_begins_below_the_mark_and_ends_above_it() {
        assert!(!low(128 * MIB, false));
        assert!(low(127 * MIB, false));
        assert!(low(150 * MIB, true), "no flapping");
        assert!(!low(192 * MIB, true));
    }

    #[test]
    fn the_reserve_goes_when_the_disk_is_full_and_comes_back_with_the_room() {
        let step = |free, was_low, holds| decide(free * MIB, 128 * MIB, was_low, holds).1;
        assert_eq!(step(200, false, false), Step::Hold);
        assert_eq!(step(200, false, true), Step::Stay);
        assert_eq!(step(100, false, true), Step::Stay);
        assert_eq!(step(31, true, true), Step::Release);
        assert_eq!(step(63, true, false), Step::Stay);
        assert_eq!(step(191, true, false), Step::Stay);
        assert_eq!(step(192, true, false), Step::Hold);
    }

    #[test]
    fn puts_are_refused_once_no_majority_has_room() {
        let room = |free: u64| Some(Room { free: free * MIB, is_low: free < 128 });
        assert_eq!(refusal(&[(1, room(500)), (2, room(500)), (3, None)]), None);
        assert_eq!(refusal(&[(1, room(500)), (2, room(500)), (3, room(5))]), None);
        let why = refusal(&[(1, room(500)), (2, None), (3, room(5))]).unwrap();
        assert!(why.contains("disk nearly full on node 3 (5 MiB free)"), "{why}");
        let why = refusal(&[(1, room(7)), (2, room(500)), (3, room(5))]).unwrap();
        assert!(why.contains("node 1 (7 MiB free), node 3 (5 MiB free)"), "{why}");
        assert!(refusal(&[(1, room(7))]).is_some());
        assert_eq!(refusal(&[(1, room(700))]), None);
    }

    #[test]
    fn space_is_held_back_in_a_real_folder_and_given_free() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path());
        let room = disk.look(0).unwrap();
        assert!(!room.is_low && room.free > 0);
        let file = folder.path().join(RESERVE);
        assert_eq!(file.metadata().unwrap().len(), RESERVE_BYTES);
        disk.release().unwrap();
        assert!(!file.exists());
        assert!(disk.look(u64::MAX).unwrap().is_low);
    }
}
