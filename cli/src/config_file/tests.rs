use std::path::Path;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _};

use super::*;
use crate::args::Arguments;

/// The whole command line, deaf to the environment: whoever runs the tests may have set any of it.
fn command() -> Command {
    deaf(with_flag(Arguments::command()))
}

fn deaf(command: Command) -> Command {
    command.mut_args(|flag| flag.env(Resettable::Reset)).mut_subcommands(deaf)
}

fn run_command(path: &[&str]) -> Command {
    path.iter()
        .fold(command(), |command, name| command.find_subcommand(name).expect("a command").clone())
}

fn words(path: &[&str], more: &[&str]) -> Vec<OsString> {
    let all = ["higuma"].iter().chain(path).chain(more);
    all.map(|word| OsString::from(*word)).collect()
}

/// What a command line with this file comes to.
fn parsed(path: &[&str], file: &str, more: &[&str]) -> Result<ArgMatches, String> {
    let folder = tempfile::tempdir().expect("tempdir");
    let at = folder.path().join("run.yaml");
    std::fs::write(&at, file).expect("write");
    let file = at.to_str().expect("text");
    let matches = matches(command(), words(path, &[&["--config", file], more].concat()));
    let matches = matches.map_err(|error| error.to_string().replace(file, "run.yaml"))?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let (mut inner, mut left) = (&matches, path);
    while let [_, rest @ ..] = left {
        (inner, left) = (inner.subcommand().expect("a command").1, rest);
    }
    Ok(inner.clone())
}

fn value(matches: &ArgMatches, id: &str) -> Vec<String> {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

#[test]
fn the_examples_of_the_help_are_files_that_work() {
    for (path, example) in COMMANDS {
        parsed(path, example, &[]).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let help = run_command(path).get_after_help().expect("help").to_string();
        let first = example.lines().next().expect("a line");
        assert!(help.contains(first) && help.contains("--config"), "{path:?}: {help}");
        assert!(help.contains("Example"), "{path:?}: the other examples are still there");
    }
}

/// A value that is not a flag's default and that it takes.
fn other_value(flag: &Arg) -> String {
    let long = flag.get_long().expect("a long flag");
    let possible = flag.get_possible_values();
    let is_default = |name: &str| flag.get_default_values().iter().any(|value| value == name);
    if let Some(value) = possible.iter().rfind(|value| !is_default(value.get_name())) {
        return value.get_name().to_owned();
    }
    let takes = flag.get_value_names().unwrap_or_default();
    match long {
        _ if takes.first().is_some_and(|name| name == "IP") => "127.9.9.9",
        "bind" | "admin" | "diagnostics" | "dns" => "127.9.9.9:1234",
        "members" => "1=127.0.0.1:1",
        "drain-time" => "7s",
        "upstream" => "a=http://127.0.0.1:1",
        _ => "17",
    }
    .to_owned()
}

#[test]
fn every_flag_of_every_run_command_can_stand_in_the_file() {
    for (path, example) in COMMANDS {
        // Either of the two needs the other.
        let example = match path[0] {
            "global" | "remote" => format!("{example}https-cert: a\nhttps-key: b\n"),
            _ => example.to_owned(),
        };
        let command = run_command(path);
        for flag in command.get_arguments() {
            let (id, long) = (flag.get_id().as_str(), flag.get_long().expect("only long flags"));
            if id == ID || matches!(*flag.get_action(), ArgAction::Help | ArgAction::Version) {
                continue;
            }
            let switch = matches!(flag.get_action(), ArgAction::SetTrue);
            let value_of = if switch { "true".to_owned() } else { other_value(flag) };
            let rest: String = {
                let is_this = |line: &&str| line.starts_with(&format!("{long}:"));
                let mut keep = Vec::new();
                let mut skipping = false;
                for line in example.lines() {
                    skipping = is_this(&line) || (skipping && line.starts_with('-'));
                    if !skipping {
                        keep.push(line);
                    }
                }
                keep.join("\n")
            };
            let file = format!("{rest}\n{long}: \"{value_of}\"\n");
            let found = parsed(path, &file, &[]).unwrap_or_else(|e| panic!("{path:?} {long}: {e}"));
            let source = found.value_source(id);
            assert_eq!(source, Some(ValueSource::CommandLine), "{path:?} {long}");
            if !switch {
                assert_eq!(value(&found, id), [value_of], "{path:?} {long}");
            }
        }
    }
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_a_default() {
    let path: &[&str] = &["remote", "run"];
    let example = COMMANDS[1].1;
    let found = parsed(path, &format!("{example}rest-port: 7001\n"), &[]).expect("valid");
    assert_eq!(value(&found, "rest_port"), ["7001"]);
    assert_eq!(value(&found, "proxy_port"), ["5678"], "the default");
    assert_eq!(value(&found, "global").len(), 3);
    let more = ["--global", "127.0.0.1:9", "--rest-port=7002"];
    let found = parsed(path, &format!("{example}rest-port: 7001\n"), &more).expect("valid");
    assert_eq!(value(&found, "rest_port"), ["7002"]);
    assert_eq!(value(&found, "global"), ["127.0.0.1:9"], "not added to the file's");
}

#[test]
fn a_variable_wins_over_the_file() {
    // Of a command of this test's own: a process has one environment.
    let run = Command::new("run")
        .arg(Arg::new("a").long("a").env("PATH"))
        .arg(Arg::new("b").long("b").env("HIGUMA_OF_NOBODY"));
    let command = Command::new("higuma").subcommand(at(run, &[], "a: 1\n"));
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, "a: from-file\nb: from-file\n").expect("write");
    let words = words(&["run"], &["--config", file.to_str().expect("text")]);
    let found = matches(command, words).expect("valid");
    let found = found.subcommand().expect("run").1;
    assert_eq!(found.value_source("a"), Some(ValueSource::EnvVariable));
    assert_eq!(value(found, "b"), ["from-file"]);
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_place() {
    let path: &[&str] = &["remote", "run"];
    let with = |more: &str| format!("{}{more}", COMMANDS[1].1);
    for (file, more, says) in [
        (
            with("dns_port: 1\n"),
            &[][..],
            &["run.yaml:11: \"dns_port\" is no flag of this command", "dns-port"][..],
        ),
        (with("config: x\n"), &[], &["\"config\" is no flag"]),
        (with("help: true\n"), &[], &["\"help\" is no flag"]),
        (with("dns-port: 99999\n"), &[], &["99999", "--dns-port stands in run.yaml, line 11"]),
        (with("dns-port:\n"), &[], &["run.yaml:11: dns-port has no value"]),
        (with("dns-port: [1, 2]\n"), &[], &["run.yaml:11: dns-port takes one value"]),
        (with("dns-port: {a: 1}\n"), &[], &["run.yaml:11: dns-port takes a value or a list"]),
        (with("zone: west\n"), &[], &["run.yaml:11: \"zone\" stands in line 1 already"]),
        (with("dns-port: [\n"), &[], &["run.yaml:"]),
        (with("---\nzone: west\n"), &[], &["a second document"]),
        ("- zone\n".to_owned(), &[], &["run.yaml:1: it must be a map"]),
        ("# nothing\n".to_owned(), &[], &["--zone <NAME>"]),
        ("zone: east\n".to_owned(), &[], &["required", "--data-dir <DIR>"]),
        (with("tls-ca: x\n").replace("tls-key", "# "), &[], &["tls-ca"]),
        (with(""), &["--rest-prot", "1"], &["--rest-prot"]),
    ] {
        let error = parsed(path, &file, more).expect_err(&file);
        for text in says {
            assert!(error.contains(text), "{text:?} is not in {error:?}, of\n{file}");
        }
    }
    // What belongs together is asked for in a file too.
    let half = "zone: east\ndata-dir: d\nglobal: g:1\ntls-ca: ca.pem\n";
    let error = parsed(path, half, &[]).expect_err("a CA alone");
    assert!(error.contains("--tls-cert"), "{error}");
    let switch = "dataplane-file: w.yaml\ncp: 127.0.0.1:1\nplaintext: maybe\n";
    let error = parsed(&["dp", "run"], switch, &[]).expect_err("no switch");
    assert!(error.contains("run.yaml:3: plaintext is true or false"), "{error}");
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_refused() {
    let error = read::file(Path::new("/nowhere/run.yaml")).expect_err("no file");
    assert!(error.contains("/nowhere/run.yaml: cannot be read"), "{error}");
    let error = read::file(Path::new("/dev/zero")).expect_err("no end");
    assert!(error.contains("is over"), "{error}");
}

#[test]
fn values_are_taken_as_they_are_written() {
    let entries =
        read::entries("f", "# what\na: 1.10 # and why\nb: 'yes'\nc: [x, \"null\"]\nd: 0x1F\n")
            .expect("valid");
    let shown: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.values.join("|"))).collect();
    let expected = [("a", "1.10"), ("b", "yes"), ("c", "x|null"), ("d", "0x1F")];
    assert_eq!(shown, expected.map(|(key, values)| (key, values.to_owned())));
}
