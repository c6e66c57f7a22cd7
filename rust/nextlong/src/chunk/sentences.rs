//! Where sentences begin (UAX 29), without a look at every character's class.
//!
//! In: a text. Out: the same places that `unicode_segmentation` gives, rising.
//!
//! A sentence ends after a terminator or a paragraph separator only, so the bytes between two of
//! them are passed. What follows a terminator is judged here where it is ASCII; else
//! `unicode_segmentation` is entered at the terminator and says where the sentence ends.

use unicode_segmentation::UnicodeSegmentation;

/// The places strictly inside `text` at which a sentence begins.
pub(super) fn starts(text: &str) -> Starts<'_> {
    Starts { text, last: 0, at: 0 }
}

/// What [`starts`] gives.
pub(super) struct Starts<'a> {
    text: &'a str,
    /// The last place given out.
    last: usize,
    /// All before it is known to hold no other.
    at: usize,
}

impl Iterator for Starts<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        loop {
            let Some(mark) = next_mark(bytes, self.at) else {
                self.at = bytes.len();
                return None;
            };
            let place = match judge(bytes, mark) {
                Verdict::GoesOn { at } => {
                    self.at = at;
                    continue;
                }
                Verdict::Begins { at } => at,
                Verdict::Unclear => {
                    let entry = entry(self.text, self.last, mark);
                    let mut bounds = self.text[entry..].split_sentence_bound_indices();
                    bounds.nth(1).map_or(bytes.len(), |(place, _)| entry + place)
                }
            };
            (self.at, self.last) = (place, place);
            return (place < bytes.len()).then_some(place);
        }
    }
}

/// What comes of a mark.
enum Verdict {
    /// No sentence begins up to here.
    GoesOn { at: usize },
    /// The next sentence begins here; the end of the text if there is none.
    Begins { at: usize },
    /// Characters beyond ASCII decide.
    Unclear,
}

/// The rules SB3 to SB11 for a mark between ASCII characters.
fn judge(bytes: &[u8], mark: usize) -> Verdict {
    let byte = |at: usize| bytes.get(at).copied();
    let full_stop = match bytes[mark] {
        b'\n' | b'\r' => return Verdict::Begins { at: after_break(bytes, mark) },
        b'.' => true,
        first if first.is_ascii() => false,
        _ => return Verdict::Unclear,
    };
    let next = byte(mark + 1);
    if full_stop && next.is_some_and(|next| next.is_ascii_digit()) {
        return Verdict::GoesOn { at: mark + 2 };
    }
    if full_stop && mark > 0 && next.is_some_and(|next| next.is_ascii_uppercase()) {
        let before = bytes[mark - 1];
        if !before.is_ascii() {
            return Verdict::Unclear;
        }
        if before.is_ascii_alphabetic() {
            return Verdict::GoesOn { at: mark + 2 };
        }
    }
    let mut at = mark + 1;
    while let Some(b'"' | b'\'' | b'(' | b')' | b'[' | b']' | b'{' | b'}') = byte(at) {
        at += 1;
    }
    while let Some(b' ' | b'\t' | 0x0b | 0x0c) = byte(at) {
        at += 1;
    }
    match byte(at) {
        None => Verdict::Begins { at },
        Some(b'\n' | b'\r') => Verdict::Begins { at: after_break(bytes, at) },
        Some(b'.' | b'!' | b'?') => Verdict::GoesOn { at },
        Some(b',' | b'-' | b':' | b';') => Verdict::GoesOn { at: at + 1 },
        Some(other) if !other.is_ascii() => Verdict::Unclear,
        Some(_) if !full_stop => Verdict::Begins { at },
        // Behind a full stop, a small letter before any other letter or mark goes on.
        Some(_) => match bytes[at..].iter().position(|&byte| decides(byte)) {
            None => Verdict::Begins { at },
            Some(ahead) => match bytes[at + ahead] {
                b'a'..=b'z' => Verdict::GoesOn { at: at + ahead + 1 },
                other if other.is_ascii() => Verdict::Begins { at },
                _ => Verdict::Unclear,
            },
        },
    }
}

fn decides(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
        || !byte.is_ascii()
        || matches!(byte, b'.' | b'!' | b'?' | b'\n' | b'\r')
}

/// The place after the line break at `at`.
fn after_break(bytes: &[u8], at: usize) -> usize {
    at + if bytes[at..].starts_with(b"\r\n") { 2 } else { 1 }
}

/// Where `unicode_segmentation` may be entered to judge `mark`: at the mark, or, where the letter
/// before a full stop has a say, there.
fn entry(text: &str, last: usize, mark: usize) -> usize {
    let full_stop = text[mark..].starts_with(['.', '\u{2024}', '\u{fe52}', '\u{ff0e}']);
    if !full_stop || mark == last {
        mark
    } else if text.as_bytes()[mark - 1].is_ascii() {
        mark - 1
    } else {
        last
    }
}

/// The next byte from `at` with which a terminator or a paragraph separator may begin.
fn next_mark(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| LOOK[usize::from(byte)])?;
        if may_end(&bytes[at..]) {
            return Some(at);
        }
        at += 1;
    }
}

/// The bytes that [`may_end`] is to look at.
const LOOK: [bool; 256] = {
    let mut look = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        look[byte] = matches!(
            byte as u8,
            b'\n' | b'\r' | b'.' | b'!' | b'?' | 0xC2 | 0xD6..=0xE3 | 0xEA | 0xEF | 0xF0
        );
        byte += 1;
    }
    look
};

/// True if the character at the head of `bytes` may be a terminator or a paragraph separator.
///
/// It may be wrong where it says yes: that costs time only.
fn may_end(bytes: &[u8]) -> bool {
    match *bytes {
        [0xC2, second, ..] => second == 0x85,
        [0xD6, second, ..] => second == 0x89,
        [0xD7..=0xDA, second, ..] => bytes[0] == 0xD8 && (0x9D..=0x9F).contains(&second),
        [0xDB, second, ..] => second == 0x94,
        [0xDC, second, ..] => second <= 0x82,
        [0xDD..=0xDE, ..] => false,
        [0xDF, second, ..] => second == 0xB9,
        [0xE0, second, third, ..] => {
            second == 0xA0 || second == 0xA5 && matches!(third, 0xA4 | 0xA5)
        }
        [0xE2, 0x80, third, ..] => matches!(third, 0xA4 | 0xA8 | 0xA9 | 0xBC | 0xBD),
        [0xE2, 0x81, third, ..] => (0x87..=0x89).contains(&third),
        [0xE2, second, ..] => second == 0xB3 || second >= 0xB8,
        [0xE3, second, third, ..] => second == 0x80 && third == 0x82,
        [0xEA, second, ..] => second < 0xB0,
        [0xEF, 0xB8, third, ..] => matches!(third, 0x92 | 0x95 | 0x96),
        [0xEF, 0xB9, third, ..] => matches!(third, 0x92 | 0x96 | 0x97),
        [0xEF, 0xBC, third, ..] => matches!(third, 0x81 | 0x8E | 0x9F),
        [0xEF, second, third, ..] => second == 0xBD && third == 0xA1,
        [0xF0, second, ..] => second < 0x9F,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_crate(text: &str) -> Vec<usize> {
        text.split_sentence_bound_indices().map(|(at, _)| at).skip(1).collect()
    }

    #[test]
    fn every_character_that_ends_a_sentence_is_a_mark() {
        for character in '\0'..=char::MAX {
            for text in
                [format!("1{character} A"), format!("a{character}A"), format!("é{character}A b")]
            {
                assert_eq!(starts(&text).collect::<Vec<_>>(), by_the_crate(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn the_sentences_of_every_short_ascii_text_are_those_of_the_crate() {
        let letters = ['a', 'A', '1', '.', '?', ' ', ')', ',', '\n', '\r', '$', 'é', '“'];
        for number in 0..letters.len().pow(6) {
            let mut rest = number;
            let mut text = String::new();
            for _ in 0..6 {
                text.push(letters[rest % letters.len()]);
                rest /= letters.len();
            }
            assert_eq!(starts(&text).collect::<Vec<_>>(), by_the_crate(&text), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_sentences_are_those_of_the_crate(
            pieces in prop::collection::vec(
                prop_oneof![
                    6 => "[a-zA-Z0-9 ]{1,4}",
                    4 => "[.!? ]{1,3}",
                    3 => "[\"'(){}\\[\\],:;\t\u{b}\u{c}\r\n$-]{1,2}",
                    2 => "[éÉжЖ漢字。．․！؟।\u{301}\u{ad}\u{200d}\u{85}\u{2028}\u{2029}\u{a0}\u{3000}“”«»…]{1,3}",
                    1 => any::<char>().prop_map(String::from),
                ],
                0..30,
            ),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(starts(&text).collect::<Vec<_>>(), by_the_crate(&text));
        }
    }
}
