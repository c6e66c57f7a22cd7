//! Cuts a text into words and hashes each into one of 2^16 buckets.
//!
//! A word is a run of letters, digits and combining marks, lower-cased one character at a time. The
//! scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Myanmar) give
//! every single character and every pair of neighbours instead; those of them whose characters are
//! letters (Thai, Lao, Khmer, Myanmar) also give every three neighbours.

use std::sync::LazyLock;

use unicode_normalization::char::is_combining_mark;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::runs::{self, Run};
use crate::seed;

/// The number of buckets that words are hashed into.
pub const BUCKETS: usize = 1 << 16;

/// Ends a word.
const GAP: u8 = 0;
/// Part of a word.
const WORD: u8 = 1;
/// A character of a script without spaces.
const SINGLE: u8 = 2;
/// The same in a script whose characters are letters: a pair of them says little.
const LETTER: u8 = 4;
/// Not there: soft hyphens, joiners, variation selectors.
const SKIP: u8 = 3;

/// Cuts texts into words; keeps its buffer between them.
#[derive(Debug, Clone)]
pub struct Words {
    seed: u64,
    word: Vec<u8>,
}

impl Words {
    /// The words of the run with this seed: another seed, other collisions.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed: seed::bits(seed, "embed words", 0), word: Vec::with_capacity(64) }
    }

    /// Appends the bucket of every word of `text` to `out`, in order.
    pub fn buckets(&mut self, text: &str, out: &mut Vec<u16>) {
        let bytes = text.as_bytes();
        runs::each(text, |Run { start, end, ascii }| {
            if ascii && end - start <= 8 {
                let word = Eight::load(&bytes[start..]).lowered(end - start);
                out.push(short_bucket(word, self.seed));
            } else if ascii && end - start <= 16 {
                let (low, high) = (Eight::load(&bytes[start..]), Eight::load(&bytes[start + 8..]));
                let mut word = [0; 16];
                word[..8].copy_from_slice(&low.lowered(8).to_le_bytes());
                word[8..].copy_from_slice(&high.lowered(end - start - 8).to_le_bytes());
                out.push(bucket(&word[..end - start], self.seed));
            } else {
                let mut at = start;
                while at < end {
                    at = self.any_word(&text[..end], at, out);
                }
            }
        });
    }

    /// Takes the word, or the run of single characters, that starts at `at`; gives its end.
    fn any_word(&mut self, text: &str, mut at: usize, out: &mut Vec<u16>) -> usize {
        let bytes = text.as_bytes();
        let seed = self.seed;
        self.word.clear();
        while at < bytes.len() {
            if bytes[at] < 0x80 {
                let eight = Eight::load(&bytes[at..]);
                let letters = eight.letters();
                self.word.extend_from_slice(&eight.lowered(letters).to_le_bytes()[..letters]);
                at += letters;
                // Letters that fill the eight, or a character that is not ASCII behind them, go on.
                if letters == 0 || eight.ends_after(letters) {
                    break;
                }
                continue;
            }
            let character = first_character(&text[at..]);
            let kind = CLASSES.of(character);
            let is_single = matches!(kind, SINGLE | LETTER);
            if kind == GAP || (is_single && !self.word.is_empty()) {
                break;
            }
            if is_single {
                return neighbours(text, at, &mut self.word, seed, out);
            }
            at += character.len_utf8();
            if kind == WORD {
                for lowered in character.to_lowercase() {
                    self.word.extend_from_slice(lowered.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        if self.word.is_empty() {
            // A gap that is not ASCII stands at `at`, or the text ends behind skipped characters.
            return at + text[at..].chars().next().map_or(0, char::len_utf8);
        }
        out.push(bucket(&self.word, seed));
        at
    }
}

/// Eight bytes of text at once, the first one lowest; behind the end of the text there are zeros.
#[derive(Clone, Copy)]
struct Eight(u64);

impl Eight {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    fn load(bytes: &[u8]) -> Self {
        if let Some(eight) = bytes.first_chunk() {
            return Self(u64::from_le_bytes(*eight));
        }
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        Self(u64::from_le_bytes(eight))
    }

    /// The high bit of each byte that is an ASCII letter or digit.
    fn word_bits(self) -> u64 {
        let low = self.0 & !Self::HIGH;
        let lowered = low | (Self::ONES * 0x20);
        // Adding 0x80 - limit sets the high bit of a 7-bit value that reaches the limit.
        let at_least = |value: u64, limit: u8| value + Self::ONES * u64::from(0x80 - limit);
        let letter = at_least(lowered, b'a') & !at_least(lowered, b'z' + 1);
        let digit = at_least(low, b'0') & !at_least(low, b'9' + 1);
        (letter | digit) & !self.0 & Self::HIGH
    }

    /// How many bytes from the first on are ASCII letters or digits.
    fn letters(self) -> usize {
        ((!self.word_bits() & Self::HIGH).trailing_zeros() / 8) as usize
    }

    /// Whether the byte behind `letters` letters is here and ASCII.
    fn ends_after(self, letters: usize) -> bool {
        letters < 8 && (self.0 >> (8 * letters)) & 0x80 == 0
    }

    /// The first `letters` bytes, lower-cased, zeros behind them.
    fn lowered(self, letters: usize) -> u64 {
        let kept = u64::MAX.checked_shr(64 - 8 * letters as u32).unwrap_or(0);
        (self.0 | (Self::ONES * 0x20)) & kept
    }
}

/// Appends the buckets of the single characters, the pairs and, of letters, the threes of the run that
/// starts at `at`; returns its end. `term` is scratch memory.
#[inline(never)]
fn neighbours(
    text: &str,
    mut at: usize,
    term: &mut Vec<u8>,
    seed: u64,
    out: &mut Vec<u16>,
) -> usize {
    // `term` holds the two characters before this one, as far as there are any.
    term.clear();
    let (mut first, mut second) = (0, 0);
    for character in text[at..].chars() {
        let kind = CLASSES.of(character);
        match kind {
            SINGLE | LETTER => {
                let mut utf8 = [0; 4];
                let utf8 = character.encode_utf8(&mut utf8).as_bytes();
                term.extend_from_slice(utf8);
                // From the character alone to all three.
                let starts = [Some(first + second), (second > 0).then_some(first)];
                let three = (first > 0 && kind == LETTER).then_some(0);
                for start in starts.into_iter().chain([three]).flatten() {
                    out.push(bucket(&term[start..], seed));
                }
                term.drain(..first);
                (first, second) = (second, utf8.len());
            }
            SKIP => {}
            _ => break,
        }
        at += character.len_utf8();
    }
    at
}

/// Words of up to eight bytes are filled up with zeros: one length, no branch.
#[inline]
fn bucket(word: &[u8], seed: u64) -> u16 {
    if word.len() <= 8 {
        return short_bucket(Eight::load(word).0, seed);
    }
    (xxh3_64_with_seed(word, seed) >> 48) as u16
}

#[inline]
fn short_bucket(word: u64, seed: u64) -> u16 {
    (xxh3_64_with_seed(&word.to_le_bytes(), seed) >> 48) as u16
}

/// Whether a character belongs to a script that is written without spaces.
pub(super) fn has_no_spaces(character: char) -> bool {
    matches!(CLASSES.of(character), SINGLE | LETTER)
}

fn first_character(text: &str) -> char {
    text.chars().next().unwrap_or_default()
}

static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::new);

/// The class of every character: pages of 256 characters, equal pages kept once.
struct Classes {
    pages: Vec<[u8; 256]>,
    page_of: Vec<u16>,
}

impl Classes {
    fn new() -> Self {
        let mut classes = Self { pages: Vec::new(), page_of: Vec::new() };
        for page in 0..0x1100u32 {
            let mut kinds = [GAP; 256];
            for (low, kind) in kinds.iter_mut().enumerate() {
                *kind = char::from_u32(page * 256 + low as u32).map_or(GAP, classify);
            }
            let known = classes.pages.iter().position(|known| known == &kinds);
            let number = known.unwrap_or_else(|| {
                classes.pages.push(kinds);
                classes.pages.len() - 1
            });
            classes.page_of.push(number as u16);
        }
        classes
    }

    fn of(&self, character: char) -> u8 {
        let code = character as usize;
        self.pages[usize::from(self.page_of[code >> 8])][code & 255]
    }
}

fn classify(character: char) -> u8 {
    match character as u32 {
        0xAD | 0x200C | 0x200D | 0x2060 | 0xFEFF | 0xFE00..=0xFE0F | 0xE0100..=0xE01EF => SKIP,
        _ if !character.is_alphanumeric() && !is_combining_mark(character) => GAP,
        0x0E00..=0x0EFF             // Thai, Lao
        | 0x1000..=0x109F | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F // Myanmar
        | 0x1780..=0x17FF           // Khmer
        => LETTER,
        0x2E80..=0x2FDF           // radicals
        | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3038..=0x303B
        | 0x3041..=0x30FF           // Hiragana, Katakana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF // Han
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9F           // half-width Katakana
        | 0x1AFF0..=0x1B16F
        | 0x20000..=0x3FFFF => SINGLE,
        _ => WORD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(text: &str) -> Vec<u16> {
        let mut found = Vec::new();
        Words::new(7).buckets(text, &mut found);
        found
    }

    fn terms(terms: &[&str]) -> Vec<u16> {
        let seed = Words::new(7).seed;
        terms.iter().map(|term| bucket(term.as_bytes(), seed)).collect()
    }

    #[test]
    fn words_are_lower_cased_runs_of_letters_digits_and_marks() {
        assert_eq!(buckets("Don't PANIC, 42 times!"), terms(&["don", "t", "panic", "42", "times"]));
        assert_eq!(buckets("Ärger über ΣΑΣ"), terms(&["ärger", "über", "σασ"]));
        assert_eq!(buckets("हिन्दी में"), terms(&["हिन्दी", "में"]));
        assert_eq!(buckets("cafe\u{301} noir"), terms(&["cafe\u{301}", "noir"]));
        assert_eq!(buckets("co\u{ad}operate"), terms(&["cooperate"]));
        assert_eq!(buckets(" \n…—"), terms(&[]));
    }

    #[test]
    fn scripts_without_spaces_give_single_characters_and_pairs() {
        assert_eq!(buckets("长江大"), terms(&["长", "江", "长江", "大", "江大"]));
        assert_eq!(
            buckets("第3章abcカナ。語"),
            terms(&["第", "3", "章", "abc", "カ", "ナ", "カナ", "語"])
        );
        assert_eq!(buckets("葛\u{FE00}城"), terms(&["葛", "城", "葛城"]));
    }

    #[test]
    fn scripts_of_letters_without_spaces_give_three_neighbours_too() {
        assert_eq!(
            buckets("ภาษา ka"),
            terms(&["ภ", "า", "ภา", "ษ", "าษ", "ภาษ", "า", "ษา", "าษา", "ka"])
        );
        assert_eq!(buckets("ကခ"), terms(&["က", "ခ", "ကခ"]));
    }

    /// The rule, character by character.
    fn plain(text: &str) -> Vec<u16> {
        let mut found = Vec::new();
        let mut word = String::new();
        let mut before: Vec<char> = Vec::new();
        for character in text.chars().chain(['\n']) {
            let kind = CLASSES.of(character);
            if kind == SKIP {
                continue;
            }
            if kind != WORD && !word.is_empty() {
                found.push(word.split_off(0));
            }
            if kind == WORD {
                word.extend(character.to_lowercase());
            }
            if kind != SINGLE && kind != LETTER {
                before.clear();
                continue;
            }
            before.push(character);
            let longest = if kind == LETTER { 3 } else { 2 };
            for count in 1..=longest.min(before.len()) {
                found.push(before[before.len() - count..].iter().collect());
            }
        }
        terms(&found.iter().map(String::as_str).collect::<Vec<_>>())
    }

    proptest::proptest! {
        #[test]
        fn the_fast_path_follows_the_rule(
            text in "([a-zA-Z0-9]{0,12}|[ -~\\x00-\\x1f]|[é\u{301}\u{ad}\u{fe0f}ßİ…]|[天地カナ]|[กาខ\u{e48}ກ]|.){0,30}"
        ) {
            proptest::prop_assert_eq!(buckets(&text), plain(&text));
        }
    }

    #[test]
    fn another_seed_gives_other_buckets() {
        let mut other = Vec::new();
        Words::new(8).buckets("one two three", &mut other);
        assert_ne!(buckets("one two three"), other);
    }
}
