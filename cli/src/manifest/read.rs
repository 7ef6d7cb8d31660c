//! Files, folders and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Input, Source};

/// One file. A resource is 1 MiB at most, and a file of thousands is generated: split it.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Files of one folder, and of the folders in it.
const MAX_FILES: usize = 1_000;
/// Folders in folders: a bound for typing errors such as `-f /`.
const MAX_DEPTH: usize = 16;

/// Reads all, or says everything that cannot be read.
pub(super) fn sources(inputs: Vec<Input>) -> Result<Vec<Source>, Vec<String>> {
    let mut sources = Vec::new();
    let mut wrong = Vec::new();
    for input in inputs {
        let path = match input {
            Input::Fetched(source) => {
                sources.push(source);
                continue;
            }
            Input::Path(path) => path,
        };
        match expand(&path) {
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
    let mut files = Vec::new();
    collect(path, 0, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(format!("{} holds no .yaml, .yml or .json file", path.display()));
    }
    Ok(files)
}

/// Adds the manifests below a folder. Hidden folders (`.git`) hold none, and links to folders are
/// not followed: they may lead back.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let shown = folder.display();
    if depth > MAX_DEPTH {
        return Err(format!("folder {shown} is {depth} folders deep; {MAX_DEPTH} is the most"));
    }
    let failed = |error: std::io::Error| format!("cannot read folder {shown}: {error}");
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if entry.file_type().map_err(failed)?.is_dir() {
            if !hidden {
                collect(&path, depth + 1, files)?;
            }
            continue;
        }
        let manifest = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if manifest && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(format!("{shown} holds more than {MAX_FILES} files"));
        }
    }
    Ok(())
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
    named(name, bytes)
}

/// A source of these bytes, if they are text.
pub(super) fn named(name: String, bytes: Vec<u8>) -> Result<Source, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_with_those_in_them_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "").expect("written");
        };
        for path in ["b.yaml", "a/z.json", "a/b/c.yml", "a.txt", ".git/x.yaml", "c/README"] {
            file(path);
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).expect("a link");
        let found = expand(folder.path()).expect("files");
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).expect("below")).collect();
        assert_eq!(names, ["a/b/c.yml", "a/z.json", "b.yaml"].map(Path::new));
        let none = expand(&folder.path().join("c")).expect_err("none");
        assert!(none.contains("holds no .yaml"), "{none}");
        let deep = (0..20).map(|_| "d").collect::<Vec<_>>().join("/");
        file(&format!("{deep}/x.yaml"));
        let wrong = expand(folder.path()).expect_err("too deep");
        assert!(wrong.contains("16 is the most"), "{wrong}");
    }
}
