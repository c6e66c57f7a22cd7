//! Lines that many documents share: headings, navigation, licences. They say nothing of the topic.
//!
//! In: a sample of documents. Out: the lines to leave out of the text that is embedded. The chunks
//! themselves keep them.

use std::iter;

use memchr::memchr_iter;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::parallel;
use crate::progress::Progress;
use crate::seed;

/// Documents that are examined, at most.
const DOCUMENTS: usize = 4096;
/// Bytes of a document that are examined, at most.
const DOCUMENT_BYTES: usize = 1 << 18;
/// A line of fewer documents is never boilerplate, however few there are in all.
const MIN_DOCUMENTS: usize = 8;
/// Documents that one thread takes at a time.
const BLOCK: usize = 64;

/// The lines to leave out, by the hash of their text without ASCII white space around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Boilerplate {
    /// Sorted.
    hashes: Vec<u64>,
    /// A bit for the length in bytes, modulo 64, of every line.
    lengths: u64,
}

impl Boilerplate {
    /// Finds the lines that more than `share` of `documents` documents contain, on a seeded sample of
    /// them; `text` gives the chunks of a document.
    pub(super) fn find<'t, I: Iterator<Item = &'t str>>(
        documents: usize,
        share: f64,
        seed: u64,
        text: impl Fn(usize) -> I + Sync,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let sample = seed::sample(seed, "embed boilerplate", documents, DOCUMENTS);
        let limit = (share * sample.len() as f64).floor() as usize;
        let limit = limit.max(MIN_DOCUMENTS - 1);
        if sample.len() <= limit {
            return Ok(Self::default());
        }
        let found = parallel::map_parts(sample.chunks(BLOCK), threads, |_, documents| {
            progress.check()?;
            let mut all = Vec::new();
            for &document in documents {
                let before = all.len();
                let mut left = DOCUMENT_BYTES;
                for chunk in text(document) {
                    let lines = chunk.as_bytes().split(|&byte| byte == b'\n');
                    let lines = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
                    all.extend(lines.map(|line| (xxh3_64(line), line.len() as u8)));
                    if chunk.len() >= left {
                        break;
                    }
                    left -= chunk.len();
                }
                // Each line once a document.
                all[before..].sort_unstable();
                let mut own = all.split_off(before);
                own.dedup();
                all.append(&mut own);
            }
            Ok(all)
        })?;
        let mut all = found.concat();
        all.sort_unstable();
        let mut boilerplate = Self::default();
        for same in all.chunk_by(|a, b| a == b).filter(|same| same.len() > limit) {
            boilerplate.hashes.push(same[0].0);
            boilerplate.lengths |= 1 << (same[0].1 & 63);
        }
        boilerplate.hashes.dedup();
        Ok(boilerplate)
    }

    /// The lines of a saved model.
    pub(super) fn from_saved(mut hashes: Vec<u64>, lengths: u64) -> Self {
        hashes.sort_unstable();
        Self { hashes, lengths }
    }

    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    pub(super) fn lengths(&self) -> u64 {
        self.lengths
    }

    /// The parts of `text` that are embedded: all lines but boilerplate, or the whole text when
    /// nothing else is in it.
    pub(super) fn rest<'t>(&self, text: &'t str) -> Rest<'t> {
        if self.hashes.is_empty() {
            return Rest::Whole(iter::once(text));
        }
        let bytes = text.as_bytes();
        let mut parts = Vec::new();
        let (mut start, mut at) = (0, 0);
        for end in memchr_iter(b'\n', bytes).map(|end| end + 1).chain([bytes.len()]) {
            if self.contains(bytes[at..end].trim_ascii()) {
                parts.push(&text[start..at]);
                start = end;
            }
            at = end;
        }
        if start == 0 && parts.is_empty() {
            return Rest::Whole(iter::once(text));
        }
        parts.push(&text[start..]);
        if !parts.iter().any(|part| part.contains(char::is_alphanumeric)) {
            return Rest::Whole(iter::once(text));
        }
        Rest::Parts(parts.into_iter())
    }

    fn contains(&self, line: &[u8]) -> bool {
        self.lengths >> (line.len() & 63) & 1 == 1
            && self.hashes.binary_search(&xxh3_64(line)).is_ok()
    }
}

/// The parts of one text: see [`Boilerplate::rest`].
pub(super) enum Rest<'t> {
    Whole(iter::Once<&'t str>),
    Parts(std::vec::IntoIter<&'t str>),
}

impl<'t> Iterator for Rest<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        match self {
            Self::Whole(text) => text.next(),
            Self::Parts(parts) => parts.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(documents: &[String], share: f64, threads: usize) -> Boilerplate {
        let text = |document: usize| iter::once(&*documents[document]);
        let progress = Progress::default();
        Boilerplate::find(documents.len(), share, 0, text, threads, &progress).expect("found")
    }

    fn documents() -> Vec<String> {
        (0..100).map(|n| format!("Contents\n\nA line of document {n}\n  Next page \n")).collect()
    }

    #[test]
    fn lines_of_many_documents_are_left_out() {
        let found = find(&documents(), 0.5, 2);
        let rest = |text| found.rest(text).collect::<Vec<_>>().concat();
        assert_eq!(rest("Contents\nwater\nNext page\r\nrivers\nContents"), "water\nrivers\n");
        assert_eq!(rest("no such line"), "no such line");
        assert_eq!(rest("Contents\nNext page"), "Contents\nNext page", "nothing else is in it");
        assert_eq!(rest(""), "");
        assert_eq!(find(&documents(), 0.5, 1), found);
    }

    #[test]
    fn a_share_of_one_and_few_documents_leave_every_line() {
        assert_eq!(find(&documents(), 1.0, 1), Boilerplate::default());
        assert_eq!(find(&documents()[..MIN_DOCUMENTS - 1], 0.0, 1), Boilerplate::default());
    }

    proptest::proptest! {
        #[test]
        fn only_whole_lines_are_left_out(lines in proptest::collection::vec("Contents|[a-z ]{0,6}", 0..9)) {
            let found = find(&documents(), 0.5, 1);
            let text = lines.join("\n");
            let rest: String = found.rest(&text).collect();
            let expected: Vec<&str> = lines.iter().map(|line| &**line).filter(|line| line.trim() != "Contents").collect();
            if expected.iter().all(|line| line.trim().is_empty()) {
                proptest::prop_assert_eq!(rest, text);
            } else {
                let mut kept: Vec<&str> = rest.split('\n').collect();
                // A text that ends with boilerplate ends with the line break before it.
                if lines.last().is_some_and(|line| line.trim() == "Contents") { kept.pop(); }
                proptest::prop_assert_eq!(kept, expected);
            }
        }
    }
}
