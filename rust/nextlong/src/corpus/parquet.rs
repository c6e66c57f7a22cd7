//! Parquet files: the wanted columns, row group by row group.

use std::fs::File;
use std::sync::Arc;

use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::batches::{BatchReader, Columns};
use super::read::Place;
use super::{InputFile, Settings, columns, unreadable};
use crate::error::{Error, Result};

/// Opens a file and prepares reading its wanted columns, from the row group of `from` on.
pub(super) fn open(
    file: &InputFile,
    settings: &Settings,
    block_bytes: usize,
    from: Place,
) -> Result<BatchReader> {
    let name = &file.input.name;
    let damaged = |error: ParquetError| {
        Error::Corpus(format!(
            "{name}: no Parquet file, or a damaged one ({error}); mend the file or leave it out"
        ))
    };
    let opened = File::open(&file.path).map_err(unreadable(file))?;
    let packed = opened.metadata().map_err(unreadable(file))?.len();
    let options = ArrowReaderOptions::new();
    let metadata = ArrowReaderMetadata::load(&opened, options.clone()).map_err(damaged)?;
    let columns = Columns::find(&file.input, metadata.schema(), settings)?;
    // A page's dictionary may hold one long text for all rows: views share it, strings copy it.
    let mut fields = metadata.schema().fields().to_vec();
    for column in columns.of_texts() {
        if let Some(shared) = columns::shared(fields[column].data_type()) {
            fields[column] = Arc::new(fields[column].as_ref().clone().with_data_type(shared));
        }
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata.schema().metadata().clone()));
    let batch_rows = batch_rows(metadata.metadata(), &settings.text_column, block_bytes);
    let options = options.with_schema(schema);
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options);
    let metadata = metadata.map_err(damaged)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.roots());
    let mut builder = builder.with_projection(mask).with_batch_size(batch_rows);
    let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
    if from.at > 0 {
        let (groups, rows) = groups_from(builder.metadata(), from.at);
        builder = builder.with_row_groups(groups).with_offset(rows);
    }
    let reader = builder.build().map_err(damaged)?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let input = file.input.clone();
    let reader = BatchReader::new(input, &schema, Box::new(reader), settings, block_bytes)?;
    Ok(reader.of_file(packed, rows).starting(from))
}

/// The row groups that hold rows from `row` on, and how many rows of the first come before it.
fn groups_from(metadata: &ParquetMetaData, row: u64) -> (Vec<usize>, usize) {
    let mut before = row;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        if before < rows {
            return ((number..metadata.num_row_groups()).collect(), before as usize);
        }
        before -= rows;
    }
    (Vec::new(), 0)
}

/// A number of rows such that the longest on average are an eighth of a block.
fn batch_rows(metadata: &ParquetMetaData, text_column: &str, block_bytes: usize) -> usize {
    let mut longest = 1;
    for group in metadata.row_groups() {
        let mut bytes = 0;
        for leaf in group.columns() {
            let path = leaf.column_path().parts();
            if path.first().is_some_and(|root| root == text_column) {
                bytes += leaf.uncompressed_size().max(0) as u64;
            }
        }
        longest = longest.max(bytes / group.num_rows().max(1) as u64);
    }
    (block_bytes as u64 / 8 / longest).clamp(1, 1 << 16) as usize
}
