//! Cuts a text into pieces that no token can join.
//!
//! A SentencePiece-style BPE (Llama 2, Mistral) takes a whole text as one word and merges its way
//! through it. But every token it makes is the product of some merge: if two neighbouring characters
//! are side by side in no product, no merge can join them, and the text may be cut there without
//! changing an id. The pieces are about words, and most of them occur again. BERT's words are such
//! pieces from the start.

use std::collections::BTreeSet;
use std::ops::Range;

/// How a text falls into pieces whose ids do not depend on each other.
pub(super) enum Pieces {
    /// Cut where no token joins two characters.
    Unjoined(Pairs),
    /// BERT's words: runs without white space, signs alone; with `ideographs`, these alone as well.
    Words {
        /// True if the tokenizer sets Chinese characters apart.
        ideographs: bool,
    },
}

impl Pieces {
    /// The next piece of `text` from `at` on; empty only at the end.
    pub(super) fn next(&self, text: &str, at: usize) -> Range<usize> {
        match self {
            Self::Unjoined(pairs) => at..at + pairs.piece_len(&text[at..]),
            Self::Words { ideographs } => next_word(text.as_bytes(), at, *ideographs),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Blank,
    Sign,
}

/// What each byte is to BERT's splitter. Control characters are no border: the tokenizer may take
/// them out, and then what stands around them is one word.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Word; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_punctuation() {
            classes[byte] = Class::Sign;
        } else if matches!(byte as u8, b' ' | b'\t' | b'\n' | b'\r') {
            classes[byte] = Class::Blank;
        }
        byte += 1;
    }
    classes
};

fn next_word(bytes: &[u8], mut at: usize, ideographs: bool) -> Range<usize> {
    let class = |at: usize| CLASSES[usize::from(bytes[at])];
    while at < bytes.len() && class(at) == Class::Blank {
        at += 1;
    }
    let start = at;
    if at < bytes.len() && class(at) == Class::Sign {
        return start..at + 1;
    }
    while at < bytes.len() && class(at) == Class::Word {
        if ideographs && is_ideograph(&bytes[at..]) {
            return if at == start { start..at + 3 } else { start..at };
        }
        at += 1;
    }
    start..at
}

/// True if a character from U+4E00 to U+9FBF starts here: one that stands for itself in every
/// normal form.
#[inline]
fn is_ideograph(bytes: &[u8]) -> bool {
    match bytes {
        [0xE4, second, _, ..] => *second >= 0xB8,
        [0xE5..=0xE8, _, _, ..] => true,
        [0xE9, second, _, ..] => *second <= 0xBE,
        _ => false,
    }
}

/// The pairs of neighbouring characters that some token joins; a space is `▁`.
#[derive(Default)]
pub(super) struct Pairs {
    /// Row: the first character, bit: the second; the spaces' row and bit are those of `▁`.
    ascii: Vec<u128>,
    /// An open-addressed table of the other pairs; 0 is a free slot.
    others: Vec<u64>,
}

impl Pairs {
    /// The pairs inside `products`, the tokens that merges make.
    pub(super) fn new(products: impl IntoIterator<Item = String>) -> Self {
        let mut ascii = vec![0u128; 128];
        let mut others = BTreeSet::new();
        for product in products {
            let characters: Vec<char> = product
                .chars()
                .map(|character| if character == '▁' { ' ' } else { character })
                .collect();
            for pair in characters.windows(2) {
                if pair[0].is_ascii() && pair[1].is_ascii() {
                    ascii[pair[0] as usize] |= 1 << pair[1] as u32;
                } else {
                    others.insert(Self::key(pair[0], pair[1]));
                }
            }
        }
        let mut pairs =
            Self { ascii, others: vec![0; (2 * others.len()).next_power_of_two().max(2)] };
        for key in others {
            let place = pairs.place(key);
            pairs.others[place] = key;
        }
        pairs
    }

    fn key(first: char, second: char) -> u64 {
        u64::from(first as u32) << 32 | u64::from(second as u32)
    }

    /// Where `key` lies, or the free slot where it would.
    fn place(&self, key: u64) -> usize {
        let mask = self.others.len() - 1;
        let mut place = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask;
        while self.others[place] != 0 && self.others[place] != key {
            place = (place + 1) & mask;
        }
        place
    }

    fn are_joined(&self, first: char, second: char) -> bool {
        if first.is_ascii() && second.is_ascii() {
            return self.ascii[first as usize] >> second as u32 & 1 == 1;
        }
        let key = Self::key(first, second);
        key != 0 && self.others[self.place(key)] == key
    }

    /// The length of the first piece of `text`: up to where no token joins the characters.
    fn piece_len(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let Some(&first) = bytes.first() else { return 0 };
        let mut at = 1;
        if first.is_ascii() {
            let mut before = first;
            while let Some(&next) = bytes.get(at).filter(|next| next.is_ascii()) {
                if self.ascii[usize::from(before)] >> next & 1 == 0 {
                    return at;
                }
                before = next;
                at += 1;
            }
            if at == bytes.len() {
                return at;
            }
            at -= 1;
        } else {
            at = 0;
        }
        // From the last ASCII character on, or the first beyond, character by character.
        let mark = |character| if character == '▁' { ' ' } else { character };
        let mut characters = text[at..].char_indices();
        let Some((_, mut before)) = characters.next() else { return text.len() };
        before = mark(before);
        for (place, character) in characters {
            let character = mark(character);
            if !self.are_joined(before, character) {
                return at + place;
            }
            before = character;
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(pieces: &Pieces, text: &'a str) -> Vec<&'a str> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let piece = pieces.next(text, at);
            at = piece.end;
            found.extend(Some(&text[piece]).filter(|piece| !piece.is_empty()));
        }
        found
    }

    #[test]
    fn a_text_is_cut_where_no_token_joins_two_characters() {
        let pairs = Pairs::new(["▁a", "ab", "▁▁", "é▁中", "中文", "bé"].map(str::to_owned));
        let cutter = Pieces::Unjoined(pairs);
        assert_eq!(
            pieces(&cutter, "ab  ab\n\nba▁ é 中文é中babé é"),
            ["ab", "  ab", "\n", "\n", "b", "a", "▁ ", "é 中文", "é", "中", "b", "abé ", "é"]
        );
        assert!(pieces(&cutter, "").is_empty());
        let none = Pieces::Unjoined(Pairs::new([]));
        assert_eq!(pieces(&none, "a\0é"), ["a", "\0", "é"]);
    }

    #[test]
    fn words_end_at_blanks_signs_and_ideographs() {
        let text = "  It's naïve,\tx\u{b}y 中文é中。\n[SEP] \u{9fbf}\u{3400}a\u{f900} ";
        let apart = Pieces::Words { ideographs: true };
        assert_eq!(
            pieces(&apart, text),
            [
                "It",
                "'",
                "s",
                "naïve",
                ",",
                "x\u{b}y",
                "中",
                "文",
                "é",
                "中",
                "。",
                "[",
                "SEP",
                "]",
                "\u{9fbf}",
                "\u{3400}a\u{f900}"
            ]
        );
        let together = Pieces::Words { ideographs: false };
        assert_eq!(pieces(&together, "中文é中。 a"), ["中文é中。", "a"]);
    }
}
