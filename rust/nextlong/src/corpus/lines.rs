//! JSON lines: a file cut into blocks of whole lines, and such a block parsed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memchr_iter, memrchr};

use super::documents::{BadRow, Documents, Reason};
use super::json::{self, Wanted};
use super::rows::Place;
use super::{Input, InputFile, Kind, Settings};
use crate::error::{Error, Result};
use crate::progress::Progress;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Between two looks at the stop flag.
const STEP_BYTES: usize = 4 << 20;
/// Of a line that is not held, for its quarantine entry.
const HEAD_BYTES: usize = 800;

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
    source: Box<dyn Read + Send>,
    block_bytes: usize,
    line_limit: usize,
    /// Bytes read and not yet given out.
    carry: Vec<u8>,
    row: i64,
    offset: u64,
    ended: bool,
}

impl LineReader {
    pub fn open(file: InputFile, settings: &Settings, block_bytes: usize) -> Result<Self> {
        let opened = File::open(&file.path).map_err(Error::io(&file.path))?;
        let source: Box<dyn Read + Send> = match file.kind {
            Kind::JsonlGzip => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 18, opened)))
            }
            Kind::JsonlZstd => {
                let mut decoder = zstd::Decoder::new(opened).map_err(Error::io(&file.path))?;
                // What `zstd --long=31` writes is read too.
                decoder.window_log_max(31).map_err(Error::io(&file.path))?;
                Box::new(decoder)
            }
            _ => Box::new(opened),
        };
        Ok(Self {
            file,
            source,
            block_bytes: block_bytes.max(1),
            line_limit: settings.line_limit(),
            carry: Vec::new(),
            row: 0,
            offset: 0,
            ended: false,
        })
    }

    /// The next whole lines: those that end within the block size, or one line that does not.
    pub fn next(&mut self, progress: &Progress) -> Result<Option<Lines>> {
        let mut data = Vec::with_capacity(self.block_bytes.max(self.carry.len()));
        data.append(&mut self.carry);
        self.fill(&mut data, self.block_bytes, progress)?;
        if data.is_empty() {
            return Ok(None);
        }
        if self.offset == 0 {
            self.refuse_array(&data)?;
        }
        let window = data.len().min(self.block_bytes);
        let cut = if self.ended && data.len() <= self.block_bytes {
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
        self.row += memchr_iter(b'\n', &lines.data).count() as i64;
        self.offset += cut as u64;
        Ok(Some(lines))
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
            if data.len() > self.line_limit {
                return Ok(None);
            }
            searched = data.len();
            self.fill(data, searched + self.block_bytes.clamp(1 << 16, STEP_BYTES), progress)?;
        }
    }

    /// Passes a line that is too long, whose beginning is `data`.
    fn skip_line(&mut self, mut data: Vec<u8>, progress: &Progress) -> Result<Lines> {
        let mut length = data.len() as u64;
        data.truncate(HEAD_BYTES);
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
        }
        let lines = Lines { row: self.row, offset: self.offset, data, cut_off: true };
        self.row += 1;
        self.offset += length;
        Ok(lines)
    }

    /// Reads on until `data` holds `target` bytes or the input ends.
    fn fill(&mut self, data: &mut Vec<u8>, target: usize, progress: &Progress) -> Result<()> {
        while data.len() < target && !self.ended {
            progress.check()?;
            let missing = (target - data.len()).min(STEP_BYTES);
            let read = (&mut self.source).take(missing as u64).read_to_end(data);
            match read {
                Ok(read) => self.ended = read < missing,
                Err(error) if error.raw_os_error().is_some() || self.file.kind == Kind::Jsonl => {
                    return Err(Error::io(&self.file.path)(error));
                }
                Err(error) => {
                    let bytes = self.offset + data.len() as u64;
                    return Err(Error::Corpus(format!(
                        "{}: the compressed data is cut off or damaged after {bytes} bytes of \
                         text, {} lines ({error}); mend the file or leave it out",
                        self.file.input.name,
                        self.row + memchr_iter(b'\n', data).count() as i64,
                    )));
                }
            }
        }
        Ok(())
    }

    /// One array over the whole file would only give one bad row a line.
    fn refuse_array(&self, data: &[u8]) -> Result<()> {
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

/// Parses the lines of one block.
pub(super) fn parse(lines: &Lines, input: &Input, settings: &Settings) -> Documents {
    let wanted = Wanted {
        text: &settings.text_column,
        id: settings.id(),
        score: settings.score_column.as_deref(),
    };
    let limit = settings.line_limit();
    if lines.cut_off {
        let mut documents = Documents::default();
        let reason = Reason::LineTooLong;
        let bad = BadRow::new(&input.name, lines.row, Some(lines.offset), reason, &lines.data);
        documents.push_bad(bad);
        return documents;
    }
    let mut documents = Documents::with_capacity(lines.data.len());
    let mut id = String::new();
    let mut row = lines.row;
    let mut start = 0;
    while start < lines.data.len() {
        let rest = &lines.data[start..];
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        let offset = lines.offset + start as u64;
        let mut line = &rest[..length];
        if offset == 0 {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if !line.trim_ascii().is_empty() {
            id.clear();
            let record = if length > limit {
                Err(Reason::LineTooLong)
            } else {
                simdutf8::basic::from_utf8(line)
                    .map_err(|_| Reason::InvalidUtf8)
                    .and_then(|line| json::record(line, wanted, documents.pending(), &mut id))
            };
            let place = Place { input, row, offset: Some(offset) };
            documents.settle(settings, place, record, &id, line);
        }
        row += 1;
        start += length + 1;
    }
    documents
}
