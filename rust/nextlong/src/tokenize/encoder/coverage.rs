//! How many characters of a chunk its first tokens cover.
//!
//! In: a chunk and the first of its ids. Out: the number of characters of the longest prefix that
//! these ids stand for: its normal form is the beginning of the chunk's, and holds nothing of the
//! next token. A character whose bytes or parts lie in several tokens is covered by the last of them.
//! White space that no token holds is covered where a kept token follows it.

use std::ops::Range;

use tokenizers::pipeline::{
    Model, PipelineModel, PipelineModelScratch, PipelineNormalizer, PipelinePatternMatcher,
    PipelineToken, Span, normalize_all,
};

use super::{Encoder, LONG_TEXT_BYTES};
use crate::error::{Error, Result};
use crate::tokenize::boundaries::Kind;
use crate::tokenize::piece_cache::PieceCache;
use crate::tokenize::pieces::Pieces;
use crate::tokenize::pipeline::guarded;
use crate::tokenize::splitter::SplitBuffers;

/// How many characters after the one that bisection finds may still be covered, where a normalizer
/// can make a text shorter by adding to it.
const LOOK_AHEAD: usize = 16;

/// Buffers of the crate's stages, kept between calls.
#[derive(Default)]
pub(super) struct Stages {
    spans: Vec<Span>,
    splitter: SplitBuffers,
    model: PipelineModelScratch,
    tokens: Vec<PipelineToken>,
}

/// What was found in an input.
#[derive(Debug, PartialEq, Eq)]
enum Walked {
    /// Its tokens are others.
    Differs,
    /// The kept tokens end inside it, and cover this number of bytes.
    Inside(usize),
    /// All its tokens are kept, `tokens` in number; without what follows they cover this number of bytes.
    Past { tokens: usize, covered: usize },
}

/// A stretch of an input that is normalized as a whole.
struct Segment<'a> {
    start: usize,
    text: &'a str,
    normal: &'a str,
}

#[derive(Clone, Copy)]
enum Round {
    /// To the last character that lies before the place as a whole.
    Down,
    /// To the first character that begins at the place or after it.
    Up,
}

/// The walk along the tokens of an input.
struct Walk<'a> {
    encoder: &'a Encoder,
    input: &'a str,
    kept: &'a [u32],
    /// How many of them were met.
    seen: usize,
    /// Where the last of them ends.
    end: usize,
}

impl Encoder {
    /// The number of characters of `text` that `kept`, the first of its ids, cover; None if these are
    /// not its first ids.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the text cannot be encoded.
    pub(in crate::tokenize) fn characters_of(
        &self,
        text: &str,
        kept: &[u32],
        scratch: &mut super::Scratch,
    ) -> Result<Option<usize>> {
        if kept.is_empty() {
            return Ok(Some(0));
        }
        if let Some(pieces) = &self.pieces {
            let mut cache = std::mem::take(&mut scratch.cache);
            let outcome = self.characters_by_piece(pieces, text, kept, &mut cache, scratch);
            scratch.cache = cache;
            return outcome;
        }
        self.characters_by_token(text, kept, scratch)
    }

    /// As [`Self::characters_of`], passing quickly over words whose ids are remembered.
    fn characters_by_piece(
        &self,
        pieces: &Pieces,
        text: &str,
        kept: &[u32],
        cache: &mut PieceCache,
        scratch: &mut super::Scratch,
    ) -> Result<Option<usize>> {
        let mut ids = Vec::new();
        let (mut at, mut seen, mut end) = (0, 0, 0);
        while at < text.len() {
            let place = pieces.next(text, at);
            at = place.end;
            ids.clear();
            cache.encode(text, place.clone(), &mut ids, |piece, ids| {
                self.encode_by_cuts(piece, scratch, ids)
            })?;
            let left = &kept[seen..];
            let shared = left.len().min(ids.len());
            if ids[..shared] != left[..shared] {
                return Ok(None);
            }
            seen += shared;
            if shared == ids.len() {
                if shared > 0 {
                    // White space at the end of one of BERT's words is not of a token.
                    let word = &text[place.clone()];
                    let is_held = matches!(pieces, Pieces::Unjoined(_));
                    end = place.start + if is_held { word } else { word.trim_end() }.len();
                }
                continue;
            }
            let before = text[..place.start].chars().count();
            let covered = self.characters_by_token(&text[place.clone()], left, scratch)?;
            let Some(covered) = covered.filter(|_| shared == 0) else {
                return Ok(covered.map(|covered| before + covered));
            };
            // The word begins with characters that no token holds.
            let begins = text[place.start..].char_indices().nth(covered);
            let begins = begins.map_or(text.len(), |(at, _)| place.start + at);
            let covered = end + text[end..begins].trim_end().len();
            return Ok(Some(text[..covered].chars().count()));
        }
        Ok((seen == kept.len()).then(|| text.chars().count()))
    }

    fn characters_by_token(
        &self,
        text: &str,
        kept: &[u32],
        scratch: &mut super::Scratch,
    ) -> Result<Option<usize>> {
        // The same cuts as in `encode`.
        let between_words =
            self.pieces.is_none() && self.openers.is_empty() && self.kind != Kind::Newline;
        let (mut rest, mut kept, mut characters) = (text, kept, 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.kind.cut(rest, LONG_TEXT_BYTES, between_words));
            let stages = &mut scratch.stages;
            let Some(walked) = guarded(|| self.walk_piece(piece, kept, stages)) else {
                scratch.stages = Stages::default();
                return Ok(None);
            };
            let covered = match walked? {
                Walked::Differs => return Ok(None),
                Walked::Inside(covered) => covered,
                Walked::Past { tokens, covered } => {
                    kept = &kept[tokens..];
                    if kept.is_empty() && !after.is_empty() { covered } else { piece.len() }
                }
            };
            characters += piece[..covered].chars().count();
            if covered < piece.len() {
                return Ok(Some(characters));
            }
            rest = after;
            if kept.is_empty() {
                break;
            }
        }
        Ok(kept.is_empty().then_some(characters))
    }

    /// Walks along a piece as it is encoded: after an opener, if chunks are.
    fn walk_piece(&self, piece: &str, kept: &[u32], stages: &mut Stages) -> Result<Walked> {
        for opener in &self.openers {
            let opened = format!("{}{piece}", opener.text);
            let length = opener.text.len();
            match self.walk(&opened, &[&opener.ids, kept].concat(), stages)? {
                // The opener went into the first token, so the piece was encoded after another one.
                Walked::Differs => {}
                Walked::Inside(covered) => {
                    return Ok(Walked::Inside(covered.saturating_sub(length)));
                }
                Walked::Past { tokens, covered } => {
                    let tokens = tokens.saturating_sub(opener.ids.len());
                    return Ok(Walked::Past { tokens, covered: covered.saturating_sub(length) });
                }
            }
        }
        self.walk(piece, kept, stages)
    }

    fn walk(&self, input: &str, kept: &[u32], stages: &mut Stages) -> Result<Walked> {
        let mut walk = Walk { encoder: self, input, kept, seen: 0, end: 0 };
        let added = self.pipeline.tokenizer().get_added_vocabulary();
        let mut at = 0;
        while at < input.len() {
            let found = added.extract_next(input.as_bytes(), at, false, true);
            let text_end = found.map_or(input.len(), |((start, _), _)| start);
            if at < text_end
                && let Some(walked) = walk.segment(at..text_end, stages)?
            {
                return Ok(walked);
            }
            let Some(((start, end), id)) = found else { break };
            let text = &input[start..end];
            let segment = Segment { start, text, normal: text };
            let mut last = None;
            if let Some(walked) = walk.step(&segment, 0..text.len(), &[id], &mut last) {
                return Ok(walked);
            }
            walk.end = end;
            at = end;
        }
        let covered = walk.without_blanks(walk.end, input.len());
        Ok(Walked::Past { tokens: walk.seen, covered })
    }

    /// The place in the text of a segment of a place in its normal form.
    fn place(&self, segment: &Segment<'_>, at: usize, round: Round) -> usize {
        let Segment { start, text, normal } = *segment;
        if text == normal || self.changes_bytes_in_place(text, normal) {
            let mut at = at.min(text.len());
            while !text.is_char_boundary(at) {
                match round {
                    Round::Down => at -= 1,
                    Round::Up => at += 1,
                }
            }
            return at;
        }
        let places: Vec<usize> =
            text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let normalizers = self.pipeline.tokenizer().get_normalizers();
        let form = |number: usize| normalize_all(normalizers, &text[..places[number]], start);
        let length = |number: usize| form(number).map_or(0, |form| form.len());
        let numbers: Vec<usize> = (0..places.len()).collect();
        match round {
            Round::Up => {
                let number = numbers.partition_point(|&number| length(number) < at);
                places[number.min(places.len() - 1)]
            }
            Round::Down => {
                let after = numbers.partition_point(|&number| length(number) <= at);
                let ahead = if normalizers.iter().any(can_shrink) { LOOK_AHEAD } else { 0 };
                let last = (after + ahead).min(places.len());
                let fits = |number: &usize| {
                    *number == 0
                        || form(*number)
                            .is_ok_and(|form| form.len() <= at && normal.starts_with(&*form))
                };
                (0..last).rev().find(fits).map_or(0, |number| places[number])
            }
        }
    }

    /// True if the normal form of an ASCII text has each of its characters at the same place.
    fn changes_bytes_in_place(&self, text: &str, normal: &str) -> bool {
        text.len() == normal.len()
            && text.is_ascii()
            && self.pipeline.tokenizer().get_normalizers().iter().all(|one| {
                matches!(
                    one,
                    PipelineNormalizer::Bert(_)
                        | PipelineNormalizer::Lowercase(_)
                        | PipelineNormalizer::StripAccents(_)
                        | PipelineNormalizer::NFC(_)
                        | PipelineNormalizer::NFD(_)
                        | PipelineNormalizer::NFKC(_)
                        | PipelineNormalizer::NFKD(_)
                )
            })
    }

    /// Where the first `kept` of the tokens `ids` of the word `span` end in it; 0 if they do not spell
    /// it.
    fn end_in_word(&self, span: &str, ids: &[u32], kept: usize) -> usize {
        let bytes = span.as_bytes();
        let mut at = 0;
        for number in 0..kept {
            let Some(length) = self.spelled(&bytes[at..], ids, number) else { return 0 };
            at += length;
        }
        at
    }

    /// How many bytes of `rest` the token `ids[number]` of a word stands for.
    fn spelled(&self, rest: &[u8], ids: &[u32], number: usize) -> Option<usize> {
        let token = self.pipeline.tokenizer().get_model().id_to_token(ids[number])?;
        if let PipelineModel::BPE(model) = self.pipeline.tokenizer().get_model()
            && model.is_byte_level()
        {
            // A printable character for each byte.
            return Some(token.chars().count()).filter(|&length| length <= rest.len());
        }
        if let Some(length) = self.spelling(&token, rest, number > 0, number + 1 == ids.len()) {
            return Some(length);
        }
        if let Some(byte) = byte_named(&token) {
            return rest.first().is_some_and(|&first| first == byte).then_some(1);
        }
        // An unknown token: one character of several unknown ones, or all up to the next token.
        let rest = std::str::from_utf8(rest).ok()?;
        let next = ids.get(number + 1);
        let mut ends = rest.char_indices().map(|(at, _)| at).skip(1).chain([rest.len()]);
        if next == Some(&ids[number]) {
            return ends.next();
        }
        let Some(&next) = next else { return Some(rest.len()) };
        let next = self.pipeline.tokenizer().get_model().id_to_token(next)?;
        ends.find(|&end| {
            let after = &rest.as_bytes()[end..];
            self.spelling(&next, after, true, number + 2 == ids.len()).is_some()
                || byte_named(&next).is_some_and(|byte| after.first() == Some(&byte))
        })
    }

    /// The length of a token's text if `rest` begins with it, with or without what marks its place in a
    /// word.
    fn spelling(&self, token: &str, rest: &[u8], inside: bool, last: bool) -> Option<usize> {
        let (prefix, suffix) = &self.affixes;
        let begins = |text: &str| rest.starts_with(text.as_bytes()).then_some(text.len());
        let mut bare = token;
        if inside && !prefix.is_empty() {
            bare = bare.strip_prefix(prefix.as_str()).unwrap_or(bare);
        }
        if last && !suffix.is_empty() {
            bare = bare.strip_suffix(suffix.as_str()).unwrap_or(bare);
        }
        begins(bare).or_else(|| begins(token)).filter(|&length| length > 0)
    }
}

impl Walk<'_> {
    /// Walks along a stretch without added tokens.
    fn segment(&mut self, raw: Range<usize>, stages: &mut Stages) -> Result<Option<Walked>> {
        let failed = |error: tokenizers::Error| {
            Error::Tokenizer(format!("the characters of a text cannot be found: {error}"))
        };
        let pipeline = self.encoder.pipeline.tokenizer();
        let text = &self.input[raw.clone()];
        let normal = normalize_all(pipeline.get_normalizers(), text, raw.start).map_err(failed)?;
        let segment = Segment { start: raw.start, text, normal: &normal };
        let added = pipeline.get_added_vocabulary();
        // Where the last token met ends in the normal form.
        let mut last = None;
        let mut at = 0;
        while at < normal.len() {
            let found = added.extract_next(normal.as_bytes(), at, true, true);
            let text_end = found.map_or(normal.len(), |((start, _), _)| start);
            if at < text_end {
                let words = &normal[at..text_end];
                let Stages { spans, splitter, model, tokens } = &mut *stages;
                if matches!(model, PipelineModelScratch::None) {
                    *model = pipeline.get_model().init_scratch();
                }
                spans.clear();
                let split = self.encoder.pipeline.split(words, splitter, spans);
                split.map_err(|error| failed(error.into()))?;
                for span in spans.iter().map(|span| span.range()) {
                    tokens.clear();
                    let word = &words[span.clone()];
                    pipeline.get_model().tokenize_pipeline(word, model, tokens).map_err(failed)?;
                    let place = at + span.start..at + span.end;
                    let ids = PipelineToken::cast_slice(tokens);
                    if let Some(walked) = self.step(&segment, place, ids, &mut last) {
                        return Ok(Some(walked));
                    }
                }
            }
            let Some(((start, end), id)) = found else { break };
            if let Some(walked) = self.step(&segment, start..end, &[id], &mut last) {
                return Ok(Some(walked));
            }
            at = end;
        }
        if let Some(last) = last {
            self.end = raw.start
                + if self.seen == self.kept.len() {
                    self.encoder.place(&segment, last, Round::Up)
                } else {
                    text.len()
                };
        }
        Ok(None)
    }

    /// Meets the tokens `ids` of a word, at `place` in the normal form of `segment`.
    fn step(
        &mut self,
        segment: &Segment<'_>,
        place: Range<usize>,
        ids: &[u32],
        last: &mut Option<usize>,
    ) -> Option<Walked> {
        let left = &self.kept[self.seen..];
        let shared = left.len().min(ids.len());
        if ids[..shared] != left[..shared] {
            return Some(Walked::Differs);
        }
        self.seen += shared;
        if shared == ids.len() {
            if shared > 0 {
                *last = Some(place.end);
            }
            return None;
        }
        // The first token that is not kept begins here.
        let mut begins = place.start;
        if shared > 0 {
            let word = &segment.normal[place];
            begins += self.encoder.end_in_word(word, ids, shared);
            *last = Some(begins);
        }
        let end = last
            .map_or(self.end, |last| segment.start + self.encoder.place(segment, last, Round::Up));
        let begins = segment.start + self.encoder.place(segment, begins, Round::Down);
        Some(Walked::Inside(self.without_blanks(end, begins)))
    }

    /// The place `at`, or the one before the white space that ends there and begins after `end`.
    fn without_blanks(&self, end: usize, at: usize) -> usize {
        match self.input.get(end..at) {
            Some(between) => end + between.trim_end().len(),
            None => at,
        }
    }
}

/// True if a normalizer can make a text shorter by what is added to it.
fn can_shrink(normalizer: &PipelineNormalizer) -> bool {
    matches!(normalizer, PipelineNormalizer::Replace(_) | PipelineNormalizer::Precompiled(_))
}

/// The byte that a token such as `<0x0A>` stands for.
fn byte_named(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}
