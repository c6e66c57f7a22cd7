//! Remembers the ids of words, for tokenizers that write `▁` for a space (Llama 2, Mistral).
//!
//! Such a tokenizer takes a whole text as one word and merges its way through it. Where no token
//! has a `▁` after another character and none holds a newline with others, no merge can cross from
//! one word to the next or over a newline: encoding word by word gives the same ids, and most
//! words come again.

use xxhash_rust::xxh3::xxh3_64;

/// Words longer than this are not remembered.
const LONGEST: usize = 64;
/// The slots of the table, a power of two: 2 MB.
const SLOTS: usize = 1 << 17;
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

/// Cuts `text` before every space or `▁` that follows another character, and around newlines.
///
/// The pieces joined are the text; a newline is a piece of its own.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (word, after) = rest.split_at(word_len(rest));
        rest = after;
        Some(word)
    })
}

/// The length of the first piece of a text that is not empty.
fn word_len(text: &str) -> usize {
    const MARK: &[u8] = "▁".as_bytes();
    let bytes = text.as_bytes();
    if bytes[0] == b'\n' {
        return 1;
    }
    let mark_len = |at: usize| match bytes[at] {
        b' ' => 1,
        _ if bytes[at..].starts_with(MARK) => MARK.len(),
        _ => 0,
    };
    let mut at = 0;
    while at < bytes.len() && mark_len(at) > 0 {
        at += mark_len(at);
    }
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\n' => break,
            0xE2 if bytes[at..].starts_with(MARK) => break,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_words_with_the_spaces_before_them() {
        let pieces: Vec<&str> = split("a  b\n\n c▁▁d é▁ \n").collect();
        assert_eq!(pieces, ["a", "  b", "\n", "\n", " c", "▁▁d", " é", "▁ ", "\n"]);
        assert_eq!(split("").count(), 0);
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
                assert_eq!(std::mem::take(&mut out), [number, number], "round {round}");
            }
        }
        assert_eq!(asked, FULL);
        words.encode("new", &mut out, |_, _| Ok::<(), ()>(())).expect("encoded");
        assert_eq!(words.taken, 0);
    }
}
