//! A node's file system: ext4 in a sparse file on a loop device. Its power can be cut, it can be
//! filled, and nothing of the machine's own is at stake.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::fs::{FallocateFlags, fallocate, syncfs};
use rustix::io::Errno;

use crate::cluster::command::run;

/// The size of each, unless the plan says another. The log alone takes 16 MiB at a time.
pub(crate) const BYTES: u64 = 512 << 20;
/// How long a file system may be busy after its last process has ended.
const BUSY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// A ballast is taken in pieces of this size, at the end of the smaller ones.
const LARGEST: u64 = 64 << 20;
/// A block is not smaller.
const SMALLEST: u64 = 1024;

/// `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`: from now on no write reaches the device, and the journal
/// is not flushed. Only unsafe code can make an ioctl, so Python does.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
                        fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                        fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n";
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    /// It takes no writes since its power was cut.
    cut: bool,
    /// It is full of ballast.
    full: bool,
}

impl Disk {
    /// Makes the file system and mounts it.
    pub(super) fn make(image: PathBuf, mount: PathBuf, bytes: u64) -> anyhow::Result<Self> {
        let file = File::create(&image).and_then(|file| file.set_len(bytes));
        file.with_context(|| format!("cannot make {}", image.display()))?;
        std::fs::create_dir_all(&mount)
            .with_context(|| format!("cannot make {}", mount.display()))?;
        let shown = image.display().to_string();
        run(&["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", &shown])?;
        let disk = Self { image, mount, cut: false, full: false };
        disk.mount()?;
        Ok(disk)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// From now on nothing that is written stays, and nothing that was not synced.
    pub(super) fn cut(&mut self) -> anyhow::Result<()> {
        if !self.cut {
            // The host's own: a version switcher in PATH takes seconds to find one.
            let system = Path::new(SYSTEM_PYTHON).exists();
            let python = if system { SYSTEM_PYTHON } else { "python3" };
            run(&[python, "-IS", "-c", SHUTDOWN, &self.mount.display().to_string()])
                .context("cannot cut the power of a file system")?;
            // The ballast is not synced, so it may or may not survive.
            self.cut = true;
        }
        Ok(())
    }

    /// The power is back: the journal is replayed. No process may use the file system.
    pub(super) fn restore(&mut self) -> anyhow::Result<()> {
        self.remount()?;
        self.cut = false;
        self.full = self.ballast().exists();
        Ok(())
    }

    /// Makes it usable, though the power stays cut as far as its node knows.
    pub(super) fn remount(&mut self) -> anyhow::Result<()> {
        unmount(&self.mount)?;
        self.wait_until_released()?;
        self.mount()
    }

    /// A mount namespace that somebody made meanwhile, such as a container's that starts, holds a
    /// copy of the mount for a while. Mounted during that, it would be the old file system once
    /// more, which still takes no writes.
    fn wait_until_released(&self) -> anyhow::Result<()> {
        let end = Instant::now() + BUSY;
        while let Some(device) = loop_device(&self.image) {
            if Instant::now() > end {
                bail!(
                    "{device} still holds {} {BUSY:?} after it was unmounted: another mount \
                     namespace has it",
                    self.image.display()
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Whatever was written stays.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        let synced = File::open(&self.mount).map(syncfs);
        let named = || format!("cannot sync {}", self.mount.display());
        synced.with_context(named)?.with_context(named)
    }

    /// Takes every block that is left. Nothing is written, so the image stays as small as it is.
    pub(super) fn fill(&mut self) -> anyhow::Result<()> {
        let path = self.ballast();
        let failed = || format!("cannot fill {}", self.mount.display());
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.with_context(failed)?;
        let mut offset = file.metadata().with_context(failed)?.len();
        let mut size = LARGEST;
        while size >= SMALLEST {
            match fallocate(&file, FallocateFlags::empty(), offset, size) {
                Ok(()) => offset += size,
                // Some of it may have been taken.
                Err(Errno::NOSPC) => size /= 2,
                Err(errno) => return Err(errno).with_context(failed),
            }
        }
        self.full = true;
        Ok(())
    }

    /// Gives the blocks back.
    pub(super) fn empty(&mut self) -> anyhow::Result<()> {
        let path = self.ballast();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => {
                self.full = false;
                Ok(())
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    fn mount(&self) -> anyhow::Result<()> {
        let (image, mount) = (self.image.display().to_string(), self.mount.display().to_string());
        // `loop`: the kernel frees the loop device together with the mount.
        run(&["mount", "-t", "ext4", "-o", "loop", &image, &mount])?;
        Ok(())
    }
}

/// The loop device whose file this is.
fn loop_device(image: &Path) -> Option<String> {
    let devices = std::fs::read_dir("/sys/block").ok()?.flatten();
    let mut loops = devices.filter(|device| {
        let file = std::fs::read_to_string(device.path().join("loop/backing_file"));
        file.is_ok_and(|file| Path::new(file.trim_end()) == image)
    });
    loops.next().map(|device| device.file_name().to_string_lossy().into_owned())
}

/// Unmounts, waiting until what has just ended has let go of it.
pub(crate) fn unmount(mount: &Path) -> anyhow::Result<()> {
    let shown = mount.display().to_string();
    let end = Instant::now() + BUSY;
    loop {
        match run(&["umount", &shown]) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{shown} is busy after {BUSY:?}")));
            }
            Err(_) if !is_mounted(mount) => return Ok(()),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Everything that is mounted at or below `folder`, the deepest first.
pub(crate) fn mounted_below(folder: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.split(' ').nth(1)).map(unescape);
    let mut below: Vec<_> = paths.filter(|path| path.starts_with(folder)).collect();
    below.sort();
    below.reverse();
    below
}

fn is_mounted(mount: &Path) -> bool {
    mounted_below(mount).iter().any(|path| path == mount)
}

/// As the kernel writes it: a space is `\040`.
fn unescape(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let plain = escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    PathBuf::from(plain)
}

/// Bytes that are free on the file system of `folder`.
pub(super) fn free(folder: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(folder);
    let stat = stat.with_context(|| format!("cannot look at {}", folder.display()))?;
    if stat.f_frsize == 0 {
        bail!("{} does not say how much room it has", folder.display());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
