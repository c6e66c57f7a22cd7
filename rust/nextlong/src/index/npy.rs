//! Whole-number arrays in `.npy` files: what an engine keeps, readable by numpy.

use std::io::Write;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::files;

/// The type of an array: `"|i1"`, `"<u4"` or `"<u8"`, and its bytes a value.
pub type Descr = (&'static str, usize);

/// Signed bytes.
pub const I8: Descr = ("|i1", 1);

/// Unsigned numbers of 2 bytes.
pub const U16: Descr = ("<u2", 2);

/// Unsigned numbers of 4 bytes.
pub const U32: Descr = ("<u4", 4);

/// Unsigned numbers of 8 bytes.
pub const U64: Descr = ("<u8", 8);

/// Writes an array whose values `fill` gives, whole or not at all.
///
/// # Errors
///
/// What `fill` or the file system reports.
pub fn write(
    path: &Path,
    descr: Descr,
    shape: &[usize],
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    files::write_whole(path, |writer| {
        writer.write_all(&header(descr, shape)).map_err(Error::io(path))?;
        fill(&mut |bytes| writer.write_all(bytes).map_err(Error::io(path)))
    })
}

/// Maps an array of the given type and shape (None: any length) and gives its bytes.
///
/// # Errors
///
/// [`Error::Run`] for a file that is not such an array, [`Error::Io`] for one that cannot be read.
pub fn map(path: &Path, descr: Descr, shape: &[Option<usize>]) -> Result<Bytes> {
    let bytes = files::map(path)?;
    let broken =
        |what: &str| Error::Run(format!("{}: {what}; build the index again", path.display()));
    if bytes.len() < 10 || &bytes[..8] != b"\x93NUMPY\x01\x00" {
        return Err(broken("not a version 1.0 .npy file"));
    }
    let body = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let head = bytes.get(10..body).ok_or_else(|| broken("its header is cut off"))?;
    let head = std::str::from_utf8(head).map_err(|_| broken("its header is no text"))?;
    if !head.contains(&format!("'descr': '{}'", descr.0))
        || !head.contains("'fortran_order': False")
    {
        return Err(broken("an array of another type"));
    }
    let text = head.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let found: Vec<usize> = text
        .map(|(text, _)| text.split(',').filter_map(|n| n.trim().parse().ok()).collect())
        .unwrap_or_default();
    let fits = found.len() == shape.len()
        && found.iter().zip(shape).all(|(found, wanted)| wanted.is_none_or(|n| n == *found));
    if !fits {
        return Err(broken("the index of other vectors"));
    }
    let size = found.iter().try_fold(descr.1, |size, &n| size.checked_mul(n));
    if size != Some(bytes.len() - body) {
        return Err(broken("its size is not what its shape says"));
    }
    Ok(bytes.slice(body..))
}

fn header(descr: Descr, shape: &[usize]) -> Vec<u8> {
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
