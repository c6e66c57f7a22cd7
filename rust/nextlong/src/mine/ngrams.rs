//! Word n-gram containment: how much of one chunk stands in another, word for word.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

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

/// The different n-grams of `text`, as sorted hashes.
///
/// Words are runs of letters and digits, lower-cased; in scripts without spaces (Chinese,
/// Japanese, Thai, Lao, Khmer, Myanmar) every character is a word.
pub(super) fn grams(text: &str, words: usize, out: &mut Vec<u64>) {
    out.clear();
    let mut hashes: Vec<u64> = Vec::with_capacity(text.len() / 5 + 1);
    words_of(text, |hash| hashes.push(hash));
    out.extend(hashes.windows(words).map(|gram| {
        gram.iter().fold(0u64, |sum, &word| {
            (sum.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }));
    out.sort_unstable();
    out.dedup();
}

fn words_of(text: &str, mut word: impl FnMut(u64)) {
    let mut current: Vec<u8> = Vec::with_capacity(32);
    let mut utf8 = [0; 4];
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            current.push(character.to_ascii_lowercase() as u8);
            continue;
        }
        if !character.is_ascii() {
            if without_spaces(character) {
                if !current.is_empty() {
                    word(xxh3_64(&current));
                    current.clear();
                }
                word(xxh3_64(character.encode_utf8(&mut utf8).as_bytes()));
                continue;
            }
            if character.is_alphanumeric() {
                for lower in character.to_lowercase() {
                    current.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                }
                continue;
            }
        }
        if !current.is_empty() {
            word(xxh3_64(&current));
            current.clear();
        }
    }
    if !current.is_empty() {
        word(xxh3_64(&current));
    }
}

fn without_spaces(character: char) -> bool {
    matches!(character,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The n-grams of all meta-chunks of a document, to ask how much of a candidate stands there.
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
