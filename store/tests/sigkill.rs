//! A process that is killed loses nothing it acknowledged, and its successor opens what it left.

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use higuma_store::testing::KnownLog;

/// Set for the process to be killed: the folder of its log.
const FOLDER: &str = "HIGUMA_SIGKILL_FOLDER";
const TEST: &str = "nothing_acknowledged_is_lost_to_sigkill";
const KILLS: u64 = 10;
const SEGMENT_BYTES: u32 = 256 << 10;

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_sigkill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_until_killed(&PathBuf::from(folder)).await.unwrap();
    }
    let temp = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let mut child = spawn(temp.path()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acked = lines.filter_map(|line| line.strip_prefix("acked ")?.parse::<u64>().ok());
        // A different number of acknowledgements each time.
        let seen = acked.nth(3 + 7 * kill as usize).expect("the writer ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let log = KnownLog::open(temp.path(), SEGMENT_BYTES).await.unwrap();
        assert!(log.length() >= seen, "kill {kill}: {seen} acknowledged, {} left", log.length());
        log.close().unwrap();
    }
}

/// This test once more, in a process of its own.
fn spawn(folder: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([TEST, "--exact", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
}

async fn write_until_killed(folder: &Path) -> std::io::Result<()> {
    let mut log = KnownLog::open(folder, SEGMENT_BYTES).await?;
    for group in 1.. {
        log.append(1 + group % 9).await?;
        stdout().write_all(format!("acked {}\n", log.length()).as_bytes())?;
    }
    Ok(())
}
