//! Atomic files: written under a temporary name, synced, renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::progress::Progress;

/// A file that appears when it is finished: until then it has a temporary name, and it is removed if it
/// never is.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// None once it is finished.
    writer: Option<BufWriter<File>>,
    bytes: u64,
}

impl AtomicFile {
    /// Starts the file that will be `path`.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn create(path: &Path) -> Result<Self> {
        let temporary = temporary_name(path);
        let file = File::create(&temporary).map_err(Error::io(&temporary))?;
        let writer = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path: path.to_owned(), temporary, writer, bytes: 0 })
    }

    /// Finishes the file: syncs it, renames it to its name, and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// What the file system reports; the temporary file is removed then.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(writer) = &mut self.writer {
            writer.flush().map_err(Error::io(&self.temporary))?;
            writer.get_ref().sync_all().map_err(Error::io(&self.temporary))?;
            fs::rename(&self.temporary, &self.path).map_err(Error::io(&self.path))?;
        }
        self.writer = None;
        Ok(self.bytes)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.as_mut().map_or(Ok(0), |writer| writer.write(bytes))?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.writer.is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `path` through `fill`; the file appears under its name only when it is complete.
///
/// # Errors
///
/// What `fill` or the file system reports; the temporary file is removed then.
pub fn write_with<T>(path: &Path, fill: impl FnOnce(&mut AtomicFile) -> Result<T>) -> Result<T> {
    let mut file = AtomicFile::create(path)?;
    let value = fill(&mut file)?;
    file.finish()?;
    Ok(value)
}

/// Writes `bytes` to `path` as [`write_with`] does.
///
/// # Errors
///
/// What the file system reports.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |writer| writer.write_all(bytes).map_err(Error::io(path)))
}

/// The temporary name of `path`: in the same folder, with `.tmp` at the end.
#[must_use]
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// The bytes of a file, memory-mapped and shared; an empty file is an empty slice.
///
/// # Errors
///
/// What the file system reports.
pub fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(Error::io(path))?;
    if file.metadata().map_err(Error::io(path))?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the files mapped are those of a run directory or an input of the caller, which are
    // written once, under another name, and then only renamed; the bytes are checked before use.
    // `make fuzz-coverage` damages files of every kind that is mapped, under AddressSanitizer.
    #[allow(unsafe_code, reason = "a memory map has no safe constructor")]
    let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path))?;
    Ok(Bytes::from_owner(mapped))
}

/// The XXH3-128 hash of a file.
///
/// # Errors
///
/// What the file system reports, [`Error::Cancelled`] when `progress` says so.
pub fn hash(path: &Path, progress: &Progress) -> Result<u128> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut state = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        progress.check()?;
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(state.digest128()),
            read => state.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        let failed: Result<()> = write_with(&path, |writer| {
            writer.write_all(b"half").map_err(Error::io(&path))?;
            Err(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert_eq!(fs::read_dir(folder.path()).expect("listing").count(), 0);
        write_bytes(&path, b"whole").expect("written");
        assert_eq!(&map(&path).expect("mapped")[..], b"whole");
        let hashed = hash(&path, &Progress::default()).expect("hashed");
        assert_eq!(hashed, xxhash_rust::xxh3::xxh3_128(b"whole"));
    }
}
