//! `higuma backup`: a running cluster's state in a file.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use higuma_global::offline::{Backup, Passing};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Response;

use super::Session;
use crate::args::BackupArgs;
use crate::client::{Request, call};
use crate::failure::{Exit, Failure};
use crate::output::{self, note, print};

/// How long nothing may come. The server gives up after as long.
const SILENCE: Duration = Duration::from_secs(30);
const STDOUT: &str = "-";

pub(crate) async fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let to_stdout = args.file == Path::new(STDOUT);
    if to_stdout && stdout().is_terminal() {
        return Err(Failure::usage(
            "a backup is no text and holds private keys: send standard output to a file or a pipe",
        ));
    }
    if !to_stdout {
        vacant(args)?;
    }
    let session = Session::open(&args.connection)?;
    let mut request = Request::get(&["_backup"]);
    if args.stale {
        request = request.query("consistency", "stale");
    }
    if to_stdout {
        let (mut stream, _) = session.client.open(&request).await?;
        return pass_on(&mut stream).await;
    }
    // A node may end midway; each time another one is asked.
    let mut servers = session.client.servers().len();
    loop {
        let (mut stream, _) = session.client.open(&request).await?;
        servers -= 1;
        match keep(&mut stream, args).await {
            Err(broke) if broke.exit == Exit::Unavailable && servers > 0 => {
                note(format!("warning: {broke}; trying another server"));
            }
            done => return done,
        }
    }
}

/// Refuses to replace what nobody asked to replace.
fn vacant(args: &BackupArgs) -> Result<(), Failure> {
    let file = args.file.display();
    match fs::symlink_metadata(&args.file) {
        Ok(found) if found.is_dir() => {
            Err(Failure::refused(format!("{file} is a folder: name a file in it")))
        }
        Ok(_) if !args.force => {
            Err(Failure::refused(format!("{file} is there already; --force replaces it")))
        }
        _ => Ok(()),
    }
}

/// A file that is removed unless it got its name.
struct Part {
    path: PathBuf,
    named: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            // It may not have been made.
            drop(fs::remove_file(&self.path));
        }
    }
}

async fn keep(stream: &mut Response, args: &BackupArgs) -> Result<(), Failure> {
    let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = args.file.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let failed = |doing: &str, path: &Path| {
        let what = format!("cannot {doing} {}", path.display());
        move |error: std::io::Error| Failure::refused(format!("{what}: {error}"))
    };
    // Private keys are in it: for this user alone, from its first byte.
    let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = made.map_err(failed("create", &path))?;
    let mut part = Part { path, named: false };
    let progress = Progress::new();
    while let Some(chunk) = next(stream, &progress).await? {
        file.write_all(&chunk).map_err(failed("write", &part.path))?;
        progress.add(chunk.len());
    }
    file.sync_all().map_err(failed("sync", &part.path))?;
    drop(file);
    progress.end();
    let backup = Backup::read(&part.path).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("what arrived is no whole backup: {error}"))
    })?;
    vacant(args)?;
    fs::rename(&part.path, &args.file).map_err(failed("rename to", &args.file))?;
    part.named = true;
    let folder = args.file.parent().filter(|parent| *parent != Path::new(""));
    let folder = folder.unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
    print(format!(
        "backed up cluster {} at version {}: {} resources, {} bytes in {}",
        backup.cluster(),
        backup.state.version(),
        backup.state.len(),
        backup.bytes,
        args.file.display()
    ))?;
    note("It holds private keys in plain text: keep it as you keep them.");
    Ok(())
}

/// To standard output, and says afterwards whether it was whole.
async fn pass_on(stream: &mut Response) -> Result<(), Failure> {
    let mut passing = Passing::default();
    let progress = Progress::new();
    while let Some(chunk) = next(stream, &progress).await? {
        output::bytes(&chunk)?;
        passing.take(&chunk);
        progress.add(chunk.len());
    }
    progress.end();
    if passing.is_whole() {
        return Ok(());
    }
    let why = "what was written to standard output is no whole backup: throw it away";
    Err(Failure::new(Exit::Unavailable, why))
}

/// The next piece; none: the server ended the answer in order.
async fn next(stream: &mut Response, progress: &Progress) -> Result<Option<Vec<u8>>, Failure> {
    let broke = |why: String| {
        let so_far = progress.0.position();
        let text = format!("the backup broke off after {so_far} bytes ({why}): it is of no use");
        Failure::new(Exit::Unavailable, text)
    };
    match tokio::time::timeout(SILENCE, stream.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk.map(|chunk| chunk.to_vec())),
        Ok(Err(error)) => Err(broke(call::reason(&error))),
        Err(_) => Err(broke(format!("nothing came for {} s", SILENCE.as_secs()))),
    }
}

/// What came so far: on stderr, and only on a terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {bytes}, {bytes_per_sec}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())))
    }

    fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
