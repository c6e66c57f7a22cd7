//! Word n-grams: the hashes by which chunks are compared word for word.

use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::runs::{self, Run};

/// The n-grams of `text` in their order, as hashes.
///
/// Words are runs of letters and digits, lower-cased. In scripts without spaces the characters say
/// where a word ends: of Chinese and Japanese every character is a word; letters of Thai, Lao, Khmer,
/// Myanmar and their like make words of about four.
pub fn grams(text: &str, words: usize, out: &mut Vec<u64>) {
    out.clear();
    words_of(text, out);
    let count = (out.len() + 1).saturating_sub(words);
    if count == 0 {
        out.clear();
        return;
    }
    // A polynomial over the words: the next gram follows from the one before in two products. Each
    // gram takes the place of its first word: the words after it are still there.
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
    let mut word = Vec::new();
    runs::each(text, |Run { start, end, ascii }| {
        if ascii {
            out.push(hash_word(text.as_bytes(), start, end));
        } else {
            words_beyond_ascii(&text[start..end], &mut word, out);
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

/// The sixteen bytes at `at`, zeros after the end.
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

/// The words of a run of letters and digits that holds a character beyond ASCII; `current` is memory
/// for one of them.
fn words_beyond_ascii(run: &str, current: &mut Vec<u8>, out: &mut Vec<u64>) {
    let mut utf8 = [0; 4];
    let mut close = |current: &mut Vec<u8>| {
        if !current.is_empty() {
            out.push(hash_lowered(current));
            current.clear();
        }
    };
    let mut before = Script::Spaced;
    let mut last = '\0';
    let lowered_ones = LOWERED.as_slice();
    for character in run.chars() {
        let lowered = lowered_ones.get(character as usize).copied().unwrap_or(BY_RULES);
        if lowered != BY_RULES && before == Script::Spaced {
            match lowered {
                MARK => close(current),
                1..0x80 => current.push(lowered as u8),
                0x80..0x800 => {
                    current.extend([0xC0 | (lowered >> 6) as u8, 0x80 | (lowered & 0x3F) as u8]);
                }
                _ => current.extend([
                    0xE0 | (lowered >> 12) as u8,
                    0x80 | (lowered >> 6 & 0x3F) as u8,
                    0x80 | (lowered & 0x3F) as u8,
                ]),
            }
            last = character;
            continue;
        }
        let script = Script::of(character);
        if script != before || script == Script::Ideographs {
            close(current);
        }
        match script {
            Script::Ideographs => {
                current.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
            Script::Unspaced => {
                current.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                if ends_word(last, character) {
                    close(current);
                }
            }
            Script::Spaced if character.is_ascii() => {
                current.push(character.to_ascii_lowercase() as u8);
            }
            Script::Spaced if character.is_alphanumeric() => {
                for lower in character.to_lowercase() {
                    current.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                }
            }
            Script::Spaced if joins_letters(character) => {}
            Script::Spaced => close(current),
        }
        (before, last) = (script, character);
    }
    close(current);
}

/// What the first characters are lower-cased, those of scripts with spaces: as far as it is one
/// character, [`MARK`] for those that end a word, [`BY_RULES`] for all others.
static LOWERED: LazyLock<Vec<u16>> = LazyLock::new(|| {
    // The ideographs follow.
    let lowered = ('\0'..'\u{3040}').map(|character| {
        if Script::of(character) != Script::Spaced || joins_letters(character) {
            return BY_RULES;
        }
        if !character.is_alphanumeric() {
            return MARK;
        }
        let mut lowered = character.to_lowercase().map(u32::from);
        match (lowered.next(), lowered.next()) {
            (Some(only @ 1..0x3040), None) => only as u16,
            _ => BY_RULES,
        }
    });
    lowered.collect()
});
const MARK: u16 = 0;
const BY_RULES: u16 = u16::MAX;

/// How the words of a script are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Spaced,
    /// Every character is a word.
    Ideographs,
    /// Letters without spaces.
    Unspaced,
}

impl Script {
    fn of(character: char) -> Self {
        match character {
            '\u{3040}'..='\u{30FF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}' => Self::Ideographs,
            '\u{0E00}'..='\u{0EFF}'
            | '\u{1000}'..='\u{109F}'
            | '\u{1780}'..='\u{17FF}'
            | '\u{1950}'..='\u{19DF}'
            | '\u{1A20}'..='\u{1AAF}'
            | '\u{A9E0}'..='\u{A9FF}'
            | '\u{AA60}'..='\u{AADF}' => Self::Unspaced,
            _ => Self::Spaced,
        }
    }
}

/// True if a word of a script without spaces ends after the second of two characters: one pair in
/// four, and the same pairs in every text, so that a copy has the same words.
fn ends_word(before: char, character: char) -> bool {
    mix(u64::from(u32::from(before)) << 32 | u64::from(u32::from(character))) >> 62 == 0
}

/// True if a character is not a letter but occurs inside a word: the signs of Indic scripts that join
/// consonants or mark them.
fn joins_letters(character: char) -> bool {
    matches!(character, '\u{0900}'..='\u{0D7F}') && matches!(character as u32 & 0x7F, 0x3C | 0x4D)
        || character == '\u{0DCA}'
}

/// The hash of a lower-cased word.
fn hash_lowered(word: &[u8]) -> u64 {
    if word.is_ascii() { hash_word(word, 0, word.len()) } else { xxh3_64(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of the distinct n-grams of `text` that `other` has.
    fn share(text: &str, other: &str, words: usize) -> f32 {
        let set = |text: &str| {
            let mut found = Vec::new();
            grams(text, words, &mut found);
            found.into_iter().collect::<std::collections::HashSet<u64>>()
        };
        let (own, other) = (set(text), set(other));
        own.intersection(&other).count() as f32 / own.len().max(1) as f32
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        let whole = "one two three four five six seven eight nine ten";
        assert!((share("Two, three; FOUR five!", whole, 3) - 1.0).abs() < 1e-6);
        assert!((share("one two three apple pear plum", whole, 3) - 0.25).abs() < 1e-6);
        assert!(share("too short", whole, 3).abs() < 1e-6);
    }

    #[test]
    fn scripts_without_spaces_have_words() {
        assert!((share("天气很好我们", "今天天气很好我们去公园", 4) - 1.0).abs() < 1e-6);
        assert!(share("昨天下了一场大雨", "今天天气很好我们去公园", 4).abs() < 1e-6);
        let texts = [
            (
                "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทยเป็นศูนย์กลางการปกครอง",
                "ข้าวผัดเป็นอาหารที่ทำจากข้าวสวยที่หุงสุกแล้วนำมาผัดกับน้ำมันและเครื่องปรุงรสต่างๆตามชอบใจ",
            ),
            (
                "ភ្នំពេញគឺជារាជធានីនិងជាទីក្រុងធំបំផុតរបស់ប្រទេសកម្ពុជាដែលស្ថិតនៅតាមដងទន្លេមេគង្គ",
                "បាយគឺជាអាហារសំខាន់របស់ប្រជាជនអាស៊ីអាគ្នេយ៍ហើយត្រូវបានដាំដុះនៅតាមវាលទំនាបយ៉ាងច្រើន",
            ),
        ];
        for (text, other) in texts {
            let mut found = Vec::new();
            grams(text, 1, &mut found);
            let letters = text.chars().count();
            assert!((letters / 7..letters / 2).contains(&found.len()), "{} words", found.len());
            // A copy with something before and after it.
            let copy = format!("{}{text}{}", &other[..30], &other[other.len() - 30..]);
            assert!(share(text, &copy, 5) > 0.8, "{}", share(text, &copy, 5));
            assert!(share(text, other, 5) < 0.1, "{}", share(text, other, 5));
        }
    }

    /// The rule of [`words_of`], character by character.
    fn words_by_character(text: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let (mut before, mut last) = (Script::Spaced, '\0');
        for character in text.chars() {
            let script = Script::of(character);
            let is_word = character.is_alphanumeric();
            if script != before || script == Script::Ideographs {
                words.push(String::new());
            }
            let word = words.last_mut().expect("a word");
            match script {
                Script::Spaced if is_word => word.extend(character.to_lowercase()),
                Script::Spaced if joins_letters(character) => {}
                Script::Spaced => words.push(String::new()),
                Script::Ideographs | Script::Unspaced => word.push(character),
            }
            if script == Script::Unspaced && ends_word(last, character) {
                words.push(String::new());
            }
            // Runs start after ASCII marks.
            (before, last) = match character {
                mark if mark.is_ascii() && !is_word => (Script::Spaced, '\0'),
                _ => (script, character),
            };
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_character_is_lowered_or_ends_a_word() {
        for character in '\0'..='\u{FFFF}' {
            let text = format!("éa{character}b {character}{character}");
            let words = words_by_character(&text);
            let expected: Vec<u64> =
                words.iter().map(|word| hash_lowered(word.as_bytes())).collect();
            let mut found = Vec::new();
            words_of(&text, &mut found);
            assert_eq!(found, expected, "{text:?}");
        }
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
}
