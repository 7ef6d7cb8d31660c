//! Which Envoy is run: where it is, and whether it is new enough.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

/// The oldest Envoy whose delta ADS and RBAC in RDS are what the control plane counts on.
const OLDEST: (u32, u32) = (1, 30);
/// Where `make setup` installs it, below the current folder.
const INSTALLED: &str = ".tools/envoy-1.40.0/envoy";
/// `envoy --version` takes some 50 ms, more on a cold disk (the file has over 100 MB).
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Envoy's version, as the control plane is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// `1.40.0`.
    pub version: String,
    /// All of it: commit, version, state of the tree, kind of build, TLS library.
    pub build: String,
}

/// An Envoy that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    pub path: PathBuf,
    pub version: Version,
}

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error(
        "no Envoy found: neither `envoy` in PATH nor {INSTALLED}; install it with `make setup`, or give its path with --envoy (or HIGUMA_ENVOY)"
    )]
    NotFound,
    #[error(
        "--envoy (or HIGUMA_ENVOY): {} is no program that can be run; install Envoy with `make setup`, or give another path",
        .0.display()
    )]
    NotExecutable(PathBuf),
    #[error("`{} --version` failed: {reason}; is it an Envoy for this machine?", path.display())]
    NoVersion { path: PathBuf, reason: String },
    #[error(
        "Envoy too old: {} is {version}, and {}.{} is the oldest that works; install a newer one with `make setup`",
        path.display(), OLDEST.0, OLDEST.1
    )]
    TooOld { path: PathBuf, version: String },
}

impl Binary {
    /// `given`, or `envoy` in PATH, or the one that `make setup` installs; asked for its version.
    ///
    /// # Errors
    /// Says what to do.
    pub async fn find(given: Option<&Path>) -> Result<Self, BinaryError> {
        let path = locate(given, std::env::var_os("PATH").as_deref(), Path::new(INSTALLED))?;
        let failed = |reason| BinaryError::NoVersion { path: path.clone(), reason };
        let mut asked = Command::new(&path);
        asked.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(VERSION_TIMEOUT, asked.output())
            .await
            .map_err(|_| failed(format!("no answer within {VERSION_TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse(&text).filter(|_| output.status.success());
        let Some((numbers, version)) = version else {
            let said: String = text.trim().chars().take(100).collect();
            return Err(failed(format!("{}, and it said `{said}`", output.status)));
        };
        if numbers < OLDEST {
            return Err(BinaryError::TooOld { path, version: version.version });
        }
        Ok(Self { path, version })
    }
}

fn locate(
    given: Option<&Path>,
    search: Option<&OsStr>,
    installed: &Path,
) -> Result<PathBuf, BinaryError> {
    if let Some(given) = given {
        let runs = is_executable(given);
        return if runs { Ok(given.to_owned()) } else { Err(not_executable(given)) };
    }
    let in_path = search.into_iter().flat_map(std::env::split_paths).map(|dir| dir.join("envoy"));
    in_path
        .chain([installed.to_owned()])
        .find(|path| is_executable(path))
        .ok_or(BinaryError::NotFound)
}

fn not_executable(path: &Path) -> BinaryError {
    BinaryError::NotExecutable(path.to_owned())
}

fn is_executable(path: &Path) -> bool {
    let file = std::fs::metadata(path);
    file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// `…  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL` to (major, minor) and the version.
fn parse(text: &str) -> Option<((u32, u32), Version)> {
    let (_, build) = text.split_once("version: ")?;
    let build = build.lines().next()?.trim();
    let version = build.split('/').nth(1)?;
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let numbers = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((numbers, Version { version: version.to_owned(), build: build.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        path
    }

    #[test]
    fn the_given_one_then_path_then_the_installed_one() {
        let folder = tempfile::tempdir().expect("tempdir");
        let (here, empty) = (folder.path().join("bin"), folder.path().join("empty"));
        let in_path = program(&here, "envoy", "");
        let installed = program(folder.path(), "tools/envoy", "");
        let search = std::env::join_paths([&empty, &here]).expect("paths");
        let found = |given: Option<&Path>, search: Option<&OsStr>, installed: &Path| {
            locate(given, search, installed).map_err(|error| error.to_string())
        };
        let some = Some(search.as_os_str());
        assert_eq!(found(Some(&installed), some, &installed), Ok(installed.clone()));
        assert_eq!(found(None, some, &installed), Ok(in_path));
        assert_eq!(found(None, Some(empty.as_os_str()), &installed), Ok(installed.clone()));
        let none = found(None, None, &empty).expect_err("nowhere");
        assert!(none.contains("make setup") && none.contains("--envoy"), "{none}");
        let given = found(Some(&empty), some, &installed).expect_err("not there");
        assert!(given.contains("empty is no program") && given.contains("make setup"), "{given}");
    }

    #[tokio::test]
    async fn versions_are_checked() {
        struct Case {
            script: &'static str,
            want: Result<&'static str, &'static str>,
        }
        let case = |script, want| Case { script, want };
        let folder = tempfile::tempdir().expect("tempdir");
        let cases = [
            case("echo \"envoy  version: 9e/1.40.0/Clean/RELEASE/BoringSSL\"", Ok("1.40.0")),
            case(
                "echo \"envoy  version: 9e/1.30.0-dev/Clean/RELEASE/BoringSSL\"",
                Ok("1.30.0-dev"),
            ),
            case("echo \"envoy  version: 9e/2.0.1/Clean/RELEASE/BoringSSL\"", Ok("2.0.1")),
            case(
                "echo \"envoy  version: 9e/1.29.9/Clean/RELEASE/BoringSSL\"",
                Err(
                    "is 1.29.9, and 1.30 is the oldest that works; install a newer one with `make setup`",
                ),
            ),
            case("echo hello", Err("and it said `hello`; is it an Envoy for this machine?")),
            case("exit 3", Err("exit status: 3")),
        ];
        for (index, case) in cases.into_iter().enumerate() {
            let path = program(folder.path(), &format!("envoy-{index}"), case.script);
            match (Binary::find(Some(&path)).await, case.want) {
                (Ok(binary), Ok(want)) => assert_eq!(binary.version.version, want),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (got, want) => panic!("{}: {got:?}, not {want:?}", case.script),
            }
        }
    }
}
