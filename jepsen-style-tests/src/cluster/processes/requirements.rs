//! What a run needs of its machine, checked before anything is made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Plan, Shape, disk};
use crate::cluster::command::run;

/// Programs, and the Debian package that each is from.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("setsid", "util-linux"),
    ("python3", "python3"),
];
/// Images are sparse; this much of each is written in a long run, with a copy of it.
const USED_OF_DISK: u64 = 128 << 20;
const ENVOY: (u32, u32) = (1, 30);

/// What [`check`] found.
#[derive(Debug)]
pub(super) struct Found {
    /// Only where the plan has proxies.
    pub(super) envoy: Option<PathBuf>,
    /// Only where clocks are to jump.
    pub(super) faketime: Option<PathBuf>,
}

pub(super) fn check(plan: &Plan, disks: usize) -> anyhow::Result<Found> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the processes database needs root: it makes network namespaces and mounts; run it \
             with sudo"
        );
    }
    for (program, package) in PROGRAMS {
        if in_path(program).is_none() {
            bail!("`{program}` is not in PATH: install it (Debian: apt-get install {package})");
        }
    }
    if !plan.binary.is_file() {
        bail!("there is no {}: build it, or give another binary", plan.binary.display());
    }
    let needed = USED_OF_DISK * u64::try_from(disks)?;
    let free = disk::free(&plan.folder)?;
    if free < needed {
        bail!(
            "{} MiB are free in {}, a run needs {} MiB for its file systems",
            free >> 20,
            plan.folder.display(),
            needed >> 20
        );
    }
    if plan.traces && in_path("strace").is_none() {
        bail!(
            "`strace` is not in PATH, without which syncs cannot fail: install it (Debian: apt-get \
             install strace)"
        );
    }
    let envoy = match plan.shape {
        Shape::Globals => None,
        Shape::Whole { .. } => Some(envoy(plan.envoy.as_deref())?),
    };
    let faketime = if plan.clocks { Some(faketime()?) } else { None };
    Ok(Found { envoy, faketime })
}

/// Debian puts it into a folder for the machine's architecture.
fn faketime() -> anyhow::Result<PathBuf> {
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let in_folders = folders.map(|folder| folder.path().join(LIBRARY));
    let mut all = std::iter::once(Path::new("/usr/lib").join(LIBRARY)).chain(in_folders);
    all.find(|path| path.is_file()).context(
        "there is no libfaketime, without which clocks cannot jump: install it (Debian: apt-get \
         install faketime)",
    )
}

/// As `dp run` finds it; absolute.
fn envoy(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    const LOCAL: &str = ".tools/envoy-1.40.0/envoy";
    let found = match given {
        Some(path) => Some(path.to_owned()),
        None => in_path("envoy").or_else(|| Path::new(LOCAL).is_file().then(|| LOCAL.into())),
    };
    let Some(found) = found else {
        bail!(
            "there is no Envoy: neither in PATH nor {LOCAL}; run scripts/setup or set HIGUMA_ENVOY"
        );
    };
    let shown = found.display().to_string();
    let path = std::path::absolute(&found).with_context(|| format!("Envoy {shown}"))?;
    let said = run(&[&path.display().to_string(), "--version"])
        .with_context(|| format!("{shown} is not an Envoy that runs here"))?;
    match version(&said) {
        Some(version) if version >= ENVOY => Ok(path),
        Some((major, minor)) => bail!(
            "Envoy {shown} is version {major}.{minor}, and {}.{} is the oldest that works; run \
             scripts/setup or set HIGUMA_ENVOY",
            ENVOY.0,
            ENVOY.1
        ),
        None => bail!("{shown} does not say which version of Envoy it is: {}", said.trim()),
    }
}

/// Of `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split("version:").nth(1)?.split('/').nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where a program is.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_version_is_read() {
        let said = "\n/e/envoy  version: 6d9bb7d9/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version(said), Some((1, 40)));
        assert_eq!(version("envoy 1.40"), None);
    }
}
