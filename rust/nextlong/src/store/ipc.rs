//! Arrow IPC files of the run directory: written atomically, read memory-mapped, never trusted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, root_as_footer, root_as_message};

use crate::error::{Error, Result};
use crate::store::atomic;

/// Writes `batches` of one schema as an Arrow IPC file, which appears when it is complete.
///
/// # Errors
///
/// What the file system or arrow reports.
pub fn write(path: &Path, schema: &Schema, batches: &[RecordBatch]) -> Result<()> {
    atomic::write_with(path, |writer| {
        let failed = |error: ArrowError| match error {
            ArrowError::IoError(_, source) => Error::Io { path: path.to_owned(), source },
            other => Error::Run(format!("{}: {other}", path.display())),
        };
        let mut ipc = FileWriter::try_new(writer, schema).map_err(failed)?;
        for batch in batches {
            ipc.write(batch).map_err(failed)?;
        }
        ipc.finish().map_err(failed)
    })
}

/// The record batches of an Arrow IPC file, memory-mapped without a copy.
///
/// Lengths, offsets and UTF-8 are checked before anything is returned.
///
/// # Errors
///
/// [`Error::Run`] for a file that is damaged or has another schema, [`Error::Io`] for one that
/// cannot be read.
pub fn map(path: &Path, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    map_either(path, &[schema])
}

/// As [`map()`], of a file that has one of `schemas`.
///
/// # Errors
///
/// As [`map()`].
pub fn map_either(path: &Path, schemas: &[&SchemaRef]) -> Result<Vec<RecordBatch>> {
    let broken = |what: &str| Error::Run(format!("{}: {what}; make the run again", path.display()));
    let damaged = |error: ArrowError| broken(&format!("damaged ({error})"));
    let buffer = Buffer::from(atomic::map(path)?);
    if buffer.len() < 16 || &buffer[..6] != b"ARROW1" {
        return Err(broken("not an Arrow IPC file"));
    }
    let trailer = buffer.len() - 10;
    let footer_length =
        read_footer_length(buffer[trailer..].try_into().map_err(|_| broken("cut off"))?)
            .map_err(damaged)?;
    let start = trailer.checked_sub(footer_length).ok_or_else(|| broken("cut off"))?;
    let footer = root_as_footer(&buffer[start..trailer]).map_err(|_| broken("damaged footer"))?;
    let found = footer.schema().ok_or_else(|| broken("no schema"))?;
    let found = Arc::new(try_fb_to_schema(found).map_err(damaged)?);
    if schemas.iter().all(|schema| found.fields() != schema.fields()) {
        return Err(broken("its columns are not the expected ones"));
    }
    let decoder = FileDecoder::new(found, footer.version());
    let mut batches = Vec::new();
    for block in footer.recordBatches().into_iter().flatten() {
        let length = usize::try_from(block.bodyLength())
            .ok()
            .and_then(|body| usize::try_from(block.metaDataLength()).ok()?.checked_add(body));
        let offset = usize::try_from(block.offset()).ok();
        let (Some(offset), Some(length)) = (offset, length) else {
            return Err(broken("damaged block list"));
        };
        if offset.checked_add(length).is_none_or(|end| end > start) {
            return Err(broken("a block passes the end of the file"));
        }
        let data = buffer.slice_with_length(offset, length);
        check_buffers(&data, block)
            .ok_or_else(|| broken("a buffer passes the end of its block"))?;
        // The decoder checks what it decodes; if it misses something, it panics on a safe slice.
        let decoded = catch_unwind(AssertUnwindSafe(|| decoder.read_record_batch(block, &data)));
        let decoded = decoded.map_err(|_| broken("damaged"))?;
        batches.extend(decoded.map_err(damaged)?);
    }
    Ok(batches)
}

/// True if every buffer that the batch of `block` names is inside it; None if one is not.
fn check_buffers(data: &[u8], block: &Block) -> Option<()> {
    let (head, body) = data.split_at_checked(usize::try_from(block.metaDataLength()).ok()?)?;
    // The message follows its length, which since format version 5 follows four bytes 0xFF.
    let head = head.strip_prefix(&[0xff; 4]).unwrap_or(head);
    let message = root_as_message(head.get(4..)?).ok()?;
    for buffer in message.header_as_record_batch()?.buffers()? {
        let offset = usize::try_from(buffer.offset()).ok()?;
        let end = offset.checked_add(usize::try_from(buffer.length()).ok()?)?;
        if end > body.len() {
            return None;
        }
    }
    Some(())
}
