//! JSON lines: a file cut into blocks of whole lines, and such a block parsed.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use memchr::{memchr, memchr_iter, memrchr};

use super::documents::{BadRow, Documents, Reason};
use super::json::{self, Names, Wanted};
use super::read::Place;
use super::unpack::Source;
use super::{
    BYTE_ORDER_MARK, FREE_BYTES, HEAD_BYTES, Input, InputFile, Kind, Settings, check_growth,
    unreadable,
};
use super::{buffer_pool, rows};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The most by which a line that does not end is read on at once.
const MOST_FURTHER: usize = 4 << 20;
/// Of text that is passed, unheld.
const PASSED_STEP: usize = 1 << 18;
/// Of a line that is not held, for its quarantine entry.
const SHOWN_BYTES: usize = 800;
/// So much of a file may be passed, unheld, before its growth counts.
const FREE_PASSED_BYTES: u64 = 1 << 36;
/// The first bytes of files of other kinds.
const MARKS: [(&[u8], &str); 4] = [
    (b"\x1F\x8B", "gzip (.gz)"),
    (b"\x28\xB5\x2F\xFD", "Zstandard (.zst)"),
    (b"PAR1", "Parquet (.parquet)"),
    (b"ARROW1", "Arrow IPC; write it as Parquet (.parquet)"),
];

/// Whole lines of one input.
pub(super) struct Lines {
    pub row: i64,
    pub offset: u64,
    pub data: Vec<u8>,
    /// The data is only the head of one line that is too long to be held.
    pub cut_off: bool,
}

/// Reads one file, decompresses it and cuts it at line ends.
pub(super) struct LineReader {
    file: InputFile,
    source: Source,
    settings: Settings,
    block_bytes: usize,
    most_held: usize,
    /// Bytes of text from the file, and those of lines that were passed.
    unpacked: u64,
    passed: u64,
    /// Bytes of text that earlier blocks held.
    to_pass: u64,
    /// Bytes read and not yet given out.
    carry: Vec<u8>,
    /// The line ends in what was read and not yet given out.
    line_ends: i64,
    row: i64,
    offset: u64,
    /// Where the file itself was entered.
    entered: u64,
    ended: bool,
}

impl LineReader {
    /// Opens a file at its beginning, or where an earlier block of it ended.
    pub fn open(
        file: InputFile,
        settings: &Settings,
        block_bytes: usize,
        most_held: usize,
        from: Place,
    ) -> Result<Self> {
        let mut opened = File::open(&file.path).map_err(unreadable(&file))?;
        if file.kind == Kind::Jsonl && from.at > 0 {
            opened.seek(SeekFrom::Start(from.at)).map_err(unreadable(&file))?;
        }
        let source = Source::new(opened, file.kind).map_err(unreadable(&file))?;
        let to_pass = if file.kind == Kind::Jsonl { 0 } else { from.at };
        Ok(Self {
            file,
            source,
            settings: settings.clone(),
            block_bytes: block_bytes.max(1),
            most_held,
            unpacked: 0,
            passed: 0,
            to_pass,
            carry: Vec::new(),
            line_ends: 0,
            row: from.row,
            offset: from.at,
            entered: from.at - to_pass,
            ended: false,
        })
    }

    /// The byte of the file at which it was entered.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    /// Bytes of the file for the lines returned so far.
    pub fn consumed(&self) -> u64 {
        let packed = u128::from(self.source.taken());
        let given = u128::from(self.offset - self.entered);
        self.entered + (packed * given / u128::from(self.unpacked.max(1))) as u64
    }

    /// The start of the next block; None at the end of the file.
    pub fn place(&self) -> Option<Place> {
        let at_end = self.ended && self.carry.is_empty();
        (!at_end).then_some(Place { row: self.row, at: self.offset })
    }

    /// Passes what earlier blocks held of a compressed file, which has no other way in.
    fn pass(&mut self, progress: &Progress) -> Result<()> {
        let mut piece = Vec::new();
        while self.to_pass > 0 && !self.ended {
            piece.clear();
            let step = usize::try_from(self.to_pass).unwrap_or(usize::MAX).min(PASSED_STEP);
            self.fill(&mut piece, step, progress)?;
            self.to_pass -= piece.len() as u64;
            self.passed += piece.len() as u64;
            self.line_ends = 0;
        }
        Ok(())
    }

    /// The next whole lines: those that end within the block size, or one line that does not.
    pub fn next(&mut self, progress: &Progress) -> Result<Option<Lines>> {
        self.pass(progress)?;
        // One byte beyond the block tells whether the input ends with it: where blocks end must
        // not depend on where the reading began.
        let target = self.block_bytes.saturating_add(1);
        let mut data = buffer_pool::take(target.max(self.carry.len()));
        data.append(&mut self.carry);
        self.fill(&mut data, target, progress)?;
        if data.is_empty() {
            return Ok(None);
        }
        if self.offset == 0 {
            self.refuse_other_kinds(&data)?;
        }
        let window = data.len().min(self.block_bytes);
        let cut = if data.len() <= self.block_bytes {
            data.len()
        } else if let Some(newline) = memrchr(b'\n', &data[..window]) {
            newline + 1
        } else if let Some(end) = self.first_line_end(&mut data, window, progress)? {
            end
        } else {
            return self.skip_line(data, progress).map(Some);
        };
        self.carry.extend_from_slice(&data[cut..]);
        data.truncate(cut);
        let lines = Lines { row: self.row, offset: self.offset, data, cut_off: false };
        let carried = line_ends(&self.carry);
        self.row += self.line_ends - carried;
        self.line_ends = carried;
        self.offset += cut as u64;
        self.peek(progress)?;
        Ok(Some(lines))
    }

    /// Finds out whether the file ends with what was given out.
    fn peek(&mut self, progress: &Progress) -> Result<()> {
        if self.carry.is_empty() {
            let mut carry = std::mem::take(&mut self.carry);
            self.fill(&mut carry, 1, progress)?;
            self.carry = carry;
        }
        Ok(())
    }

    /// Reads until the first line is whole; none when it passes the limit.
    fn first_line_end(
        &mut self,
        data: &mut Vec<u8>,
        mut searched: usize,
        progress: &Progress,
    ) -> Result<Option<usize>> {
        loop {
            if let Some(newline) = memchr(b'\n', &data[searched..]) {
                return Ok(Some(searched + newline + 1));
            }
            if self.ended {
                return Ok(Some(data.len()));
            }
            if data.len() > HEAD_BYTES && data.len() > self.settings.line_limit(data) {
                return Ok(None);
            }
            if data.len() > self.most_held {
                return Err(Error::Corpus(format!(
                    "{}: line {} has more than the {} bytes that the memory limit leaves for a \
                     line; raise memory_limit, or lower max_document_bytes to below a third of it, \
                     which sets such a line aside",
                    self.file.input.name,
                    self.row + 1,
                    self.most_held,
                )));
            }
            searched = data.len();
            self.fill(data, searched + self.block_bytes.clamp(1 << 16, MOST_FURTHER), progress)?;
        }
    }

    /// Passes a line that is too long, whose beginning is `data`.
    fn skip_line(&mut self, mut data: Vec<u8>, progress: &Progress) -> Result<Lines> {
        let mut length = data.len() as u64;
        data.truncate(SHOWN_BYTES);
        data.shrink_to_fit();
        let mut piece = Vec::new();
        while !self.ended {
            piece.clear();
            self.fill(&mut piece, 1 << 16, progress)?;
            if let Some(newline) = memchr(b'\n', &piece) {
                length += newline as u64 + 1;
                self.carry.extend_from_slice(&piece[newline + 1..]);
                break;
            }
            length += piece.len() as u64;
            self.passed += piece.len() as u64;
        }
        let lines = Lines { row: self.row, offset: self.offset, data, cut_off: true };
        self.line_ends = line_ends(&self.carry);
        self.row += 1;
        self.offset += length;
        self.peek(progress)?;
        Ok(lines)
    }

    /// Reads on until `data` holds `target` bytes or the input ends.
    fn fill(&mut self, data: &mut Vec<u8>, target: usize, progress: &Progress) -> Result<()> {
        while data.len() < target && !self.ended {
            progress.check()?;
            let before = data.len();
            match self.source.read(data, target - before) {
                Ok(read) => {
                    self.ended = read == 0;
                    self.unpacked += read as u64;
                    // Counted while it is still in the cache.
                    self.line_ends += line_ends(&data[before..]);
                    let packed = self.source.taken();
                    let held = self.unpacked - self.passed;
                    check_growth(&self.file.input, packed, held, FREE_BYTES)?;
                    check_growth(&self.file.input, packed, self.unpacked, FREE_PASSED_BYTES)?;
                }
                Err(error) if error.raw_os_error().is_some() || self.file.kind == Kind::Jsonl => {
                    return Err(unreadable(&self.file)(error));
                }
                Err(error) => {
                    let bytes = self.offset + data.len() as u64;
                    return Err(Error::Corpus(format!(
                        "cannot read `{}`: the compressed data is truncated or corrupted after \
                         {bytes} bytes of text, {} lines ({error}); hint: fix or exclude the file",
                        self.file.input.name,
                        self.row + line_ends(data),
                    )));
                }
            }
        }
        Ok(())
    }

    /// A file that is no JSON lines at all would only give one bad row a line.
    fn refuse_other_kinds(&self, data: &[u8]) -> Result<()> {
        if let Some((_, kind)) = MARKS.iter().find(|(mark, _)| data.starts_with(mark)) {
            return Err(Error::Corpus(format!(
                "cannot read `{}`: not JSON Lines but {kind}; hint: rename it accordingly",
                self.file.input.name
            )));
        }
        let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
        let spread = memchr(b'\n', data).is_some_and(|end| data[..end].trim_ascii() == b"[");
        let array = data.trim_ascii_start().first() == Some(&b'[');
        if spread || array && self.is_named_json() {
            return Err(Error::Corpus(format!(
                "{}: holds one JSON value over several lines, not one object a line; rewrite it, \
                 for example with `jq -c '.[]'`",
                self.file.input.name
            )));
        }
        Ok(())
    }

    fn is_named_json(&self) -> bool {
        let name = match self.file.kind {
            Kind::Jsonl => self.file.path.as_path(),
            _ => Path::new(self.file.path.file_stem().unwrap_or_default()),
        };
        name.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("json"))
    }
}

fn line_ends(data: &[u8]) -> i64 {
    memchr_iter(b'\n', data).count() as i64
}

/// Parses the lines of one block; the texts stay where the lines were, moved up.
pub(super) fn parse(lines: Lines, input: &Input, settings: &Settings) -> Documents {
    let wanted = Wanted {
        text: &settings.text_column,
        id: settings.id(),
        score: settings.score_column.as_deref(),
        source: settings.source_column.as_deref(),
    };
    if lines.cut_off {
        let mut documents = Documents::default();
        let reason = Reason::LineTooLong;
        let bad = BadRow::new(&input.name, lines.row, Some(lines.offset), reason, &lines.data);
        documents.push_bad(bad);
        return documents;
    }
    let mut documents = Documents::among(lines.data);
    let (mut names, mut shown) = (Names::default(), Vec::new());
    let mut row = lines.row;
    let mut start = 0;
    loop {
        let (data, filled) = documents.found();
        if start >= data.len() {
            break;
        }
        let end = memchr(b'\n', &data[start..]).map_or(data.len(), |length| start + length);
        let offset = lines.offset + start as u64;
        let mut line = &data[start..end];
        if offset == 0 {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let too_long = end - start > HEAD_BYTES && end - start > settings.line_limit(line);
        if too_long || !line.trim_ascii().is_empty() {
            names.clear();
            // A text may be moved to where its line began.
            shown.clear();
            shown.extend_from_slice(&line[..line.len().min(SHOWN_BYTES)]);
            let begin = end - line.len();
            let record = if too_long {
                Err(Reason::LineTooLong)
            } else if simdutf8::basic::from_utf8(line).is_err() {
                Err(Reason::InvalidUtf8)
            } else {
                json::record(&mut data[..end], begin, wanted, filled, &mut names)
            };
            let place = rows::Place { input, row, offset: Some(offset) };
            documents.settle(settings, place, record, names.as_refs(), &shown);
        }
        row += 1;
        start = end + 1;
    }
    documents.finish();
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_is_shown_as_it_was_though_texts_are_moved() {
        let broken = "{\"text\": \"one\\ntwo\\u00e9\", \"text\": \"three\"} and more";
        let lone = "{\"id\": \"c\", \"text\": \"a long text before \\ud800 half a pair\"}";
        let good = "{\"text\": \"four\", \"id\": 7}";
        let settings = Settings {
            text_column: "text".to_owned(),
            id_column: None,
            score_column: None,
            source_column: None,
            max_document_bytes: 1 << 20,
        };
        let input = Input { number: 0, name: "a".into(), label: "a".into() };
        let data = [broken, good, lone, good].join("\n").into_bytes();
        let lines = Lines { row: 0, offset: 0, data, cut_off: false };
        let documents = parse(lines, &input, &settings);
        let texts: Vec<&str> = documents.iter().map(|(text, _)| text).collect();
        assert_eq!(texts, ["four", "four"]);
        let shown: Vec<(i64, &str)> =
            documents.bad().iter().map(|bad| (bad.row, bad.text.as_str())).collect();
        assert_eq!(shown, [(0, broken), (2, lone)]);
    }

    #[test]
    fn one_column_may_be_text_and_id() {
        let settings = Settings {
            text_column: "text".to_owned(),
            id_column: Some("text".to_owned()),
            score_column: None,
            source_column: None,
            max_document_bytes: 1 << 20,
        };
        let input = Input { number: 0, name: "a".into(), label: "a".into() };
        let data = "{\"text\": \"\\u00e9\\\"x\"}\n".repeat(3).into_bytes();
        let documents = parse(Lines { row: 0, offset: 0, data, cut_off: false }, &input, &settings);
        let found: Vec<(&str, &str)> =
            documents.iter().map(|(text, origin)| (text, origin.doc_id)).collect();
        assert_eq!(found, [("\u{e9}\"x", "\u{e9}\"x"); 3]);
    }
}
