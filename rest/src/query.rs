//! The query string of a request.

use higuma_model::Violation;
use higuma_store::Consistency;
use http::Uri;

/// Resources on a page, unless asked for, and at most (Kuma's numbers).
const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// What a request may ask for; unknown parameters are refused, since one that is silently
/// ignored answers something else than was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) consistency: Consistency,
    pub(crate) strict: bool,
    pub(crate) size: usize,
    pub(crate) offset: usize,
    /// Part of the display name.
    pub(crate) name: String,
}

impl Query {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Vec<Violation>> {
        let mut query = Self {
            consistency: Consistency::Linearizable,
            strict: false,
            size: DEFAULT_SIZE,
            offset: 0,
            name: String::new(),
        };
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| vec![violation("", error.to_string())])?;
        let wrong: Vec<_> =
            pairs.0.iter().filter_map(|(key, value)| query.set(key, value).err()).collect();
        if wrong.is_empty() { Ok(query) } else { Err(wrong) }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Violation> {
        match (key, value) {
            ("consistency", "linearizable") => {}
            ("consistency", "stale") => self.consistency = Consistency::Stale,
            ("consistency", _) => {
                return Err(violation(key, "must be \"linearizable\" or \"stale\""));
            }
            ("min-version", _) => {
                let version = value.parse().map_err(|_| violation(key, "must be a version"))?;
                self.consistency = Consistency::AtLeast(version);
            }
            ("strict", "true" | "false") => self.strict = value == "true",
            ("strict", _) => return Err(violation(key, "must be true or false")),
            ("size", _) => match value.parse() {
                Ok(size) if (1..=MAX_SIZE).contains(&size) => self.size = size,
                _ => return Err(violation(key, format!("must be a number from 1 to {MAX_SIZE}"))),
            },
            ("offset", _) => {
                self.offset =
                    value.parse().map_err(|_| violation(key, "must be the offset of a page"))?;
            }
            ("name", _) => value.clone_into(&mut self.name),
            ("format", "universal") => {}
            _ => return Err(violation(key, "is not supported here")),
        }
        Ok(())
    }
}

fn violation(field: &str, reason: impl Into<String>) -> Violation {
    Violation { field: field.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_refused_with_every_reason() {
        let parse = |text: &str| Query::parse(&text.parse().unwrap());
        let query = parse("/meshes?size=7&offset=14&name=a&min-version=5&strict=true").unwrap();
        assert_eq!((query.size, query.offset, query.strict), (7, 14, true));
        assert_eq!(query.consistency, Consistency::AtLeast(5));
        assert_eq!(parse("/meshes").unwrap().consistency, Consistency::Linearizable);
        let wrong = parse("/meshes?size=1001&offset=x&consistency=maybe&colour=red").unwrap_err();
        let fields: Vec<_> = wrong.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["size", "offset", "consistency", "colour"]);
    }
}
