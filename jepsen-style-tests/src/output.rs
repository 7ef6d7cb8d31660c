//! Writing to the terminal: results to stdout, remarks to stderr.

use std::io::{self, Write as _};

use crate::verdict::{Ended, Finding, Verdict};

/// Writes lines of the result. A reader that is gone is told nothing: the exit code says it all.
pub(crate) fn print(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
}

/// Writes a remark that is no part of the result.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// The verdicts of a run, a line each and what was found below.
pub(crate) fn verdicts(verdicts: &[Verdict], failures: &[String], ended: Ended) {
    for verdict in verdicts {
        let (mark, why) = match &verdict.finding {
            Finding::Held => ("held", None),
            Finding::Violated { why, operations } => {
                ("VIOLATED", Some(format!("{why} (operations {operations:?})")))
            }
            Finding::Undecided { why } => ("undecided", Some(why.clone())),
        };
        print(format!("{mark:>9}  {}", verdict.checker));
        for (name, value) in &verdict.figures {
            print(format!("           {name}: {value}"));
        }
        if let Some(why) = why {
            print(format!("           {why}"));
        }
    }
    for failure in failures {
        print(format!("  HARNESS  {failure}"));
    }
    print(match ended {
        Ended::Held => "Every check held.",
        Ended::Violated => "A property of Higuma was violated.",
        Ended::HarnessFailed => "The harness failed; this says nothing about Higuma.",
        Ended::Undecided => "Undecided.",
    });
}
