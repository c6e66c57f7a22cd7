//! Word n-gram containment: how much of one chunk stands in another, word for word.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The hashes are uniform already: use them as they are.
#[derive(Default)]
pub(super) struct Identity(u64);

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

pub(super) type Hashed = BuildHasherDefault<Identity>;

/// The n-grams of `text` in their order, as hashes.
///
/// Words are runs of letters and digits, lower-cased; in scripts without spaces (Chinese,
/// Japanese, Thai, Lao, Khmer, Myanmar) every character is a word.
fn grams(text: &str, words: usize, out: &mut Vec<u64>) {
    out.clear();
    words_of(text, |hash| out.push(hash));
    // Each gram takes the place of its first word: the words behind it are still there.
    let count = (out.len() + 1).saturating_sub(words);
    for at in 0..count {
        out[at] =
            out[at..at + words].iter().fold(0, |sum: u64, &word| mix(sum.rotate_left(23) ^ word));
    }
    out.truncate(count);
}

fn mix(value: u64) -> u64 {
    value.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn words_of(text: &str, mut word: impl FnMut(u64)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        if at < bytes.len() && !bytes[at].is_ascii() {
            at = start + words_beyond_ascii(&text[start..], &mut word);
            continue;
        }
        if at > start {
            word(hash_word(&bytes[start..at], ASCII_LOWER));
        }
        at += 1;
    }
}

/// Setting this bit lower-cases an ASCII letter and leaves a digit as it is.
const ASCII_LOWER: u64 = 0x2020_2020_2020_2020;

/// The hash of a word, with `or` over all of its bytes.
fn hash_word(bytes: &[u8], or: u64) -> u64 {
    let mut sum = bytes.len() as u64;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        sum = mix(sum.rotate_left(29) ^ (u64::from_le_bytes(*eight) | or));
    }
    let mut last = 0;
    for &byte in rest {
        last = last << 8 | u64::from(byte) | or & 0xFF;
    }
    sum = mix(sum.rotate_left(29) ^ last);
    sum ^ sum >> 32
}

/// The words from the start of `text`, which holds a character beyond ASCII, to the first blank or
/// sign after it; gives the bytes read.
fn words_beyond_ascii(text: &str, word: &mut impl FnMut(u64)) -> usize {
    let mut current: Vec<u8> = Vec::with_capacity(64);
    let mut utf8 = [0; 4];
    let mut read = text.len();
    for (at, character) in text.char_indices() {
        if character.is_alphanumeric() && !without_spaces(character) {
            for lower in character.to_lowercase() {
                current.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
            }
            continue;
        }
        if !current.is_empty() {
            word(hash_word(&current, 0));
            current.clear();
        }
        if without_spaces(character) {
            word(hash_word(character.encode_utf8(&mut utf8).as_bytes(), 0));
        } else if character.is_ascii() {
            read = at;
            break;
        }
    }
    if !current.is_empty() {
        word(hash_word(&current, 0));
    }
    read
}

fn without_spaces(character: char) -> bool {
    matches!(character,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The n-grams of all meta-chunks of a document, to ask how much of a candidate stands there.
#[derive(Debug)]
pub(super) struct MetaGrams {
    words: usize,
    places: HashMap<u64, u32, Hashed>,
    /// For each different gram: the meta-chunks that have it, from `owners[at]` to a `u32::MAX`.
    owners: Vec<u32>,
    sizes: Vec<u32>,
    counts: Vec<u32>,
    grams: Vec<u64>,
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
        let mut places = HashMap::with_capacity_and_hasher(pairs.len(), Hashed::default());
        let mut owners = Vec::with_capacity(pairs.len() * 2);
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            places.insert(same[0].0, owners.len() as u32);
            owners.extend(same.iter().map(|&(_, meta)| meta));
            owners.push(u32::MAX);
        }
        let counts = vec![0; sizes.len()];
        Self { words, places, owners, sizes, counts, grams: own }
    }

    /// The largest containment of `text` and any one meta-chunk in each other: shared n-grams
    /// over the n-grams of the smaller of the two.
    pub(super) fn containment(&mut self, text: &str) -> f32 {
        grams(text, self.words, &mut self.grams);
        if !self.grams.iter().any(|gram| self.places.contains_key(gram)) {
            return 0.0;
        }
        self.grams.sort_unstable();
        self.grams.dedup();
        self.counts.fill(0);
        for gram in &self.grams {
            let Some(&at) = self.places.get(gram) else { continue };
            for &meta in self.owners[at as usize..].iter().take_while(|&&meta| meta != u32::MAX) {
                self.counts[meta as usize] += 1;
            }
        }
        let own = self.grams.len() as u32;
        let shares = self.counts.iter().zip(&self.sizes);
        shares
            .filter(|&(&shared, _)| shared > 0)
            .map(|(&shared, &size)| shared as f32 / size.min(own) as f32)
            .fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
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
}
