//! The escapes of JSON strings.
//!
//! In: a line and the place of a backslash. Out: the character that is meant.

use super::documents::Reason;

/// An escape, from its backslash; none for half of a surrogate pair.
pub(super) fn escape(line: &[u8], at: &mut usize) -> Result<Option<char>, Reason> {
    let letter = *line.get(*at + 1).ok_or(Reason::BrokenJson)?;
    *at += 2;
    let character = match letter {
        b'n' => '\n',
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return unit(line, at),
        _ => return Err(Reason::BrokenJson),
    };
    Ok(Some(character))
}

/// The character of `\u` and four digits, or of two such.
fn unit(line: &[u8], at: &mut usize) -> Result<Option<char>, Reason> {
    let unit = four_digits(line, at)?;
    if let Some(character) = char::from_u32(unit) {
        return Ok(Some(character));
    }
    let high = (0xD800..0xDC00).contains(&unit);
    if !high || line.get(*at..*at + 2) != Some(b"\\u") {
        return Ok(None);
    }
    let second = *at;
    *at += 2;
    let low = four_digits(line, at)?;
    if !(0xDC00..0xE000).contains(&low) {
        // Another escape, to be read on its own.
        *at = second;
        return Ok(None);
    }
    Ok(char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00)))
}

fn four_digits(line: &[u8], at: &mut usize) -> Result<u32, Reason> {
    let digits = line.get(*at..*at + 4).ok_or(Reason::BrokenJson)?;
    *at += 4;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(Reason::BrokenJson)?;
        Ok(unit << 4 | digit)
    })
}
