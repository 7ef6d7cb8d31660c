use higuma_kds::inbox::Flow;
use higuma_model::testing;

use super::*;

const NOW: Timestamp = Timestamp(60_000);

fn stream(id: &str) -> Stream {
    let version = "0.1.0".to_owned();
    Stream {
        flow: Flow::ToZone,
        id: id.to_owned(),
        connected: Timestamp(1000),
        version,
        fenced: None,
    }
}

/// Subscriptions as `node id`, `!` before those that are over.
fn insight(subscriptions: &[&str]) -> ZoneInsight {
    let subscription = |text: &&str| {
        let (over, text) = (text.starts_with('!'), text.trim_start_matches('!'));
        let (node, id) = text.split_once(' ').unwrap();
        let mut subscription = subscription(&stream(id), node);
        subscription.disconnect_time = over.then(|| rfc3339(Timestamp(2000)));
        subscription
    };
    ZoneInsight { subscriptions: subscriptions.iter().map(subscription).collect() }
}

fn shown(insight: &ZoneInsight) -> Vec<String> {
    let show = |s: &KdsSubscription| {
        format!("{}{} {}", if s.is_open() { "" } else { "!" }, s.global_instance_id, s.id)
    };
    insight.subscriptions.iter().map(show).collect()
}

#[test]
fn an_insight_follows_this_nodes_streams() {
    struct Case {
        what: &'static str,
        before: &'static [&'static str],
        stream: Option<&'static str>,
        after: Option<&'static [&'static str]>,
    }
    for Case { what, before, stream: open, after } in [
        Case { what: "first", before: &[], stream: Some("a"), after: Some(&["1 a"]) },
        Case { what: "known", before: &["1 a"], stream: Some("a"), after: None },
        Case { what: "gone", before: &["1 a"], stream: None, after: Some(&["!1 a"]) },
        Case { what: "gone before", before: &["!1 a"], stream: None, after: None },
        Case { what: "another node's", before: &["2 b"], stream: None, after: None },
        Case {
            what: "it moved here, the other node has not noticed or is dead",
            before: &["2 b"],
            stream: Some("a"),
            after: Some(&["!2 b", "1 a"]),
        },
        Case {
            what: "it moved on, this node has not noticed",
            before: &["!1 a", "2 b"],
            stream: Some("a"),
            after: None,
        },
        Case {
            what: "what ended it here was older, and is gone",
            before: &["!1 a", "!2 b"],
            stream: Some("a"),
            after: Some(&["!2 b", "1 a"]),
        },
        Case {
            what: "an earlier process of this node",
            before: &["1 old"],
            stream: Some("a"),
            after: Some(&["!1 old", "1 a"]),
        },
    ] {
        let open = open.map(stream);
        let followed = follow(insight(before), open.as_ref(), "1", NOW);
        let expected = after.map(|after| shown(&insight(after)));
        assert_eq!(followed.as_ref().map(shown), expected, "{what}");
        let again = followed.and_then(|after| follow(after, open.as_ref(), "1", NOW));
        assert_eq!(again, None, "{what}: what is true is not written again");
    }
}

#[test]
fn an_insight_keeps_the_newest_subscriptions() {
    let mut all = insight(&[]);
    for n in 0..KEPT + 3 {
        all = follow(all, Some(&stream(&n.to_string())), "1", NOW).unwrap();
    }
    assert_eq!(all.subscriptions.len(), KEPT);
    assert_eq!(shown(&all).last().unwrap(), "1 12");
    assert_eq!(all.subscriptions.iter().filter(|s| s.is_open()).count(), 1);
}

#[test]
fn a_plan_rests_on_what_it_saw_and_passes_over_zones_that_are_not_there() {
    let east = testing::zone("east").resource(Owner::Global, 1);
    let snapshot = testing::snapshot([east]);
    let streams = |id| [(1, stream(id))].into();
    let open: Open = [("east".into(), streams("a")), ("deleted".into(), streams("b"))].into();
    let plan = plan(&snapshot, &open, "1", NOW);
    assert_eq!(plan.operations.len(), 1, "{plan:?}");
    let key = |kind| Key::new(kind, "", "east");
    let expected = [Check::Exists(key(Kind::Zone)), Check::Absent(key(Kind::ZoneInsight))];
    assert_eq!(plan.checks, expected);
}
