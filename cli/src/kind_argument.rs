//! Kinds as people type them: `mesh`, `meshes`, `TrafficPermission`, `traffic-permissions`.

use higuma_model::{Kind, UnknownKind};

/// Reads a kind from any of its forms: name or path, any case, singular or plural, with or
/// without hyphens.
pub(crate) fn parse(given: &str) -> Result<Kind, String> {
    let wanted = plain(given);
    let named = |kind: &Kind| forms(*kind).contains(&wanted);
    if let Some(kind) = Kind::ALL.into_iter().find(named) {
        return Ok(kind);
    }
    match given.parse::<Kind>() {
        Ok(kind) => Ok(kind),
        Err(UnknownKind::NotYet(name)) => Err(UnknownKind::NotYet(name).to_string()),
        Err(UnknownKind::Unknown { .. }) => {
            let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.path()).collect();
            Err(format!("unknown type; use one of {}", known.join(", ")))
        }
    }
}

fn forms(kind: Kind) -> [String; 3] {
    let name = plain(kind.name());
    [plain(kind.path()), format!("{name}s"), name]
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_all_their_forms() {
        for (given, expected) in [
            ("mesh", Kind::Mesh),
            ("Mesh", Kind::Mesh),
            ("meshes", Kind::Mesh),
            ("MESHES", Kind::Mesh),
            ("TrafficPermission", Kind::TrafficPermission),
            ("trafficpermissions", Kind::TrafficPermission),
            ("traffic-permission", Kind::TrafficPermission),
            ("traffic-permissions", Kind::TrafficPermission),
            ("traffic_routes", Kind::TrafficRoute),
            ("zone-ingresses", Kind::ZoneIngress),
            ("zoneingress", Kind::ZoneIngress),
            ("dataplane", Kind::Dataplane),
            ("DataplaneInsights", Kind::DataplaneInsight),
        ] {
            assert_eq!(parse(given), Ok(expected), "{given}");
        }
        for kind in Kind::ALL {
            assert_eq!(parse(kind.name()), Ok(kind));
            assert_eq!(parse(kind.path()), Ok(kind));
        }
    }

    #[test]
    fn other_words_are_refused_with_what_is_known() {
        let error = parse("pods").unwrap_err();
        assert!(error.starts_with("unknown type; use one of meshes, "), "{error}");
        let error = parse("MeshTimeout").unwrap_err();
        assert!(error.contains("one of Kuma's"), "{error}");
    }
}
