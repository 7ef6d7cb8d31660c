//! A disk in memory that, when its power is cut, drops, tears and reorders whatever was not
//! synced: contents by sectors, names one by one. It can fail at a chosen operation. Operations
//! are counted, so that a test can stop at each in turn.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile};
use crate::log::tests::Random;

/// A torn write ends at a multiple of this.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails, the disk goes on. A write may have been done in part; what a sync was
    /// to make durable is still seen, and gone after a power cut.
    Error,
    /// This operation and all later ones fail, until the power comes back.
    PowerCut,
    /// The thread panics.
    Panic,
}

/// While it is held every operation waits.
pub(crate) struct Held<'a> {
    _shared: MutexGuard<'a, Shared>,
}

/// Handles share one disk. Those from before a power cut only fail.
#[derive(Clone)]
pub(crate) struct LossyDisk {
    shared: Arc<Mutex<Shared>>,
    epoch: u64,
}

pub(crate) struct LossyFile {
    disk: LossyDisk,
    inode: usize,
}

struct Shared {
    random: Random,
    epoch: u64,
    dead: bool,
    /// Operations that change something, since the last power cut.
    operations: u64,
    fault: Option<(u64, Fault)>,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
}

#[derive(Default, Clone)]
struct Inode {
    /// As it is seen.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Naming {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

impl LossyDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let shared = Shared {
            random: Random(seed),
            epoch: 0,
            dead: false,
            operations: 0,
            fault: None,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)), epoch: 0 }
    }

    /// The next operation but `after` runs into `fault`.
    pub(crate) fn fail_after(&self, after: u64, fault: Fault) {
        let mut shared = self.lock();
        shared.fault = Some((shared.operations + after, fault));
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        Held { _shared: self.lock() }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Cuts the power and turns it on again: the disk as it is found then.
    pub(crate) fn power_cycle(&self) -> Self {
        let mut shared = self.lock();
        let Shared { random, inodes, durable_names, unsynced_names, .. } = &mut *shared;
        for naming in std::mem::take(unsynced_names) {
            if random.chance(50) {
                naming.apply(durable_names);
            }
        }
        for inode in inodes.iter_mut() {
            inode.lose_unsynced(random);
        }
        shared.names = shared.durable_names.clone();
        shared.epoch += 1;
        (shared.dead, shared.operations, shared.fault) = (false, 0, None);
        Self { shared: Arc::clone(&self.shared), epoch: shared.epoch }
    }

    /// The process is gone, the machine stays: what was written is seen, synced or not.
    pub(crate) fn process_killed(&self) -> Self {
        let mut shared = self.lock();
        shared.epoch += 1;
        (shared.dead, shared.operations, shared.fault) = (false, 0, None);
        Self { shared: Arc::clone(&self.shared), epoch: shared.epoch }
    }

    /// Changes a file behind the log's back, durably.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut shared = self.lock();
        let inode = shared.names[name];
        let inode = &mut shared.inodes[inode];
        change(&mut inode.bytes);
        inode.durable.clone_from(&inode.bytes);
        inode.unsynced.clear();
    }

    /// A copy with a life of its own.
    pub(crate) fn fork(&self) -> Self {
        let shared = self.lock();
        let copy = Shared {
            random: Random(shared.random.0),
            epoch: self.epoch,
            dead: false,
            operations: 0,
            fault: None,
            inodes: shared.inodes.clone(),
            names: shared.names.clone(),
            durable_names: shared.durable_names.clone(),
            unsynced_names: shared.unsynced_names.clone(),
        };
        Self { shared: Arc::new(Mutex::new(copy)), epoch: self.epoch }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let shared = self.lock();
        if shared.dead || shared.epoch != self.epoch {
            return Err(io::Error::other("the power is off"));
        }
        Ok(shared)
    }

    /// Counts an operation; says whether it runs into an error.
    fn change(&self) -> io::Result<(MutexGuard<'_, Shared>, bool)> {
        let mut shared = self.alive()?;
        let fault = shared.fault.filter(|(at, _)| *at == shared.operations);
        shared.operations += 1;
        match fault {
            Some((_, Fault::PowerCut)) => shared.dead = true,
            Some((_, Fault::Panic)) => {
                drop(shared);
                panic!("a fault on purpose");
            }
            Some((_, Fault::Error)) | None => {}
        }
        Ok((shared, fault.is_some()))
    }
}

fn eio() -> io::Error {
    io::Error::other("input/output error")
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Shared {
    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(not_found)
    }

    fn rename(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced_names.push(naming);
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

impl Inode {
    /// Any sector of any write may have got through, in any order.
    fn lose_unsynced(&mut self, random: &mut Random) {
        let mut sectors = Vec::new();
        for (at, bytes) in self.unsynced.drain(..) {
            let mut from = 0;
            while from < bytes.len() {
                let to = ((at + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                let to = to.min(bytes.len());
                sectors.push((at + from, bytes[from..to].to_vec()));
                from = to;
            }
        }
        // Sometimes all of it, sometimes nothing, mostly a part.
        let percent = [0, 100, 50, 90, 10][random.below(5)];
        for (at, bytes) in sectors {
            if random.chance(percent) {
                write(&mut self.durable, at, &bytes);
            }
        }
        self.bytes.clone_from(&self.durable);
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Disk for LossyDisk {
    type File = LossyFile;

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/lossy").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let shared = self.alive()?;
        Ok(shared.inodes[shared.inode(name)?].bytes.clone())
    }

    fn create(&self, name: &str) -> io::Result<LossyFile> {
        let (mut shared, fails) = self.change()?;
        if fails {
            return Err(eio());
        }
        let inode = shared.inodes.len();
        shared.inodes.push(Inode::default());
        shared.rename(Naming::Link(name.into(), inode));
        Ok(LossyFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<LossyFile> {
        let inode = self.alive()?.inode(name)?;
        Ok(LossyFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut shared, fails) = self.change()?;
        let inode = shared.inode(from)?;
        if !fails || shared.random.chance(50) {
            shared.rename(Naming::Rename(from.into(), to.into(), inode));
        }
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut shared, fails) = self.change()?;
        shared.inode(name)?;
        if !fails || shared.random.chance(50) {
            shared.rename(Naming::Unlink(name.into()));
        }
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn sync_names(&self) -> io::Result<()> {
        let (mut shared, fails) = self.change()?;
        if fails {
            return Err(eio());
        }
        shared.durable_names = shared.names.clone();
        shared.unsynced_names.clear();
        Ok(())
    }
}

impl DiskFile for LossyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut shared, fails) = self.disk.change()?;
        let written = if fails { shared.random.below(bytes.len() + 1) } else { bytes.len() };
        let bytes = &bytes[..written];
        let inode = &mut shared.inodes[self.inode];
        write(&mut inode.bytes, offset as usize, bytes);
        inode.unsynced.push((offset as usize, bytes.to_vec()));
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let shared = self.disk.alive()?;
        let from = shared.inodes[self.inode].bytes.get(offset as usize..).unwrap_or_default();
        let found = from.get(..bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.inodes[self.inode].bytes.len() as u64)
    }

    fn forget_cached(&self) {}

    fn sync(&self) -> io::Result<()> {
        let (mut shared, fails) = self.disk.change()?;
        let dead = shared.dead;
        let inode = &mut shared.inodes[self.inode];
        if dead {
            return Err(eio());
        }
        // A failed sync leaves the pages clean: no later sync writes them.
        let unsynced = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(eio());
        }
        unsynced.iter().for_each(|(at, bytes)| write(&mut inode.durable, *at, bytes));
        Ok(())
    }
}
