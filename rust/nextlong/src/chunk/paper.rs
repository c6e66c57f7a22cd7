//! The authors' rule to the letter.
//!
//! In: the text of one document. Out: byte spans of whole lines without their last newline.
//!
//! Joining newlines are not counted, a line longer than the size is a chunk of its own, and a
//! pending group of empty lines is dropped before such a line, which leaves a gap.

use super::{Emit, characters};
use crate::{Progress, Result};

pub(super) fn cut(
    text: &str,
    size_characters: usize,
    progress: &Progress,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let bytes = text.as_bytes();
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    let (mut group_start, mut group_characters) = (0, 0);
    let mut line_start = 0;
    for line_end in ends {
        let line_characters = characters::count(&bytes[line_start..line_end]);
        if group_characters + line_characters > size_characters {
            if group_characters != 0 {
                progress.check()?;
                emit(group_start..line_start - 1, None);
            }
            (group_start, group_characters) = (line_start, line_characters);
        } else {
            group_characters += line_characters;
        }
        line_start = line_end + 1;
    }
    emit(group_start..bytes.len(), None);
    Ok(())
}
