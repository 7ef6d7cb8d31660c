//! How much may be under way at a leader: a caller over it is told to come back, before anything of
//! its write is proposed.

use higuma_model::MAX_ENTRY_BYTES;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Writes under way. Four times the clients that saturate a disk, by etcd's measure and ours.
const MAX_WRITES: usize = 1024;

/// Bytes of the writes under way: each is held a few times over (proposed, in the log, in a message
/// to each member), so this is some hundreds of megabytes at worst.
const MAX_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Intake {
    writes: Semaphore,
    bytes: Semaphore,
}

/// Room for one write, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    _write: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self { writes: Semaphore::new(MAX_WRITES), bytes: Semaphore::new(MAX_BYTES) }
    }

    /// Takes room for a write, or says in words that there is none.
    pub(super) fn enter(&self, bytes: usize) -> Result<Entered<'_>, String> {
        let Ok(write) = self.writes.try_acquire() else {
            return Err(format!("{MAX_WRITES} writes are under way"));
        };
        // No write is larger than the bound, so that each fits sooner or later.
        let wanted = u32::try_from(bytes.min(MAX_BYTES)).unwrap_or(u32::MAX);
        let Ok(room) = self.bytes.try_acquire_many(wanted) else {
            let left = MAX_BYTES - self.bytes.available_permits();
            return Err(format!(
                "writes of {left} bytes are under way, of {MAX_BYTES} that may be"
            ));
        };
        Ok(Entered { _write: write, _bytes: room })
    }
}

const _: () = assert!(MAX_BYTES >= 8 * MAX_ENTRY_BYTES, "several of the largest writes at once");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_under_way_are_bounded_by_number_and_by_bytes() {
        let intake = Intake::new();
        let small: Vec<_> = (0..MAX_WRITES).map(|_| intake.enter(1_000).expect("room")).collect();
        let refused = intake.enter(1).expect_err("full");
        assert_eq!(refused, "1024 writes are under way");
        drop(small);

        let mut large: Vec<_> =
            (0..32).map(|_| intake.enter(MAX_ENTRY_BYTES).expect("room")).collect();
        let refused = intake.enter(1).expect_err("full");
        assert!(refused.contains("writes of 67108864 bytes are under way"), "{refused}");
        large.pop();
        assert!(intake.enter(MAX_ENTRY_BYTES).is_ok(), "what ended makes room");
    }
}
