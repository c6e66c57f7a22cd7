//! Parquet files: the wanted columns, row group by row group.

use std::fs::File;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::batches::{BatchReader, Columns};
use super::{InputFile, Settings};
use crate::error::{Error, Result};

/// Opens a file and prepares reading its wanted columns.
pub(super) fn open(
    file: &InputFile,
    settings: &Settings,
    block_bytes: usize,
) -> Result<BatchReader> {
    let name = &file.input.name;
    let damaged = |error: ParquetError| {
        Error::Corpus(format!(
            "{name}: no Parquet file, or a damaged one ({error}); mend the file or leave it out"
        ))
    };
    let opened = File::open(&file.path).map_err(Error::io(&file.path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(damaged)?;
    let columns = Columns::find(&file.input, builder.schema(), settings)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.roots());
    // The bytes of an average row, so that a batch is an eighth of a block.
    let (mut bytes, mut rows) = (0, 0);
    for group in builder.metadata().row_groups() {
        rows += group.num_rows().max(0) as u64;
        for leaf in group.columns() {
            let path = leaf.column_path().parts();
            if path.first().is_some_and(|root| *root == settings.text_column) {
                bytes += leaf.uncompressed_size().max(0) as u64;
            }
        }
    }
    let average = (bytes / rows.max(1)).max(1);
    let batch_rows = (block_bytes as u64 / 8 / average).clamp(1, 1 << 16) as usize;
    let builder = builder.with_projection(mask).with_batch_size(batch_rows);
    let reader = builder.build().map_err(damaged)?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    BatchReader::new(file.input.clone(), &schema, Box::new(reader), settings, block_bytes)
}
