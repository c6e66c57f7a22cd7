//! Encodes the pieces of a text that no token can join, and remembers their ids.
//!
//! A SentencePiece-style BPE (Llama 2, Mistral) takes a whole text as one word and merges its way
//! through it. But every token it makes is the product of some merge: where two neighbouring
//! characters stand side by side in no product, no merge can join them, and the text may be cut
//! there without changing an id. The pieces are about words, and most of them come again.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

/// Words longer than this are not remembered.
const LONGEST: usize = 64;
/// The slots of the table, a power of two: 4 MB.
const SLOTS: usize = 1 << 18;
/// The table is emptied when this many slots are taken.
const FULL: usize = SLOTS / 2;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// Where the word lies in `letters`.
    word: u32,
    /// Where its ids lie in `ids`.
    ids: u32,
    word_len: u8,
    ids_len: u8,
}

/// The ids of the words seen last, of one thread.
#[derive(Default)]
pub(super) struct Words {
    /// Empty until the first word is remembered; a slot with `word_len` 0 is free.
    slots: Vec<Slot>,
    letters: Vec<u8>,
    ids: Vec<u32>,
    taken: usize,
}

impl Words {
    /// Appends the ids of `word` to `out`, asking `encode` for them if the word is new.
    pub(super) fn encode<E>(
        &mut self,
        word: &str,
        out: &mut Vec<u32>,
        encode: impl FnOnce(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<(), E> {
        if word.len() > LONGEST {
            return encode(word, out);
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let hash = xxh3_64(word.as_bytes());
        let mut place = hash as usize % SLOTS;
        let hash = (hash >> 32) as u32;
        loop {
            let slot = self.slots[place];
            if slot.word_len == 0 {
                break;
            }
            if slot.hash == hash && slot.word_len as usize == word.len() {
                let start = slot.word as usize;
                if &self.letters[start..start + word.len()] == word.as_bytes() {
                    let start = slot.ids as usize;
                    out.extend_from_slice(&self.ids[start..start + slot.ids_len as usize]);
                    return Ok(());
                }
            }
            place = (place + 1) % SLOTS;
        }
        let before = out.len();
        encode(word, out)?;
        self.remember(place, hash, word, &out[before..]);
        Ok(())
    }

    fn remember(&mut self, place: usize, hash: u32, word: &str, ids: &[u32]) {
        let Ok(ids_len) = u8::try_from(ids.len()) else { return };
        if self.taken == FULL {
            *self = Self::default();
            return;
        }
        self.slots[place] = Slot {
            hash,
            word: self.letters.len() as u32,
            ids: self.ids.len() as u32,
            word_len: word.len() as u8,
            ids_len,
        };
        self.letters.extend_from_slice(word.as_bytes());
        self.ids.extend_from_slice(ids);
        self.taken += 1;
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

    /// Cuts `text` wherever no token joins the characters; the pieces joined are the text.
    pub(super) fn split<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (piece, after) = rest.split_at(self.piece_len(rest));
            rest = after;
            Some(piece)
        })
    }

    fn piece_len(&self, text: &str) -> usize {
        let mark = |character| if character == '▁' { ' ' } else { character };
        let mut characters = text.char_indices();
        let Some((_, mut before)) = characters.next() else { return 0 };
        before = mark(before);
        for (place, character) in characters {
            let character = mark(character);
            if !self.are_joined(before, character) {
                return place;
            }
            before = character;
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_no_token_joins_two_characters() {
        let pairs = Pairs::new(["▁a", "ab", "▁▁", "é▁中", "中文"].map(str::to_owned));
        let pieces: Vec<&str> = pairs.split("ab  ab\n\nba▁ é 中文é中b").collect();
        assert_eq!(pieces, ["ab", "  ab", "\n", "\n", "b", "a", "▁ ", "é 中文", "é", "中", "b"]);
        assert_eq!(pairs.split("").count(), 0);
        assert_eq!(Pairs::new([]).split("a\0é").collect::<Vec<_>>(), ["a", "\0", "é"]);
    }

    #[test]
    fn a_word_is_encoded_once_and_remembered_until_the_table_is_full() {
        let mut words = Words::default();
        let mut out = Vec::new();
        let mut asked = 0;
        for round in 0..2 {
            for number in 0..FULL as u32 {
                words
                    .encode(&format!("w{number}"), &mut out, |_, out| {
                        asked += 1;
                        out.extend([number, number]);
                        Ok::<(), ()>(())
                    })
                    .expect("encoded");
                assert_eq!(out, [number, number], "round {round}");
                out.clear();
            }
        }
        assert_eq!(asked, FULL);
        words.encode("new", &mut out, |_, _| Ok::<(), ()>(())).expect("encoded");
        assert_eq!(words.taken, 0);
    }
}
