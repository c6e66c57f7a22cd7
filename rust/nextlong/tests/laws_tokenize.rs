//! What holds for any text: chunks encode to ids that give the text back.

use nextlong::tokenize::{Scratch, Tokenizer};
use proptest::prelude::*;

fn sample() -> Tokenizer {
    let json = include_str!("../../../python/nextlong_rs/data/tokenizer.json");
    Tokenizer::from_json(json).expect("the sample tokenizer")
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut out = Vec::new();
    tokenizer.encode(text, &mut Scratch::default(), &mut out).expect("encoded");
    out
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "(?s).{0,8}",
        "[ab \n\r\t'/.1\u{3000}]{0,12}",
        Just("<|endoftext|>".to_owned()),
        Just("\n\n  ".to_owned()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn ids_give_the_text_back_and_safe_cuts_change_none() {
    let tokenizer = sample();
    proptest!(ProptestConfig::with_cases(2000), |(text in text())| {
        let whole = ids(&tokenizer, &text);
        prop_assert_eq!(tokenizer.decode(&whole).expect("decoded"), text.as_str());
        prop_assert!(whole.iter().all(|&id| id > 1 && (id as usize) < tokenizer.vocab_size()));
        for (place, _) in text.char_indices() {
            let (left, right) = text.split_at(place);
            if tokenizer.is_safe_boundary(left, right) {
                let both = [ids(&tokenizer, left), ids(&tokenizer, right)].concat();
                prop_assert_eq!(&both, &whole, "cut at {} of {:?}", place, text);
            }
        }
    });
}

#[test]
fn a_long_text_has_the_ids_of_its_lines() {
    let tokenizer = sample();
    let line = "A line of words that is not long, and a number: 12,345.\n";
    let lines = 3_000_000 / line.len();
    let row = ids(&tokenizer, line);
    assert_eq!(ids(&tokenizer, &line.repeat(lines)), row.repeat(lines));
    let line = "words in one line, ".repeat(150_000);
    assert_eq!(tokenizer.decode(&ids(&tokenizer, &line)).expect("decoded"), line);
}

#[test]
fn the_first_ids_cover_the_whole_characters_that_they_decode_to() {
    let tokenizer = sample();
    proptest!(ProptestConfig::with_cases(500), |(text in text())| {
        let mut scratch = Scratch::default();
        let whole = ids(&tokenizer, &text);
        for kept in 0..=whole.len() {
            let covered = tokenizer
                .characters_of(&text, &whole[..kept], &mut scratch)
                .expect("encoded")
                .expect("its first ids");
            let prefix: String = text.chars().take(covered).collect();
            let decoded = tokenizer.decode(&whole[..kept]).expect("decoded");
            prop_assert!(decoded.starts_with(&prefix));
            // What is left of a character is fewer than its four bytes.
            let left = &decoded[prefix.len()..];
            let cut_off = left.chars().count() <= 3 && left.chars().all(|one| one == char::REPLACEMENT_CHARACTER);
            prop_assert!(cut_off, "{left:?}");
        }
        let other = [whole.clone(), vec![0]].concat();
        prop_assert_eq!(tokenizer.characters_of(&text, &other, &mut scratch).expect("encoded"), None);
    });
}
