//! Whatever document comes: one canonical form, and it reads back.

use proptest::prelude::*;
use proptest::strategy::Union;

use super::*;

/// Any value of a shape.
fn value(shape: &'static Shape) -> BoxedStrategy<Value> {
    match shape {
        Shape::Text => "[a-z*]{0,3}".prop_map(Value::from).boxed(),
        Shape::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Uint32 => prop_oneof![Just(0), any::<u32>()].prop_map(Value::from).boxed(),
        Shape::Port => prop_oneof![Just(0), any::<u16>()].prop_map(Value::from).boxed(),
        Shape::Uint64 => any::<u64>().prop_map(|n| Value::from(n.to_string())).boxed(),
        Shape::Double => (-1e9..1e9).prop_map(Value::from).boxed(),
        Shape::Duration => "[0-9]{1,3}(\\.[0-9]{1,9})?s".prop_map(Value::from).boxed(),
        Shape::Timestamp => "20[0-9]{2}-0[1-9]-1[0-9]T0[0-9]:00:00(\\.[0-9]{1,9})?(Z|[+]02:00)"
            .prop_map(Value::from)
            .boxed(),
        Shape::Struct => proptest::collection::btree_map("[a-z]{1,2}", any::<i32>(), 0..3)
            .prop_map(|entries| json!(entries))
            .boxed(),
        Shape::Enum { names, .. } => proptest::sample::select(*names).prop_map(Value::from).boxed(),
        Shape::Plugin { here, .. } => proptest::sample::select(*here).prop_map(Value::from).boxed(),
        Shape::Optional(shape) => value(shape),
        Shape::Message(fields) => message(fields),
        Shape::List(element) => {
            proptest::collection::vec(value(element), 0..3).prop_map(Value::from).boxed()
        }
        Shape::Map(element) => {
            proptest::collection::btree_map("[a-z/.]{1,3}", value(element), 0..3)
                .prop_map(|entries| json!(entries))
                .boxed()
        }
    }
}

/// Any message with these fields, each there or not unless it is required.
fn message(fields: &'static [Field]) -> BoxedStrategy<Value> {
    let entries: Vec<_> = fields
        .iter()
        .map(|field| {
            let value = match (&field.shape, field.required) {
                (Shape::Text, Some(_)) => "[a-z]{1,3}".prop_map(Value::from).boxed(),
                (shape, _) => value(shape),
            };
            match field.required {
                Some(_) => value.prop_map(Some).boxed(),
                None => proptest::option::weighted(0.6, value).boxed(),
            }
        })
        .collect();
    entries
        .prop_map(|values| {
            let entries = fields.iter().zip(values);
            let entries =
                entries.filter_map(|(field, value)| Some((field.json_name().into_owned(), value?)));
            Value::Object(entries.collect())
        })
        .boxed()
}

/// The same message, written in another way: other names, other order, defaults spelled out.
fn rewritten(shape: &Shape, value: &Value) -> Value {
    match (shape, value) {
        (Shape::Message(fields), Value::Object(entries)) => {
            let fields = fields.iter().rev();
            let entries = fields.filter_map(|field| {
                let value = match entries.get(&*field.json_name()) {
                    Some(value) => rewritten(&field.shape, value),
                    None => match &field.shape {
                        Shape::Text => json!(""),
                        Shape::Bool => json!(false),
                        Shape::Uint32 | Shape::Port => json!(0),
                        Shape::Uint64 => json!(0),
                        Shape::List(_) => json!([]),
                        Shape::Map(_) => json!({}),
                        Shape::Enum { .. } => json!(0),
                        Shape::Optional(_) | Shape::Duration => Value::Null,
                        _ => return None,
                    },
                };
                Some((field.name.to_owned(), value))
            });
            Value::Object(entries.collect())
        }
        (Shape::Map(element), Value::Object(entries)) => {
            let entries = entries.iter().rev();
            Value::Object(entries.map(|(k, v)| (k.clone(), rewritten(element, v))).collect())
        }
        (Shape::Struct, Value::Object(entries)) => {
            Value::Object(entries.iter().rev().map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        (Shape::List(element), Value::Array(elements)) => {
            elements.iter().map(|value| rewritten(element, value)).collect()
        }
        (Shape::Optional(shape), value) => rewritten(shape, value),
        (Shape::Uint32 | Shape::Port, Value::Number(number)) => json!(number.to_string()),
        (_, value) => value.clone(),
    }
}

fn any_spec() -> impl Strategy<Value = (Kind, Value)> {
    Union::new(
        Kind::ALL.map(|kind| message(table(kind)).prop_map(move |spec| (kind, spec)).boxed()),
    )
}

proptest! {
    #[test]
    fn canonical_twice_is_canonical_once((kind, spec) in any_spec()) {
        let once = read_as(kind, Source::Peer, &spec).unwrap();
        let twice = read_as(kind, Source::Peer, &once.spec).unwrap();
        prop_assert_eq!(once.spec.to_string(), twice.spec.to_string());
        prop_assert_eq!(once.unknown, Vec::<String>::new());
    }

    #[test]
    fn how_a_spec_is_written_does_not_matter((kind, spec) in any_spec()) {
        let other = rewritten(&Shape::Message(table(kind)), &spec);
        let one = read_as(kind, Source::Peer, &spec).unwrap().spec.to_string();
        let other = read_as(kind, Source::Peer, &other).unwrap().spec.to_string();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_rendered_resource_reads_as_itself(
        (kind, spec) in any_spec(),
        labels in proptest::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3),
        name in "[a-z]{1,8}",
    ) {
        let spec = read_as(kind, Source::Peer, &spec).unwrap().spec;
        let mesh = if kind.scope() == crate::kind::Scope::Mesh { "m" } else { "" };
        let resource = resource(Key::new(kind, mesh, &name), labels.clone(), &spec);
        let document = Document::parse(render(&resource)).unwrap();
        prop_assert_eq!(document.key(), resource.key);
        prop_assert_eq!(&document.labels, &labels);
        let read = canonicalise(kind, &document.spec, Source::Peer).unwrap();
        prop_assert_eq!(read.spec.to_string(), spec.to_string());
    }
}

fn resource(key: Key, labels: Labels, spec: &Value) -> Resource {
    Resource {
        key,
        owner: Owner::Global,
        version: 1,
        modified_at: 1,
        created: Timestamp(0),
        modified: Timestamp(0),
        audience: Audience::AllZones,
        labels,
        spec: Spec::Json(spec.to_string().into()),
        status: None,
    }
}
