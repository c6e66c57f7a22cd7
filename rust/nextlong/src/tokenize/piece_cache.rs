//! Remembers the ids of pieces, most of which occur again and again.
//!
//! In: a piece of a text, and a function that encodes it. Out: its ids. Two tables: a small one for short
//! pieces with few ids, found with one look, and a large one for all.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// Maximum length of a piece in the small table, in bytes.
const SHORT_BYTES: usize = 16;
/// Sets of the small table, a power of two: 1 MB.
const SETS: usize = 1 << 14;
/// Maximum number of ids of a piece in the small table.
const SHORT_IDS: usize = 3;

/// A short piece and its ids; free if `len` is 0.
#[derive(Clone, Copy, Default)]
struct ShortPiece {
    piece: u128,
    ids: [u32; SHORT_IDS],
    ids_len: u8,
    len: u8,
}

/// The ids of the pieces seen last, of one thread.
#[derive(Default)]
pub(super) struct PieceCache {
    /// Sets of two, the one used last first; empty before the first piece.
    short: Vec<[ShortPiece; 2]>,
    all: LargeTable,
}

impl PieceCache {
    /// Appends the ids of the piece `text[place]` to `out`; calls `encode` for a new piece.
    pub(super) fn encode<E>(
        &mut self,
        text: &str,
        place: Range<usize>,
        out: &mut Vec<u32>,
        encode: impl FnOnce(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let len = place.len();
        if len > SHORT_BYTES || len == 0 {
            return self.all.encode(&text[place], out, encode);
        }
        if self.short.is_empty() {
            self.short.resize(SETS, <[ShortPiece; 2]>::default());
        }
        let piece = load(text.as_bytes(), place.start) & u128::MAX >> (128 - 8 * len);
        let [first, second] = &mut self.short[set_of(piece)];
        let before = out.len();
        if first.piece == piece && usize::from(first.len) == len {
            out.extend_from_slice(&first.ids);
            out.truncate(before + usize::from(first.ids_len));
            return Ok(());
        }
        if second.piece == piece && usize::from(second.len) == len {
            out.extend_from_slice(&second.ids);
            out.truncate(before + usize::from(second.ids_len));
            std::mem::swap(first, second);
            return Ok(());
        }
        self.all.encode(&text[place], out, encode)?;
        let found = &out[before..];
        if found.len() <= SHORT_IDS {
            let mut ids = [0; SHORT_IDS];
            ids[..found.len()].copy_from_slice(found);
            *second = *first;
            *first = ShortPiece { piece, ids, ids_len: found.len() as u8, len: len as u8 };
        }
        Ok(())
    }
}

/// The sixteen bytes at `at`, zeros after the end.
#[inline]
fn load(bytes: &[u8], at: usize) -> u128 {
    let mut last = [0; SHORT_BYTES];
    let sixteen = bytes[at..].first_chunk::<SHORT_BYTES>().unwrap_or_else(|| {
        last[..bytes.len() - at].copy_from_slice(&bytes[at..]);
        &last
    });
    u128::from_le_bytes(*sixteen)
}

fn set_of(piece: u128) -> usize {
    let mixed = (piece as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ ((piece >> 64) as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(23);
    (mixed.wrapping_mul(0x9FB2_1C65_1E98_DF25) >> 40) as usize % SETS
}

/// Pieces longer than this are not remembered.
const LONGEST: usize = 64;
/// Slots of the large table, a power of two: 4 MB.
const SLOTS: usize = 1 << 18;
/// The table is emptied when this many slots are taken.
const FULL: usize = SLOTS / 2;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// Start of the piece in `letters`.
    piece: u32,
    /// Start of its ids in `ids`.
    ids: u32,
    piece_len: u8,
    ids_len: u8,
}

/// The ids of many pieces.
#[derive(Default)]
struct LargeTable {
    /// Empty before the first piece; a slot with `piece_len` 0 is free.
    slots: Vec<Slot>,
    letters: Vec<u8>,
    ids: Vec<u32>,
    taken: usize,
}

impl LargeTable {
    fn encode<E>(
        &mut self,
        piece: &str,
        out: &mut Vec<u32>,
        encode: impl FnOnce(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<(), E> {
        if piece.len() > LONGEST {
            return encode(piece, out);
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let hash = xxh3_64(piece.as_bytes());
        let mut place = hash as usize % SLOTS;
        let hash = (hash >> 32) as u32;
        loop {
            let slot = self.slots[place];
            if slot.piece_len == 0 {
                break;
            }
            if slot.hash == hash && slot.piece_len as usize == piece.len() {
                let start = slot.piece as usize;
                if &self.letters[start..start + piece.len()] == piece.as_bytes() {
                    let start = slot.ids as usize;
                    out.extend_from_slice(&self.ids[start..start + slot.ids_len as usize]);
                    return Ok(());
                }
            }
            place = (place + 1) % SLOTS;
        }
        let before = out.len();
        encode(piece, out)?;
        self.remember(place, hash, piece, &out[before..]);
        Ok(())
    }

    fn remember(&mut self, place: usize, hash: u32, piece: &str, ids: &[u32]) {
        let Ok(ids_len) = u8::try_from(ids.len()) else { return };
        if self.taken == FULL {
            *self = Self::default();
            return;
        }
        self.slots[place] = Slot {
            hash,
            piece: self.letters.len() as u32,
            ids: self.ids.len() as u32,
            piece_len: piece.len() as u8,
            ids_len,
        };
        self.letters.extend_from_slice(piece.as_bytes());
        self.ids.extend_from_slice(ids);
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_ids_in_both_tables() {
        let mut cache = PieceCache::default();
        let mut rng = crate::seed::Rng::new(1, "words", 0);
        let ids = |word: &str| -> Vec<u32> {
            word.bytes().take(word.len() % 6).map(u32::from).chain([word.len() as u32]).collect()
        };
        let text: String = (0..40_000).map(|_| ['a', 'b', '\0'][rng.below(3) as usize]).collect();
        let mut out = Vec::new();
        for _ in 0..60_000 {
            let start = rng.below(text.len() as u64 - 30) as usize;
            let place = start..start + rng.below(22) as usize;
            out.clear();
            cache
                .encode(&text, place.clone(), &mut out, |word, out| {
                    out.extend(ids(word));
                    Ok::<(), ()>(())
                })
                .expect("encoded");
            assert_eq!(out, ids(&text[place]));
        }
    }

    #[test]
    fn a_piece_is_encoded_once_and_remembered_until_the_table_is_full() {
        let mut cache = LargeTable::default();
        let mut out = Vec::new();
        let mut asked = 0;
        for round in 0..2 {
            for number in 0..FULL as u32 {
                cache
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
        cache.encode("new", &mut out, |_, _| Ok::<(), ()>(())).expect("encoded");
        assert_eq!(cache.taken, 0);
    }
}
