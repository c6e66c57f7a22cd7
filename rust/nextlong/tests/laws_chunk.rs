//! The laws of the chunk room, for any text.

use std::ops::Range;

use nextlong::chunk::{Counter, Mode, Rule, Unit, spans, with_characters};
use nextlong::{Error, Progress};
use proptest::prelude::*;
use unicode_segmentation::GraphemeCursor;

/// Texts full of what breaks a chunker: line ends of every kind, blanks, marks, astral characters.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,9}",
        3 => Just(" ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\n\n \n".to_owned()),
        1 => Just(". ".to_owned()),
        1 => "[\r\n\t \u{b}\u{c}\u{85}\u{a0}\u{2028}\u{2029}\u{3000}]{1,4}",
        1 => "[é漢字。क्षि\u{301}\u{600}\u{200d}👩🚀🇩🇪가각]{1,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn cut(text: &str, mode: Mode, size: usize, unit: Unit<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    spans(text, &Rule { mode, size, overlap: 0, unit }, &Progress::default(), &mut found)
        .expect("cut");
    found
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

/// Counts characters, and says that they add up.
struct Characters;

impl Counter for Characters {
    fn count(&self, text: &str) -> nextlong::Result<usize> {
        Ok(characters(text))
    }

    fn adds_up(&self, _: &str, _: &str) -> bool {
        true
    }
}

/// Counts bytes, but no text with this letter.
struct Without(char);

impl Counter for Without {
    fn count(&self, text: &str) -> nextlong::Result<usize> {
        if text.contains(self.0) {
            return Err(Error::Tokenizer(format!("{} is not known", self.0)));
        }
        Ok(text.len())
    }
}

/// Whether a unit of `text` ends at `at`, said once more and slowly.
fn ends_a_unit(text: &str, at: usize) -> bool {
    let (left, right) = text.split_at(at);
    let blank = &right[..right.len() - right.trim_start().len()];
    let cut = left.ends_with('\n') && !blank.contains(['\n', '\r']);
    at == text.len() || cut && !left.trim().is_empty() && blank.len() < right.len()
}

/// The unit around each position of `cuts`.
fn unit_around(text: &str, at: usize) -> &str {
    let ends = |place: &usize| text.is_char_boundary(*place) && ends_a_unit(text, *place);
    let start = (1..=at).rev().find(ends).unwrap_or(0);
    let end = (at + 1..=text.len()).find(ends).unwrap_or(text.len());
    &text[start..end]
}

/// The authors' function, transcribed.
fn transcription(text: &str, limit: usize) -> Vec<String> {
    let (mut chunks, mut group, mut length) = (Vec::new(), Vec::new(), 0);
    for line in text.split('\n') {
        let line_length = characters(line);
        if length + line_length > limit {
            if length != 0 {
                chunks.push(group.join("\n"));
            }
            (group, length) = (vec![line], line_length);
        } else {
            group.push(line);
            length += line_length;
        }
    }
    chunks.push(group.join("\n"));
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_chunks_cover_the_text_and_none_is_too_long(text in texts(), size in 1usize..40) {
        let mut end = 0;
        for span in cut(&text, Mode::Lossless, size, Unit::Characters) {
            prop_assert_eq!(span.start, end);
            end = span.end;
            let length = characters(&text[span]);
            prop_assert!((1..=size).contains(&length));
        }
        prop_assert_eq!(end, text.len());
    }

    #[test]
    fn two_neighbours_never_fit_into_one_chunk(text in texts(), size in 1usize..40) {
        let found = cut(&text, Mode::Lossless, size, Unit::Characters);
        for pair in found.windows(2) {
            prop_assert!(characters(&text[pair[0].start..pair[1].end]) > size);
        }
    }

    #[test]
    fn a_line_is_cut_only_where_it_is_too_long(text in texts(), size in 1usize..40) {
        for span in cut(&text, Mode::Lossless, size, Unit::Characters) {
            let whole = ends_a_unit(&text, span.end);
            prop_assert!(whole || characters(unit_around(&text, span.end)) > size);
        }
    }

    #[test]
    fn a_chunk_takes_whole_lines_as_long_as_they_fit(text in texts(), size in 1usize..40) {
        for span in cut(&text, Mode::Lossless, size, Unit::Characters) {
            let further = (span.end + 1..=text.len())
                .find(|&at| text.is_char_boundary(at) && ends_a_unit(&text, at));
            if let Some(further) = further {
                prop_assert!(characters(&text[span.start..further]) > size);
            }
        }
    }

    #[test]
    fn a_cluster_is_cut_only_where_it_is_too_long(text in texts(), size in 1usize..40) {
        for span in cut(&text, Mode::Lossless, size, Unit::Characters) {
            let mut cursor = GraphemeCursor::new(span.end, text.len(), true);
            if !cursor.is_boundary(&text, 0).expect("whole text") {
                let start = cursor.prev_boundary(&text, 0).expect("whole text").unwrap_or(0);
                let mut cursor = GraphemeCursor::new(span.end, text.len(), true);
                let end = cursor.next_boundary(&text, 0).expect("whole text").unwrap_or(text.len());
                prop_assert!(characters(&text[start..end]) > size);
            }
        }
    }

    #[test]
    fn the_jump_finds_what_the_walk_finds(text in texts(), size in 1usize..40) {
        let jumped = cut(&text, Mode::Lossless, size, Unit::Characters);
        let walked = cut(&text, Mode::Lossless, size, Unit::Tokens(&characters));
        prop_assert_eq!(jumped, walked);
    }

    #[test]
    fn no_chunk_counts_too_many_tokens(text in texts(), size in 1usize..40) {
        // Neither additive nor monotone at the borders, as a tokenizer is not.
        let count = |text: &str| text.split_whitespace().count() * 2 + text.len() % 3;
        let mut end = 0;
        for span in cut(&text, Mode::Lossless, size, Unit::Tokens(&count)) {
            prop_assert_eq!(span.start, end);
            end = span.end;
            let chunk = &text[span];
            prop_assert!(!chunk.is_empty());
            prop_assert!(count(chunk) <= size || characters(chunk) == 1, "{chunk:?}");
        }
        prop_assert_eq!(end, text.len());
    }

    #[test]
    fn overlapping_chunks_cover_the_text_and_share_no_more_than_the_overlap(
        text in texts(),
        size in 1usize..40,
        share in 0.0..1.0,
        counted in 0..3,
    ) {
        let overlap = (size as f64 * share) as usize;
        // Neither additive nor monotone at the borders, as a tokenizer is not.
        let odd = |text: &str| text.split_whitespace().count() * 2 + text.len() % 3;
        let count: &dyn Fn(&str) -> usize = if counted == 2 { &odd } else { &characters };
        let unit = match counted {
            0 => Unit::Characters,
            1 => Unit::Tokens(&Characters),
            _ => Unit::Tokens(&odd),
        };
        let mut found = Vec::new();
        let rule = Rule { mode: Mode::Lossless, size, overlap, unit };
        with_characters(&text, &rule, &Progress::default(), &mut found).expect("cut");
        let mut last = 0..0;
        for (number, (span, range)) in found.into_iter().enumerate() {
            prop_assert!(span.start <= last.end && span.end > last.end, "{last:?} {span:?}");
            prop_assert!(number == 0 || span.start > last.start);
            prop_assert!(overlap > 0 || span.start == last.end);
            if span.start < last.end {
                prop_assert!(count(&text[span.start..last.end]) <= overlap);
            }
            let chunk = &text[span.clone()];
            prop_assert!(count(chunk) <= size || characters(chunk) == 1, "{chunk:?}");
            prop_assert_eq!(characters(&text[..span.start]) as u64, range.start);
            prop_assert_eq!(characters(&text[..span.end]) as u64, range.end);
            last = span;
        }
        prop_assert_eq!(last.end, text.len());
    }

    #[test]
    fn counts_that_add_up_cut_as_counts_that_are_checked(
        text in texts(),
        size in 1usize..40,
        share in 0.0..1.0,
    ) {
        let overlap = (size as f64 * share) as usize;
        let cut = |unit| {
            let mut found = Vec::new();
            let rule = Rule { mode: Mode::Lossless, size, overlap, unit };
            spans(&text, &rule, &Progress::default(), &mut found).expect("cut");
            found
        };
        let expected = cut(Unit::Characters);
        prop_assert_eq!(&cut(Unit::Tokens(&Characters)), &expected);
        prop_assert_eq!(&cut(Unit::Tokens(&characters)), &expected);
    }

    #[test]
    fn a_text_that_cannot_be_counted_is_not_cut(text in texts(), size in 1usize..40) {
        let mut found = Vec::new();
        let unit = Unit::Tokens(&Without('a'));
        let rule = Rule { mode: Mode::Lossless, size, overlap: 0, unit };
        let cut = spans(&text, &rule, &Progress::default(), &mut found);
        if text.contains('a') {
            prop_assert!(matches!(cut, Err(Error::Tokenizer(_))), "{cut:?}");
        } else {
            prop_assert!(cut.is_ok());
        }
    }

    #[test]
    fn the_papers_mode_is_the_papers_function(text in texts(), size in 1usize..40) {
        let found = cut(&text, Mode::Paper, size, Unit::Characters);
        let chunks: Vec<_> = found.into_iter().map(|span| text[span].to_owned()).collect();
        prop_assert_eq!(chunks, transcription(&text, size));
    }

    #[test]
    fn characters_are_exact(text in texts(), size in 1usize..40, paper in any::<bool>()) {
        let mode = if paper { Mode::Paper } else { Mode::Lossless };
        let rule = Rule { mode, size, overlap: 0, unit: Unit::Characters };
        let mut found = Vec::new();
        with_characters(&text, &rule, &Progress::default(), &mut found).expect("cut");
        for (bytes, range) in found {
            prop_assert_eq!(characters(&text[..bytes.start]) as u64, range.start);
            prop_assert_eq!(characters(&text[..bytes.end]) as u64, range.end);
        }
    }
}
