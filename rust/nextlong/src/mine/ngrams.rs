//! Word n-gram containment: how much of one chunk stands in another, word for word.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::runs::{self, Run};

/// 64-bit keys are hashes, uniform already; numbers are spread by one product.
#[derive(Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

pub(crate) type Hashed = BuildHasherDefault<Identity>;

/// The n-grams of `text` in their order, as hashes.
///
/// Words are runs of letters and digits, lower-cased; in scripts without spaces (Chinese,
/// Japanese, Thai, Lao, Khmer, Myanmar) every character is a word.
pub fn grams(text: &str, words: usize, out: &mut Vec<u64>) {
    out.clear();
    words_of(text, out);
    let count = (out.len() + 1).saturating_sub(words);
    if count == 0 {
        out.clear();
        return;
    }
    // A polynomial over the words: the next gram follows from the one before in two products. Each
    // gram takes the place of its first word: the words behind it are still there.
    let oldest = (1..words).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut sum = out[..words - 1].iter().fold(0, |sum: u64, &word| join(sum, word));
    for at in 0..count {
        let first = out[at];
        sum = join(sum, out[at + words - 1]);
        out[at] = spread(sum);
        sum = sum.wrapping_sub(first.wrapping_mul(oldest));
    }
    out.truncate(count);
}

/// The base of the polynomials: odd, so that no bit of a word is lost.
const BASE: u64 = 0xD6E8_FEB8_6659_FD93;

fn join(sum: u64, word: u64) -> u64 {
    sum.wrapping_mul(BASE).wrapping_add(word)
}

/// Brings the high bits, which every word reaches, down to the low ones.
fn spread(sum: u64) -> u64 {
    let mixed = mix(sum ^ sum >> 32);
    mixed ^ mixed >> 29
}

fn mix(value: u64) -> u64 {
    value.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Appends the hashes of the words of `text` to `out`.
fn words_of(text: &str, out: &mut Vec<u64>) {
    runs::each(text, |Run { start, end, ascii }| {
        if ascii {
            out.push(hash_word(text.as_bytes(), start, end));
        } else {
            words_beyond_ascii(&text[start..end], out);
        }
    });
}

/// Setting this bit lower-cases an ASCII letter and leaves a digit as it is.
const ASCII_LOWER: u64 = 0x2020_2020_2020_2020;

/// The hash of the ASCII word `bytes[start..end]`, lower-cased.
#[inline]
fn hash_word(bytes: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    let (mut low, mut high) = sixteen(bytes, start);
    low = (low | ASCII_LOWER) & FIRST_BYTES[len.min(8)];
    high = (high | ASCII_LOWER) & FIRST_BYTES[len.clamp(8, 16) - 8];
    let mut sum = mix(mix(low).rotate_left(29) ^ high);
    let mut at = start + 16;
    while at < end {
        let (next, _) = sixteen(bytes, at);
        let next = (next | ASCII_LOWER) & FIRST_BYTES[(end - at).min(8)];
        sum = mix(sum.rotate_left(29) ^ next);
        at += 8;
    }
    sum ^ sum >> 32
}

/// Masks of the first 0 to 8 bytes.
const FIRST_BYTES: [u64; 9] = {
    let mut masks = [0; 9];
    let mut bytes = 1;
    while bytes <= 8 {
        masks[bytes] = u64::MAX >> (64 - 8 * bytes);
        bytes += 1;
    }
    masks
};

/// The sixteen bytes at `at`, zeros behind the end.
#[inline]
fn sixteen(bytes: &[u8], at: usize) -> (u64, u64) {
    let mut last = [0; 16];
    let both = bytes[at..].first_chunk::<16>().unwrap_or_else(|| {
        last[..bytes.len() - at].copy_from_slice(&bytes[at..]);
        &last
    });
    let both = u128::from_le_bytes(*both);
    (both as u64, (both >> 64) as u64)
}

/// The words of a run of letters and digits that holds a character beyond ASCII.
fn words_beyond_ascii(run: &str, out: &mut Vec<u64>) {
    let mut current: Vec<u8> = Vec::with_capacity(64);
    let mut utf8 = [0; 4];
    let mut close = |current: &mut Vec<u8>| {
        if !current.is_empty() {
            out.push(hash_lowered(current));
            current.clear();
        }
    };
    for character in run.chars() {
        if without_spaces(character) {
            close(&mut current);
            current.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            close(&mut current);
        } else if character.is_ascii() {
            current.push(character.to_ascii_lowercase() as u8);
        } else if character.is_alphanumeric() {
            for lower in character.to_lowercase() {
                current.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
            }
        } else {
            close(&mut current);
        }
    }
    close(&mut current);
}

/// The hash of a lower-cased word.
fn hash_lowered(word: &[u8]) -> u64 {
    if word.is_ascii() { hash_word(word, 0, word.len()) } else { xxh3_64(word) }
}

fn without_spaces(character: char) -> bool {
    matches!(character,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The largest containment of `text` and any one of some meta-chunks in each other: shared n-grams
/// of `words` words over the n-grams of the smaller of the two.
pub fn containment<'a>(metas: impl IntoIterator<Item = &'a str>, text: &str, words: usize) -> f32 {
    MetaGrams::new(metas, words).containment(text)
}

/// The n-grams of all meta-chunks of a document, to ask how much of a candidate stands there.
#[derive(Debug)]
pub(super) struct MetaGrams {
    words: usize,
    /// A bit for the low bits of every gram: nine of ten foreign grams are known to be none here.
    filter: Vec<u64>,
    places: HashMap<u64, u32, Hashed>,
    /// For each different gram: the meta-chunks that have it, from `owners[at]` to a `u32::MAX`.
    owners: Vec<u32>,
    sizes: Vec<u32>,
    counts: Vec<u32>,
    grams: Vec<u64>,
    shared: Vec<u64>,
}

impl MetaGrams {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>, words: usize) -> Self {
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        let mut sizes = Vec::new();
        let mut own = Vec::new();
        for (meta, text) in texts.into_iter().enumerate() {
            grams(text, words, &mut own);
            own.sort_unstable();
            own.dedup();
            sizes.push(own.len() as u32);
            pairs.extend(own.iter().map(|&gram| (gram, meta as u32)));
        }
        pairs.sort_unstable();
        let mut filter = vec![0u64; (pairs.len() * FILTER_BITS).div_ceil(64).next_power_of_two()];
        let mut places = HashMap::with_capacity_and_hasher(pairs.len(), Hashed::default());
        let mut owners = Vec::with_capacity(pairs.len() * 2);
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            let (word, bit) = filter_place(same[0].0, filter.len());
            filter[word] |= bit;
            places.insert(same[0].0, owners.len() as u32);
            owners.extend(same.iter().map(|&(_, meta)| meta));
            owners.push(u32::MAX);
        }
        let counts = vec![0; sizes.len()];
        Self { words, filter, places, owners, sizes, counts, grams: own, shared: Vec::new() }
    }

    /// The largest containment of `text` and any one meta-chunk in each other: shared n-grams
    /// over the n-grams of the smaller of the two.
    pub(super) fn containment(&mut self, text: &str) -> f32 {
        grams(text, self.words, &mut self.grams);
        self.shared.clear();
        for &gram in &self.grams {
            let (word, bit) = filter_place(gram, self.filter.len());
            if self.filter[word] & bit != 0 && self.places.contains_key(&gram) {
                self.shared.push(gram);
            }
        }
        if self.shared.is_empty() {
            return 0.0;
        }
        self.shared.sort_unstable();
        self.shared.dedup();
        self.counts.fill(0);
        for gram in &self.shared {
            let Some(&at) = self.places.get(gram) else { continue };
            for &meta in self.owners[at as usize..].iter().take_while(|&&meta| meta != u32::MAX) {
                self.counts[meta as usize] += 1;
            }
        }
        self.grams.sort_unstable();
        self.grams.dedup();
        let own = self.grams.len() as u32;
        let shares = self.counts.iter().zip(&self.sizes);
        shares
            .filter(|&(&shared, _)| shared > 0)
            .map(|(&shared, &size)| shared as f32 / size.min(own) as f32)
            .fold(0.0, f32::max)
    }
}

/// Bits of the filter for each gram.
const FILTER_BITS: usize = 12;

/// Where a gram's bit lies in a filter of `len` words, a power of two.
fn filter_place(gram: u64, len: usize) -> (usize, u64) {
    ((gram >> 6) as usize & (len - 1), 1 << (gram & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn containment_is_the_share_of_the_smaller_text() {
        let whole = "one two three four five six seven eight nine ten";
        let mut meta = MetaGrams::new([whole, "something else altogether, nothing shared"], 3);
        assert!((meta.containment("Two, three; FOUR five!") - 1.0).abs() < 1e-6);
        assert!((meta.containment("one two three apple pear plum") - 0.25).abs() < 1e-6);
        assert!(meta.containment("too short").abs() < 1e-6);
        assert!(meta.containment("").abs() < 1e-6);
    }

    #[test]
    fn characters_are_words_where_a_script_has_no_spaces() {
        let mut meta = MetaGrams::new(["今天天气很好我们去公园"], 4);
        assert!((meta.containment("天气很好我们") - 1.0).abs() < 1e-6);
        assert!(meta.containment("昨天下了一场大雨").abs() < 1e-6);
    }

    /// The rule of [`words_of`], character by character.
    fn words_by_character(text: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for character in text.chars() {
            if without_spaces(character) {
                words.extend([character.to_string(), String::new()]);
            } else if character.is_alphanumeric() {
                words.last_mut().expect("a word").extend(character.to_lowercase());
            } else {
                words.push(String::new());
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn words_and_grams_are_found_wherever_they_stand() {
        let mut rng = crate::seed::Rng::new(1, "words", 0);
        let letters =
            ['a', 'B', '7', ' ', '\n', '_', '-', 'é', 'É', '中', 'ก', '\u{2582}', '\0', 'z'];
        for round in 0..4000 {
            let length = rng.below(if round % 10 == 0 { 200 } else { 20 });
            let kinds = 3 + rng.below(letters.len() as u64 - 2);
            let text: String = (0..length).map(|_| letters[rng.below(kinds) as usize]).collect();
            let words = words_by_character(&text);
            let expected: Vec<u64> =
                words.iter().map(|word| hash_lowered(word.as_bytes())).collect();
            let mut found = Vec::new();
            words_of(&text, &mut found);
            assert_eq!(found, expected, "{text:?}");
            for size in [1, 2, 8] {
                grams(&text, size, &mut found);
                let alone: Vec<u64> = expected
                    .windows(size)
                    .map(|words| spread(words.iter().fold(0, |sum, &word| join(sum, word))))
                    .collect();
                assert_eq!(found, alone, "{text:?}");
            }
        }
    }

    /// The n-grams of `text`, each once.
    fn gram_set(text: &str, words: usize) -> std::collections::HashSet<Vec<String>> {
        words_by_character(text).windows(words).map(<[String]>::to_vec).collect()
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::collection::vec(prop_oneof!["a", "B", "é", "7", "中", " ", "\n"], 0..60)
                .prop_map(|parts| parts.concat()),
            prop::collection::vec(prop_oneof!["one ", "two ", "three, ", "ÉTÉ "], 0..80)
                .prop_map(|parts| parts.concat()),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn containment_is_that_of_sets(
            metas in prop::collection::vec(any_text(), 1..4),
            copied in any::<(prop::sample::Index, bool)>(),
            other in any_text(),
            words in 1usize..9,
        ) {
            let (which, whole) = copied;
            // Half of the time a part of a meta-chunk stands in it.
            let other = if whole { format!("{other} {}", which.get(&metas)) } else { other };
            let found = MetaGrams::new(metas.iter().map(String::as_str), words).containment(&other);
            let theirs = gram_set(&other, words);
            let expected = metas
                .iter()
                .map(|meta| {
                    let own = gram_set(meta, words);
                    let smaller = own.len().min(theirs.len());
                    if smaller == 0 {
                        return 0.0;
                    }
                    own.intersection(&theirs).count() as f32 / smaller as f32
                })
                .fold(0.0, f32::max);
            prop_assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
