//! The bytes of a file of lines, as they are or decompressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer, WriteBuf};
use zstd::zstd_safe::DCtx;

use super::Kind;

/// About so much is read at once: small enough to be looked at while it is in the cache.
const STEP_BYTES: usize = 1 << 19;

/// A file of lines that is being read.
pub(super) enum Source {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(Box<Frames>),
}

impl Source {
    pub fn new(file: File, kind: Kind) -> io::Result<Self> {
        let file = Counted { file, bytes: 0 };
        Ok(match kind {
            Kind::JsonlGzip => {
                let input = BufReader::with_capacity(1 << 18, file);
                Self::Gzip(Box::new(MultiGzDecoder::new(input)))
            }
            Kind::JsonlZstd => Self::Zstd(Box::new(Frames::new(file)?)),
            _ => Self::Plain(file),
        })
    }

    /// The bytes taken from the file so far.
    pub fn taken(&self) -> u64 {
        match self {
            Self::Plain(file) => file.bytes,
            Self::Gzip(decoder) => decoder.get_ref().get_ref().bytes,
            Self::Zstd(frames) => frames.input.get_ref().bytes,
        }
    }

    /// Appends bytes to `data`, up to the given number; returns their number, 0 only at the end.
    pub fn read(&mut self, data: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let step = most.min(STEP_BYTES) as u64;
        match self {
            Self::Plain(file) => {
                // The file itself: what it fills need not be zeroed first.
                let read = (&mut file.file).take(step).read_to_end(data)?;
                file.bytes += read as u64;
                Ok(read)
            }
            Self::Gzip(decoder) => decoder.take(step).read_to_end(data),
            Self::Zstd(frames) => frames.read(data, most),
        }
    }
}

/// A file, and how many bytes of it were read.
pub(super) struct Counted {
    file: File,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Consecutive Zstandard frames.
///
/// What `zstd::Decoder` does, but appended directly to a vector: no byte is zeroed
/// before it is written.
pub(super) struct Frames {
    input: BufReader<Counted>,
    decoder: Decoder<'static>,
    /// The last frame was read to its end.
    whole: bool,
}

impl Frames {
    fn new(file: Counted) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        // What `zstd --long=31` writes is read too.
        decoder.set_parameter(DParameter::WindowLogMax(31))?;
        let input = BufReader::with_capacity(DCtx::in_size(), file);
        Ok(Self { input, decoder, whole: false })
    }

    fn read(&mut self, data: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let (start, target) = (data.len(), data.len().saturating_add(most));
        data.reserve(most);
        loop {
            let more = if data.capacity() == target {
                self.step(&mut OutBuffer::around_pos(data, start))?
            } else {
                // There is room for more than is wanted.
                data.resize(target.min(start + STEP_BYTES), 0);
                let mut out = OutBuffer::around_pos(&mut data[..], start);
                let more = self.step(&mut out);
                let end = out.pos();
                data.truncate(end);
                more?
            };
            if !more || data.len() > start {
                return Ok(data.len() - start);
            }
        }
    }

    /// Decompresses what is at hand; false at the end of the file.
    fn step<C: WriteBuf + ?Sized>(&mut self, out: &mut OutBuffer<'_, C>) -> io::Result<bool> {
        let input = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(input) => break input,
            }
        };
        let (at_end, before) = (input.is_empty(), out.pos());
        if self.whole && !at_end {
            self.decoder.reinit()?;
            self.whole = false;
        }
        let mut input = InBuffer::around(input);
        self.whole |= self.decoder.run(&mut input, out)? == 0;
        let used = input.pos();
        self.input.consume(used);
        if at_end && out.pos() == before {
            // Nothing is left but to say whether the frame is whole.
            self.decoder.finish(out, self.whole)?;
            return Ok(false);
        }
        Ok(true)
    }
}
