//! Files, folders and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Source;

/// One file. A resource is 1 MiB at most, and a file of thousands is generated: split it.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Files of one folder.
const MAX_FILES: usize = 1_000;

/// Reads all, or says everything that cannot be read.
pub(super) fn sources(paths: &[&Path]) -> Result<Vec<Source>, Vec<String>> {
    let mut sources = Vec::new();
    let mut wrong = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    match source(&file) {
                        Ok(source) => sources.push(source),
                        Err(why) => wrong.push(why),
                    }
                }
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(sources) } else { Err(wrong) }
}

/// A folder's manifests, by name; a file is itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| format!("cannot read folder {}: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let manifest = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if manifest && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    match files.len() {
        0 => Err(format!("{} holds no .yaml, .yml or .json file", path.display())),
        1..=MAX_FILES => Ok(files),
        n => Err(format!("{} holds {n} files; {MAX_FILES} is the most", path.display())),
    }
}

fn source(path: &Path) -> Result<Source, String> {
    let (name, bytes) = if path == Path::new("-") {
        ("standard input".to_owned(), bytes(std::io::stdin().lock()))
    } else {
        (path.display().to_string(), std::fs::File::open(path).and_then(bytes))
    };
    let bytes = bytes.map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{name} is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("{name} is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())
    })?;
    // A byte order mark is no part of the first key.
    let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
    Ok(Source { name, text })
}

fn bytes(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
