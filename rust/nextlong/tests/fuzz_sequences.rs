//! Any segments, assembled and written; any texts, compared and cut; with any settings.
//!
//! `PROPTEST_CASES` sets the budget (`make fuzz`).

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

use nextlong::chunk::{Mode, Rule, Unit, spans};
use nextlong::{Error, Progress};
use proptest::prelude::*;

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..600)
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_sequences_are_written_whole_or_refused(data in bytes()) {
        bodies::write::run(&data);
    }

    #[test]
    fn any_pieces_become_sequences_that_pass_no_length(data in bytes()) {
        bodies::assemble::run(&data);
    }

    #[test]
    fn any_texts_share_what_sets_share(
        rule in any::<(u8, u8)>(),
        texts in prop::collection::vec("([abé中] ?){0,30}", 1..6),
    ) {
        let mut data = vec![rule.0, rule.1];
        for text in texts {
            data.extend(text.as_bytes());
            data.push(0xff);
        }
        bodies::ngrams::run(&data);
    }

    #[test]
    fn any_text_is_cut_by_any_rule(
        text in prop_oneof![any::<String>(), "[ab.\n\r \u{301}\u{200d}\u{3000}漢🇩]{0,80}"],
        size in prop_oneof![Just(0usize), 1..40usize, Just(usize::MAX), Just(u32::MAX as usize)],
        paper in any::<bool>(),
        weight in 0usize..5,
    ) {
        let progress = Progress::default();
        // Measures that no tokenizer has: nothing costs, all cost the same, less for more, too much.
        let count = |piece: &str| match weight {
            0 => 0,
            1 => 1,
            2 => 100usize.saturating_sub(piece.len()),
            3 => usize::MAX,
            _ => piece.len() / 2,
        };
        let mode = if paper { Mode::Paper } else { Mode::Lossless };
        for unit in [Unit::Characters, Unit::Tokens(&count)] {
            let mut found = Vec::new();
            match spans(&text, &Rule { mode, size, overlap: 0, unit }, &progress, &mut found) {
                Err(error) => prop_assert!(matches!(error, Error::Config(_)), "{error:?}"),
                Ok(()) if paper => prop_assert!(found.iter().all(|span| text.get(span.clone()).is_some())),
                Ok(()) => {
                    let joined: String = found.iter().map(|span| &text[span.clone()]).collect();
                    prop_assert_eq!(&joined, &text);
                }
            }
        }
    }
}
