//! Records of JSON, against what `serde_json` reads.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

const WANTED: Wanted<'_> =
    Wanted { text: "text", id: "id", score: Some("score"), source: Some("from") };

fn read(line: &str) -> (std::result::Result<Record, Reason>, String, String) {
    // As in a block: texts stand before it, and may have moved up.
    let mut data = format!("before !{line}").into_bytes();
    let (mut filled, mut names) = (7, Names::default());
    let record = record(&mut data, 8, WANTED, &mut filled, &mut names);
    data.truncate(filled);
    (record, String::from_utf8_lossy(&data).into_owned(), names.id)
}

#[test]
fn the_wanted_fields_are_found_and_the_last_of_each_wins() {
    let line = r#"{"id": 1.50e3, "x": {"text": "no"}, "text": "a", "score": -2, "text": "b\n"}"#;
    let (record, text, id) = read(line);
    let found = Field::Found(());
    assert_eq!(
        record,
        Ok(Record { text: found, id: found, score: Field::Found(-2.0), source: Field::Missing })
    );
    assert_eq!((text.as_str(), id.as_str()), ("before b\n", "1.50e3"));
}

#[test]
fn a_source_is_a_string_a_number_or_a_boolean() {
    let source = |value: &str| {
        let mut data = format!("{{\"from\": {value}, \"text\": \"a\"}}").into_bytes();
        let mut names = Names::default();
        let record = record(&mut data, 0, WANTED, &mut 0, &mut names).expect("a record");
        (record.source, names.source)
    };
    let found = |text: &str| (Field::Found(()), text.to_owned());
    assert_eq!(source("\"b\\u00e9\""), found("b\u{e9}"));
    assert_eq!(source("1.50e3"), found("1.50e3"));
    assert_eq!(source("true"), found("true"));
    assert_eq!(source("false"), found("false"));
    assert_eq!(source("null").0, Field::Missing);
    for other in ["[1]", "{\"a\": 1}"] {
        assert_eq!(source(other).0, Field::Bad(Reason::SourceWrongType));
    }
    assert_eq!(source("\"\\ud800\"").0, Field::Bad(Reason::LoneSurrogate));
}

#[test]
fn a_record_nests_a_thousand_deep_and_no_deeper() {
    let nested = |depth: usize| {
        format!("{{\"x\": {}{}, \"text\": \"a\"}}", "[".repeat(depth), "]".repeat(depth))
    };
    assert!(read(&nested(1000)).0.is_ok());
    assert_eq!(read(&nested(1001)).0, Err(Reason::TooDeep));
    assert_eq!(read(&"[".repeat(1_000_000)).0, Err(Reason::TooDeep));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof!["text", "id", "score", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Characters that decide what is JSON.
fn mark() -> impl Strategy<Value = char> {
    prop::sample::select(
        "{}[]\",:\\/ \t\n\0bfnrtu019.-+eEdDx\u{e9}\u{1f600}".chars().collect::<Vec<_>>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_serde_json_takes_is_taken_and_nothing_else(
        value in value(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, mark()), 0..4),
    ) {
        let mut line: Vec<char> = value.to_string().chars().collect();
        for (place, edit, mark) in edits {
            let place = place.index(line.len() + 1);
            match edit {
                0 => line.insert(place, mark),
                1 if place < line.len() => line[place] = mark,
                _ if place < line.len() => { line.remove(place); }
                _ => {}
            }
        }
        let line: String = line.into_iter().collect();
        let ours = read(&line).0 != Err(Reason::BrokenJson);
        prop_assert_eq!(ours, serde_json::from_str::<IgnoredAny>(&line).is_ok(), "{}", line);
    }

    #[test]
    fn the_text_is_what_serde_json_reads(text in any::<String>(), id in any::<String>()) {
        let line = serde_json::json!({ "id": id, "text": text }).to_string();
        let (record, read_text, read_id) = read(&line);
        prop_assert!(record.is_ok());
        prop_assert_eq!(read_text, format!("before {text}"));
        prop_assert_eq!(read_id, id);
    }

    #[test]
    fn a_long_text_is_what_serde_json_reads(
        pieces in prop::collection::vec(any::<String>(), 1..20),
        times in prop::sample::select(vec![1usize, 2, 5, 60, 300]),
        escaped in any::<bool>(),
    ) {
        let text = pieces.concat().repeat(times);
        let mut line = serde_json::json!({ "text": text, "more": "\u{e9}" }).to_string();
        if escaped {
            let unit = |unit: u16| match unit {
                0x20..0x80 => char::from(unit as u8).to_string(),
                _ => format!("\\u{unit:04x}"),
            };
            line = line.encode_utf16().map(unit).collect();
        }
        let (record, read_text, _) = read(&line);
        prop_assert!(record.is_ok());
        prop_assert_eq!(read_text, format!("before {}", text));
    }

    #[test]
    fn any_line_is_read_or_refused(line in any::<String>()) {
        let _ = read(&line);
    }
}
