//! Arrays in `.npy` files: written by blocks, read memory-mapped and checked.

use std::io::Write;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::store::atomic;

/// The type of an array as numpy spells it, and the bytes of one value.
pub(crate) type Descr = (&'static str, usize);

/// Signed bytes.
pub(crate) const I8: Descr = ("|i1", 1);

/// Unsigned numbers of 2 bytes.
pub(crate) const U16: Descr = ("<u2", 2);

/// Unsigned numbers of 4 bytes.
pub(crate) const U32: Descr = ("<u4", 4);

/// Unsigned numbers of 8 bytes.
pub(crate) const U64: Descr = ("<u8", 8);

/// Half-precision floats.
pub(crate) const F16: Descr = ("<f2", 2);

/// Writes an array whose bytes `fill` passes on block by block.
///
/// # Errors
///
/// What `fill` or the file system reports.
pub(crate) fn write(
    path: &Path,
    descr: Descr,
    shape: &[usize],
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    atomic::write_with(path, |writer| {
        writer.write_all(&header(descr, shape)).map_err(Error::io(path))?;
        fill(&mut |bytes| writer.write_all(bytes).map_err(Error::io(path)))
    })
}

/// Maps an array of the given type and shape, None for any length, and returns its bytes.
///
/// # Errors
///
/// [`Error::Run`] for a file that is not such an array, [`Error::Io`] for one that cannot be read.
pub(crate) fn map(path: &Path, descr: Descr, shape: &[Option<usize>]) -> Result<Bytes> {
    let again = "build the index again";
    let (found, bytes) = read(path, descr, again)?;
    let fits = found.len() == shape.len()
        && found.iter().zip(shape).all(|(found, wanted)| wanted.is_none_or(|n| n == *found));
    if !fits {
        return Err(broken(path, "the index of other vectors", again));
    }
    Ok(bytes)
}

/// Maps an array of the given type and returns its shape and its bytes; `again` ends the message of
/// an error and says how to replace the file.
///
/// # Errors
///
/// [`Error::Run`] for a file that is not such an array, [`Error::Io`] for one that cannot be read.
pub(crate) fn read(path: &Path, descr: Descr, again: &str) -> Result<(Vec<usize>, Bytes)> {
    let bytes = atomic::map(path)?;
    let broken = |what: &str| broken(path, what, again);
    if bytes.len() < 10 || &bytes[..8] != b"\x93NUMPY\x01\x00" {
        return Err(broken("not a version 1.0 .npy file"));
    }
    let body = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = bytes.get(10..body).ok_or_else(|| broken("its header is cut off"))?;
    let header = std::str::from_utf8(header).map_err(|_| broken("its header is not text"))?;
    if !header.contains(&format!("'descr': '{}'", descr.0))
        || !header.contains("'fortran_order': False")
    {
        return Err(broken(&format!("not a row-major array of type {}", descr.0)));
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let shape: Vec<usize> = shape
        .map(|(shape, _)| shape.split(',').filter_map(|n| n.trim().parse().ok()).collect())
        .unwrap_or_default();
    let size = shape.iter().try_fold(descr.1, |size, &n| size.checked_mul(n));
    if shape.is_empty() || size != Some(bytes.len() - body) {
        return Err(broken("its size is not what its shape says"));
    }
    Ok((shape, bytes.slice(body..)))
}

/// The error of a file that is not the expected array.
pub(crate) fn broken(path: &Path, what: &str, again: &str) -> Error {
    Error::Run(format!("{}: {what}; {again}", path.display()))
}

/// The `.npy` format 1.0 header of a little-endian, row-major array.
pub(crate) fn header(descr: Descr, shape: &[usize]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" }; // A tuple of one.
    let shape = shape.join(", ") + comma;
    let mut text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", descr.0);
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.extend(std::iter::repeat_n(' ', padded - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_mapped_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        write(&path, I8, &[2, 3], |put| put(&[1, 2, 3, 4, 5, 6])).expect("written");
        assert_eq!(&map(&path, I8, &[Some(2), Some(3)]).expect("mapped")[..], [1, 2, 3, 4, 5, 6]);
        assert!(map(&path, I8, &[None, None]).is_ok());
        assert!(map(&path, I8, &[Some(3), Some(2)]).is_err());
        assert!(map(&path, I8, &[None]).is_err());
        assert!(map(&path, U32, &[None, None]).is_err());
        let whole = std::fs::read(&path).expect("read");
        assert!(whole.windows(6).any(|text| text == b"(2, 3)"));
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("cut");
            assert!(matches!(map(&path, I8, &[None, None]), Err(Error::Run(_))));
        }
        write(&path, U64, &[1], |put| put(&7u64.to_le_bytes())).expect("written");
        let whole = std::fs::read(&path).expect("read");
        assert!(whole.windows(4).any(|text| text == b"(1,)"));
    }
}
