//! A place in a file, and how a finding shows it.

/// A span within one line; both count characters, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Characters, at least one.
    pub(crate) width: usize,
}

/// A file and its text.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Characters of a line that are shown; a line of minified JSON would fill the screen.
const SHOWN: usize = 100;
/// Characters before the place, where the line is cut.
const BEFORE: usize = 40;

impl Source {
    /// `file:line:column`.
    pub(crate) fn shown(&self, place: Place) -> String {
        format!("{}:{}:{}", self.name, place.line, place.column)
    }

    /// A finding with the line it is about and carets below the place.
    pub(crate) fn snippet(&self, place: Place, text: &str) -> String {
        let head = format!("{}: {text}", self.shown(place));
        let Some(line) = self.text.lines().nth(place.line - 1) else { return head };
        let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let column = place.column - 1;
        let cut = if chars.len() > SHOWN { column.saturating_sub(BEFORE) } else { 0 };
        let visible: String = chars.iter().skip(cut).take(SHOWN).collect();
        let lead = if cut > 0 { "…" } else { "" };
        let trail = if chars.len() > cut + SHOWN { "…" } else { "" };
        let indent = " ".repeat(column - cut + lead.chars().count());
        let room = (chars.len() - column.min(chars.len())).min(cut + SHOWN - column).max(1);
        let carets = "^".repeat(place.width.clamp(1, room));
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        format!(
            "{head}\n {gutter} |\n {number} | {lead}{}{trail}\n {gutter} | {indent}{carets}",
            visible.trim_end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(text: &str, line: usize, column: usize, width: usize) -> String {
        let source = Source { name: "m.yaml".to_owned(), text: text.to_owned() };
        source.snippet(Place { line, column, width }, "name: is wrong")
    }

    #[test]
    fn carets_stand_below_the_place() {
        assert_eq!(
            snippet("type: Mesh\nname: a b\n", 2, 7, 3),
            "m.yaml:2:7: name: is wrong\n   |\n 2 | name: a b\n   |       ^^^"
        );
        // Never past the end of the line, never none; control characters take one column.
        assert_eq!(
            snippet("x:\ty", 1, 4, 99),
            "m.yaml:1:4: name: is wrong\n   |\n 1 | x: y\n   |    ^"
        );
        assert!(snippet("ab", 1, 3, 1).ends_with("|   ^"));
        assert!(snippet("", 1, 1, 1).ends_with("m.yaml:1:1: name: is wrong"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}HERE{}", "a".repeat(300), "b".repeat(300));
        let text = snippet(&line, 1, 301, 4);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[2], format!(" 1 | …{}HERE{}…", "a".repeat(40), "b".repeat(56)));
        assert_eq!(
            lines[3].chars().position(|c| c == '^'),
            lines[2].chars().position(|c| c == 'H')
        );
        assert!(lines[3].ends_with("^^^^"));
    }
}
