//! Segments of a sequence, and the tokens around and between them.

/// One chunk in a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// The chunk.
    pub chunk: u32,
    /// The meta-chunk that it is, or that it is a negative of, by its number in the document.
    pub meta: u32,
    /// Its similarity to that meta-chunk; NaN for the meta-chunk itself.
    pub score: f32,
    /// The number of its tokens that are in the sequence.
    pub tokens: u32,
    /// The number of characters that these tokens cover, if the segment was cut.
    pub characters: Option<u32>,
}

impl Segment {
    /// A chunk of the document that the sequence extends.
    #[must_use]
    pub fn meta_chunk(chunk: u32, meta: u32) -> Self {
        Self { chunk, meta, score: f32::NAN, tokens: 0, characters: None }
    }

    /// A chunk of another document.
    #[must_use]
    pub fn negative(chunk: u32, meta: u32, score: f32) -> Self {
        Self { chunk, meta, score, tokens: 0, characters: None }
    }

    /// True for a chunk of the document that the sequence extends.
    #[must_use]
    pub fn is_meta(&self) -> bool {
        self.score.is_nan()
    }
}

/// The tokens around and between the chunks of a sequence.
#[derive(Debug, Clone, Default)]
pub struct SpecialTokens {
    /// The id at the start of a sequence.
    pub bos: Option<u32>,
    /// The id at the end of a sequence, and nowhere else.
    pub eos: Option<u32>,
    /// The ids between two chunks.
    pub separator: Vec<u32>,
}

impl SpecialTokens {
    /// The number of tokens left to `chunks` chunks in a sequence of `seq_len`.
    #[must_use]
    pub fn capacity(&self, seq_len: u32, chunks: usize) -> i64 {
        let specials = i64::from(self.bos.is_some()) + i64::from(self.eos.is_some());
        let separators = chunks.saturating_sub(1) as i64 * self.separator.len() as i64;
        i64::from(seq_len) - specials - separators
    }

    /// Cuts what exceeds `seq_len` off the last negatives, or, unless `spare_meta`, off the end;
    /// returns the number of segments cut or dropped.
    ///
    /// What is missing then is at most a separator: assembly adds it at the end.
    pub fn cut(&self, segments: &mut Vec<Segment>, seq_len: u32, spare_meta: bool) -> u64 {
        let total: i64 = segments.iter().map(|segment| i64::from(segment.tokens)).sum();
        let mut over = total - self.capacity(seq_len, segments.len());
        let mut touched = 0;
        while over > 0 && !segments.is_empty() {
            let negative = segments.iter().rposition(|segment| !segment.is_meta());
            let at = negative.filter(|_| spare_meta).unwrap_or(segments.len() - 1);
            touched += 1;
            let tokens = i64::from(segments[at].tokens);
            if over < tokens {
                segments[at].tokens = (tokens - over) as u32;
                break;
            }
            segments.remove(at);
            over -= tokens + self.separator.len() as i64;
        }
        touched
    }
}
