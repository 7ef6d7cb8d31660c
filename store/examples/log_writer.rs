//! Writes the durable log until it is killed, for `scripts/power-cut`.
//!
//!   log_writer FOLDER SEED [verify]
//!
//! Opens the log, checks every entry in it and says `opened LENGTH`; with `verify` that is all.
//! Then it appends, in groups drawn from SEED, and says `acked LENGTH` once they are durable.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use higuma_store::testing::KnownLog;

/// Small, so that a short run rotates often.
const SEGMENT_BYTES: u32 = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(seed)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("log_writer FOLDER SEED [verify]");
    };
    let (folder, mut seed) = (PathBuf::from(folder), seed.parse::<u64>()?);
    let verify = arguments.next().is_some();
    let mut log = KnownLog::open(&folder, SEGMENT_BYTES).await?;
    say("opened", log.length())?;
    if verify {
        return Ok(log.close()?);
    }
    loop {
        // The high bits of a linear congruential generator.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        log.append(1 + (seed >> 33) % 24).await?;
        say("acked", log.length())?;
    }
}

/// One line, written at once.
fn say(what: &str, length: u64) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{what} {length}")?;
    out.flush()
}
