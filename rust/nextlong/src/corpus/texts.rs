//! Plain-text files: each is one document; small ones share a block.

use std::fs::File;
use std::io::Read;

use super::documents::{BadRow, Documents, Reason};
use super::rows::{Field, Names, Place, Record};
use super::{BYTE_ORDER_MARK, Input, InputFile, Settings, unreadable};
use crate::error::Result;

/// The bytes of one text file, or only its head when it is too long to be used.
pub(super) struct TextFile {
    pub input: Input,
    pub data: Vec<u8>,
    too_long: bool,
}

/// Reads a file; of one over the limit only the head.
pub(super) fn read(file: InputFile, settings: &Settings) -> Result<TextFile> {
    let opened = File::open(&file.path).map_err(unreadable(&file))?;
    let length = opened.metadata().map_err(unreadable(&file))?.len();
    // A mark at its start does not count.
    let limit = settings.max_document_bytes.saturating_add(3);
    let mut data = Vec::with_capacity(length.min(limit) as usize);
    opened.take(limit.saturating_add(1)).read_to_end(&mut data).map_err(unreadable(&file))?;
    let too_long = data.len() as u64 > limit;
    if too_long {
        data.truncate(800);
        data.shrink_to_fit();
    }
    Ok(TextFile { input: file.input, data, too_long })
}

/// Makes each file a document or a bad row.
pub(super) fn parse(files: &[TextFile], settings: &Settings) -> Documents {
    let mut documents = Documents::with_capacity(files.iter().map(|file| file.data.len()).sum());
    for TextFile { input, data, too_long } in files {
        let bytes = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
        let text = if *too_long {
            Err(Reason::TextTooLong)
        } else {
            std::str::from_utf8(bytes).map_err(|_| Reason::InvalidUtf8)
        };
        match text {
            Ok(text) => {
                documents.pending(text);
                // The whole file is the document: its label is the id, without a row.
                let record =
                    Record { text: Field::Found(()), id: Field::Found(()), ..Record::MISSING };
                let names = Names { id: &input.label, source: "" };
                let place = Place { input, row: 0, offset: Some(0) };
                documents.settle(settings, place, Ok(record), names, bytes);
            }
            Err(reason) => {
                documents.push_bad(BadRow::new(&input.name, 0, Some(0), reason, bytes));
            }
        }
    }
    documents
}
