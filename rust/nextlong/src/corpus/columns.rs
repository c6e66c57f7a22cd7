//! Columns of texts in all the types that Arrow has for them, each read in place.
//!
//! Nothing is unpacked: a value that a million rows share is held once.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, LargeBinaryArray, LargeStringArray, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// True if a type holds texts, or bytes that may be texts.
pub(super) fn is_text(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
    match kind {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The type of the same texts in which equal values share their bytes; none for other types.
pub(super) fn shared(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        DataType::Dictionary(_, values) => shared(values),
        _ => None,
    }
}

/// The bytes of the texts of all rows, those of shared ones counted for every row; 0 where the
/// type is not one of texts.
pub(super) fn text_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            let sizes = text_sizes(dictionary.values());
            if sizes.is_empty() {
                return 0;
            }
            dictionary.normalized_keys().into_iter().map(|key| sizes[key]).sum()
        }
        _ => text_sizes(column).iter().sum(),
    }
}

/// The bytes of every text of a column without a dictionary; nothing for another type.
fn text_sizes(column: &ArrayRef) -> Vec<usize> {
    fn between<O: Copy + TryInto<usize>>(offsets: &[O]) -> Vec<usize> {
        let place = |offset: O| offset.try_into().unwrap_or(0);
        offsets.windows(2).map(|pair| place(pair[1]).saturating_sub(place(pair[0]))).collect()
    }
    // The low half of a view is its length.
    let lengths = |views: &[u128]| views.iter().map(|&view| view as u32 as usize).collect();
    match column.data_type() {
        DataType::Utf8 => between(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => between(column.as_string::<i64>().value_offsets()),
        DataType::Binary => between(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => between(column.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => lengths(column.as_string_view().views()),
        DataType::BinaryView => lengths(column.as_binary_view().views()),
        _ => Vec::new(),
    }
}

/// A column of texts, or of something that is read as text.
pub(super) enum Texts {
    Checked(LargeStringArray),
    View(StringViewArray),
    Bytes(LargeBinaryArray),
    BytesView(BinaryViewArray),
    /// The value of every row, and the values.
    Shared(Vec<Option<usize>>, Box<Texts>),
}

impl Texts {
    pub fn new(column: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match column.data_type() {
            DataType::Utf8View => Self::View(column.as_string_view().clone()),
            DataType::BinaryView => Self::BytesView(column.as_binary_view().clone()),
            DataType::Binary | DataType::LargeBinary => {
                Self::Bytes(cast(column, &DataType::LargeBinary)?.as_binary().clone())
            }
            DataType::Dictionary(_, _) => {
                let dictionary = column.as_any_dictionary();
                let values = Self::new(dictionary.values())?;
                let keys = if dictionary.values().is_empty() {
                    vec![None; column.len()]
                } else {
                    let keys = dictionary.normalized_keys().into_iter().enumerate();
                    keys.map(|(row, key)| column.is_valid(row).then_some(key)).collect()
                };
                Self::Shared(keys, Box::new(values))
            }
            _ => Self::Checked(cast(column, &DataType::LargeUtf8)?.as_string().clone()),
        })
    }

    /// The text of a row; none for null; its bytes where they are no UTF-8.
    pub fn get(&self, row: usize) -> Result<Option<&str>, &[u8]> {
        fn checked(bytes: &[u8]) -> Result<Option<&str>, &[u8]> {
            std::str::from_utf8(bytes).map(Some).map_err(|_| bytes)
        }
        match self {
            Self::Checked(texts) => Ok(texts.is_valid(row).then(|| texts.value(row))),
            Self::View(texts) => Ok(texts.is_valid(row).then(|| texts.value(row))),
            Self::Bytes(bytes) if bytes.is_null(row) => Ok(None),
            Self::Bytes(bytes) => checked(bytes.value(row)),
            Self::BytesView(bytes) if bytes.is_null(row) => Ok(None),
            Self::BytesView(bytes) => checked(bytes.value(row)),
            Self::Shared(keys, values) => keys[row].map_or(Ok(None), |key| values.get(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int32Array, StringArray};

    use super::*;

    #[test]
    fn a_shared_text_is_counted_for_every_row_and_held_once() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("abc"), None]));
        let keys = Int32Array::from(vec![Some(0), None, Some(1), Some(0)]);
        let column: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        let texts = Texts::new(&column).expect("texts");
        let found: Vec<_> = (0..4).map(|row| texts.get(row)).collect();
        assert_eq!(found, [Ok(Some("abc")), Ok(None), Ok(None), Ok(Some("abc"))]);
        // A null's key is some value's, so the count may be above.
        assert!((6..=9).contains(&text_bytes(&column)));
        assert_eq!(text_bytes(&column.slice(2, 1)), 0);
    }
}
