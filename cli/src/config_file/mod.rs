//! `--config FILE` of every `run`: flags that stand in a file, under their long names.
//!
//! The file is read before the command line is parsed for good, and its values are put into the
//! command line as if they had been typed there: clap alone says what is valid, what is missing,
//! and what needs what. A flag that is given, or whose variable is set, wins over the file
//! (`docs/adr/0021-a-run-commands-file.md`).

mod read;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use read::{Entry, Given};

const ID: &str = "config_file";
const FLAG: &str = "config";
const VARIABLE: &str = "HIGUMA_CONFIG_FILE";

/// The commands that take a file, each with an example of one.
const COMMANDS: [(&[&str], &str); 5] = [
    (
        &["global", "run"],
        "node-id: 1\ndata-dir: /var/lib/higuma\nbind: 10.0.0.1\nmembers:\n- 1=10.0.0.1:5684\n- \
         2=10.0.0.2:5684\n- 3=10.0.0.3:5684\ntls-ca: /etc/higuma/ca.pem\ntls-cert: \
         /etc/higuma/node-1.pem\ntls-key: /etc/higuma/node-1.key\n",
    ),
    (
        &["remote", "run"],
        "zone: east\ndata-dir: /var/lib/higuma\nbind: 10.1.0.1\nglobal:\n- 10.0.0.1:5685\n- \
         10.0.0.2:5685\n- 10.0.0.3:5685\ntls-ca: /etc/higuma/ca.pem\ntls-cert: \
         /etc/higuma/east.pem\ntls-key: /etc/higuma/east.key\n",
    ),
    (
        &["dp", "run"],
        "dataplane-file: /etc/higuma/web.yaml\ncp: east.internal:5678\ntls-ca: \
         /etc/higuma/ca.pem\ndrain-time: 30s\n",
    ),
    (
        &["ingress", "run"],
        "ingress-file: /etc/higuma/ingress.yaml\ncp: east.internal:5678\ntls-ca: \
         /etc/higuma/ca.pem\nconcurrency: 4\n",
    ),
    (
        &["demo-app"],
        "bind: 127.0.0.1:8080\nservice: web\nversion: v1\nzone: east\ninstance: web-1\nupstream:\n- \
         backend=http://127.0.0.1:10001\n",
    ),
];

/// Adds the flag to the commands that take a file, and what the file looks like to their help.
pub(crate) fn with_flag(command: Command) -> Command {
    COMMANDS.iter().fold(command, |command, (path, example)| at(command, path, example))
}

fn at(command: Command, path: &[&str], example: &str) -> Command {
    match path {
        [name, rest @ ..] => command.mut_subcommand(*name, |inner| at(inner, rest, example)),
        [] => {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example: String = example.lines().map(|line| format!("    {line}\n")).collect();
            let flag = Arg::new(ID)
                .long(FLAG)
                .env(VARIABLE)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("A YAML file with flags under their long names; flags and variables win over it");
            command.arg(flag).after_help(format!(
                "{help}\n\nThe same flags in a file, for --config (a list for a flag that takes \
                 several values):\n{}",
                example.trim_end()
            ))
        }
    }
}

/// Parses a command line, with what its file says.
///
/// # Errors
/// What clap finds wrong, with the place in the file where it stands there, or what is wrong with
/// the file.
pub(crate) fn matches(command: Command, words: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let lenient = command.clone().ignore_errors(true).try_get_matches_from(&words);
    let Some(found) = lenient.ok().and_then(|matches| Found::of(&command, &matches)) else {
        return command.try_get_matches_from(words);
    };
    let given = read::file(&found.file).and_then(|entries| found.flags(entries));
    let given = given.map_err(|why| command.clone().error(clap::error::ErrorKind::Io, why))?;
    let mut all = words;
    let at = (1 + found.depth).min(all.len());
    all.splice(at..at, given.iter().flat_map(|given| given.words.clone()));
    command.try_get_matches_from(all).map_err(|error| placed(error, &found.file, &given))
}

/// The command that a command line names, and its file.
struct Found {
    file: PathBuf,
    /// Words before its flags, without the program's name.
    depth: usize,
    command: Command,
    /// Flags that are given, or whose variable is set.
    settled: Vec<String>,
}

impl Found {
    fn of(command: &Command, matches: &ArgMatches) -> Option<Self> {
        let (mut command, mut matches, mut depth) = (command, matches, 0);
        while let Some((name, inner)) = matches.subcommand() {
            command = command.find_subcommand(name)?;
            (matches, depth) = (inner, depth + 1);
        }
        let file = matches.try_get_one::<PathBuf>(ID).ok().flatten()?.clone();
        let settled = |id: &str| {
            let source = matches.value_source(id);
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        let flags = command.get_arguments().filter(|flag| settled(flag.get_id().as_str()));
        let settled = flags.filter_map(|flag| flag.get_long().map(str::to_owned)).collect();
        Some(Self { file, depth, command: command.clone(), settled })
    }

    /// What the file adds to the command line.
    fn flags(&self, entries: Vec<Entry>) -> Result<Vec<Given>, String> {
        let mut given = Vec::new();
        for entry in entries {
            let flag = self.command.get_arguments().find(|flag| {
                flag.get_long() == Some(&entry.key) && flag.get_id() != ID && entry.key != "help"
            });
            let Some(flag) = flag else { return Err(self.unknown(&entry)) };
            let words = words(flag, &entry)?;
            if !self.settled.contains(&entry.key) {
                given.push(Given { key: entry.key, line: entry.line, words });
            }
        }
        Ok(given)
    }

    fn unknown(&self, entry: &Entry) -> String {
        let known = self.command.get_arguments().filter(|flag| flag.get_id() != ID);
        let mut known: Vec<_> =
            known.filter_map(Arg::get_long).filter(|long| *long != "help").collect();
        known.sort_unstable();
        let (place, key) = (&entry.place, &entry.key);
        format!("{place}: {key:?} is no flag of this command; there are {}", known.join(", "))
    }
}

/// A key and its values as they are typed.
fn words(flag: &Arg, entry: &Entry) -> Result<Vec<OsString>, String> {
    let (place, key) = (&entry.place, &entry.key);
    match flag.get_action() {
        ArgAction::SetTrue => match entry.values.as_slice() {
            [value] if value == "true" => Ok(vec![format!("--{key}").into()]),
            [value] if value == "false" => Ok(Vec::new()),
            _ => Err(format!("{place}: {key} is true or false")),
        },
        ArgAction::Append => {
            Ok(entry.values.iter().map(|value| format!("--{key}={value}").into()).collect())
        }
        _ => match entry.values.as_slice() {
            [value] => Ok(vec![format!("--{key}={value}").into()]),
            _ => Err(format!("{place}: {key} takes one value, not a list")),
        },
    }
}

/// Says where in the file the flags stand that an error is about.
fn placed(error: clap::Error, file: &std::path::Path, given: &[Given]) -> clap::Error {
    let mut about = Vec::new();
    for (kind, value) in error.context() {
        match (kind, value) {
            (ContextKind::InvalidArg | ContextKind::PriorArg, ContextValue::String(one)) => {
                about.push(one.clone());
            }
            (ContextKind::InvalidArg | ContextKind::PriorArg, ContextValue::Strings(all)) => {
                about.extend(all.iter().cloned());
            }
            _ => {}
        }
    }
    let is_about = |given: &&Given| {
        let flag = format!("--{}", given.key);
        about.iter().any(|text| text.split([' ', '=']).next() == Some(&*flag))
    };
    let lines = given
        .iter()
        .filter(is_about)
        .map(|given| format!("--{} stands in {}, line {}", given.key, file.display(), given.line));
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return error;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    clap::Error::raw(error.kind(), format!("{text}\n\n{}\n", lines.join("\n")))
}

#[cfg(test)]
mod tests;
