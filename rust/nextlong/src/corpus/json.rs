//! One JSON record: the wanted fields of an object, everything else only checked.
//!
//! In: one line. Out: text, id, score and source, or the reason why not. The grammar is RFC 8259 to the
//! letter, so `NaN` and raw control characters are broken JSON; of a repeated key the last wins, as
//! in Python. Numbers keep their spelling. Nesting is walked without recursion.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::documents::Reason;
use super::escapes::escape;
use super::rows::{self, Field, Record};

/// Objects and arrays that a record may open inside each other.
const MOST_NESTED: usize = 1000;

/// The fields of a record that are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub text: &'a str,
    pub id: &'a str,
    pub score: Option<&'a str>,
    pub source: Option<&'a str>,
}

/// The id and the source of a record, as texts.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub id: String,
    pub source: String,
}

impl Names {
    pub fn clear(&mut self) {
        self.id.clear();
        self.source.clear();
    }

    pub fn as_refs(&self) -> rows::Names<'_> {
        rows::Names { id: &self.id, source: &self.source }
    }
}

/// Reads the line from `start` to the end of `data`, which is UTF-8; `names`, which is
/// empty before, gets its id and source.
///
/// Its text is moved to `filled` and behind it, which is then its end: no escape is shorter than
/// what it stands for, so the text never passes what is still to be read. Where this fails or a
/// field is bad, the caller cuts both back.
pub(super) fn record(
    data: &mut [u8],
    start: usize,
    wanted: Wanted<'_>,
    filled: &mut usize,
    names: &mut Names,
) -> Result<Record, Reason> {
    let plain = data[start..].iter().fold(u8::MAX, |least, &byte| least.min(byte)) >= 0x20;
    let mut scanner = Scanner { bytes: data, plain, place: start };
    let text_start = *filled;
    let mut record = Record::MISSING;
    let mut escaped_key = String::new();
    scanner.blank();
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Err(Reason::NotAnObject);
    }
    scanner.place += 1;
    scanner.blank();
    if scanner.peek() == Some(b'}') {
        scanner.place += 1;
        scanner.end()?;
        return Ok(record);
    }
    loop {
        scanner.expect(b'"')?;
        let spelled = scanner.string()?;
        let mut wants = wanted.of(&scanner.bytes[spelled.clone()]);
        if memchr(b'\\', &scanner.bytes[spelled.clone()]).is_some() {
            scanner.place = spelled.start;
            escaped_key.clear();
            // A key with half a surrogate pair equals no column's name.
            let whole = scanner.decoded(&mut escaped_key)? == Field::Found(());
            wants = if whole { wanted.of(escaped_key.as_bytes()) } else { Wants::default() };
        }
        scanner.colon()?;
        // A column may serve twice, say as text and as id; the text is moved, so it comes last.
        let value_start = scanner.place;
        if wants.id {
            names.id.clear();
            record.id = scanner.id(&mut names.id)?;
        }
        if wants.source {
            scanner.place = value_start;
            names.source.clear();
            record.source = scanner.source(&mut names.source)?;
        }
        if wants.score {
            scanner.place = value_start;
            record.score = scanner.score()?;
        }
        if wants.text {
            scanner.place = value_start;
            *filled = text_start;
            record.text = scanner.text(filled)?;
        }
        let taken = wants.id || wants.source || wants.score || wants.text;
        if !taken {
            scanner.value()?;
        }
        scanner.blank();
        match scanner.next() {
            Some(b',') => scanner.blank(),
            Some(b'}') => break,
            _ => return Err(Reason::BrokenJson),
        }
    }
    scanner.end()?;
    Ok(record)
}

/// Which columns a key names.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "one key may name several columns")]
struct Wants {
    text: bool,
    id: bool,
    score: bool,
    source: bool,
}

impl Wanted<'_> {
    fn of(&self, key: &[u8]) -> Wants {
        let names = |name: &str| name.as_bytes() == key;
        Wants {
            text: names(self.text),
            id: names(self.id),
            score: self.score.is_some_and(names),
            source: self.source.is_some_and(names),
        }
    }
}

struct Scanner<'a> {
    bytes: &'a mut [u8],
    /// The line holds no control character.
    plain: bool,
    place: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.place).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.place += 1;
        byte
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.place += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        if self.next() == Some(byte) { Ok(()) } else { Err(Reason::BrokenJson) }
    }

    fn end(&mut self) -> Result<(), Reason> {
        self.blank();
        if self.place == self.bytes.len() { Ok(()) } else { Err(Reason::BrokenJson) }
    }

    /// Passes plain characters: up to a quote, a backslash or a control character.
    fn pass_plain(&mut self) -> Result<(), Reason> {
        let rest = &self.bytes[self.place..];
        let plain = if self.plain { memchr2(b'"', b'\\', rest) } else { special(rest) };
        self.place += plain.ok_or(Reason::BrokenJson)?;
        Ok(())
    }

    /// A string that is wanted: decoded onto `out`. After its opening quote.
    fn decoded(&mut self, out: &mut String) -> Result<Field<()>, Reason> {
        let mut bad = None;
        loop {
            let start = self.place;
            self.pass_plain()?;
            out.push_str(utf8(&self.bytes[start..self.place])?);
            match self.bytes[self.place] {
                b'"' => {
                    self.place += 1;
                    return Ok(bad.map_or(Field::Found(()), Field::Bad));
                }
                b'\\' => match self.escape()? {
                    Some(character) => out.push(character),
                    None => bad = Some(Reason::LoneSurrogate),
                },
                _ => return Err(Reason::BrokenJson),
            }
        }
    }

    /// A string that is wanted: decoded and moved to `filled`. After its opening quote.
    fn moved(&mut self, filled: &mut usize) -> Result<Field<()>, Reason> {
        let mut bad = None;
        loop {
            // Escapes come in groups: the first byte may end the run already.
            if self.peek() != Some(b'\\') {
                let start = self.place;
                self.pass_plain()?;
                self.bytes.copy_within(start..self.place, *filled);
                *filled += self.place - start;
            }
            match self.bytes[self.place] {
                b'"' => {
                    self.place += 1;
                    return Ok(bad.map_or(Field::Found(()), Field::Bad));
                }
                b'\\' => match self.escape()? {
                    Some(character) => {
                        let room = &mut self.bytes[*filled..self.place];
                        *filled += character.encode_utf8(room).len();
                    }
                    None => bad = Some(Reason::LoneSurrogate),
                },
                _ => return Err(Reason::BrokenJson),
            }
        }
    }

    fn escape(&mut self) -> Result<Option<char>, Reason> {
        escape(self.bytes, &mut self.place)
    }

    /// A string that is only passed: its place, as spelled. After its opening quote.
    fn string(&mut self) -> Result<Range<usize>, Reason> {
        let start = self.place;
        loop {
            self.pass_plain()?;
            match self.bytes[self.place] {
                b'"' => {
                    self.place += 1;
                    return Ok(start..self.place - 1);
                }
                b'\\' => {
                    self.escape()?;
                }
                _ => return Err(Reason::BrokenJson),
            }
        }
    }

    fn text(&mut self, filled: &mut usize) -> Result<Field<()>, Reason> {
        match self.peek() {
            Some(b'"') => {
                self.place += 1;
                self.moved(filled)
            }
            Some(b'n') => self.word("null").map(|()| Field::Missing),
            _ => self.value().map(|()| Field::Bad(Reason::TextNotAString)),
        }
    }

    fn id(&mut self, out: &mut String) -> Result<Field<()>, Reason> {
        match self.peek() {
            Some(b'"') => {
                self.place += 1;
                self.decoded(out)
            }
            Some(b'n') => self.word("null").map(|()| Field::Missing),
            Some(b'-' | b'0'..=b'9') => {
                out.push_str(self.number()?);
                Ok(Field::Found(()))
            }
            _ => self.value().map(|()| Field::Bad(Reason::IdWrongType)),
        }
    }

    fn source(&mut self, out: &mut String) -> Result<Field<()>, Reason> {
        let word = match self.peek() {
            Some(b't') => "true",
            Some(b'f') => "false",
            _ => {
                return Ok(match self.id(out)? {
                    Field::Bad(Reason::IdWrongType) => Field::Bad(Reason::SourceWrongType),
                    field => field,
                });
            }
        };
        self.word(word)?;
        out.push_str(word);
        Ok(Field::Found(()))
    }

    fn score(&mut self) -> Result<Field<f64>, Reason> {
        match self.peek() {
            Some(b'n') => self.word("null").map(|()| Field::Missing),
            Some(b'-' | b'0'..=b'9') => Ok(match self.number()?.parse() {
                Ok(score) if f64::is_finite(score) => Field::Found(score),
                _ => Field::Bad(Reason::ScoreNotANumber),
            }),
            _ => self.value().map(|()| Field::Bad(Reason::ScoreNotANumber)),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Reason> {
        if self.bytes[self.place..].starts_with(word.as_bytes()) {
            self.place += word.len();
            Ok(())
        } else {
            Err(Reason::BrokenJson)
        }
    }

    fn number(&mut self) -> Result<&str, Reason> {
        let start = self.place;
        if self.peek() == Some(b'-') {
            self.place += 1;
        }
        if self.peek() == Some(b'0') {
            self.place += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.place += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.place += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.place += 1;
            }
            self.digits()?;
        }
        utf8(&self.bytes[start..self.place])
    }

    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.place;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.place += 1;
        }
        if self.place > start { Ok(()) } else { Err(Reason::BrokenJson) }
    }

    /// Passes the key of a member and its colon.
    fn key(&mut self) -> Result<(), Reason> {
        self.expect(b'"')?;
        self.string()?;
        self.colon()
    }

    fn colon(&mut self) -> Result<(), Reason> {
        self.blank();
        self.expect(b':')?;
        self.blank();
        Ok(())
    }

    /// Passes one value of any kind.
    fn value(&mut self) -> Result<(), Reason> {
        // The closing bracket of every object and array that is open here.
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open.len() == MOST_NESTED {
                        return Err(Reason::TooDeep);
                    }
                    let close = bracket + 2;
                    self.place += 1;
                    self.blank();
                    if self.peek() == Some(close) {
                        self.place += 1;
                    } else {
                        open.push(close);
                        if close == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.place += 1;
                    self.string()?;
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => {
                    self.number()?;
                }
            }
            loop {
                let Some(&close) = open.last() else { return Ok(()) };
                self.blank();
                match self.next() {
                    Some(b',') => {
                        self.blank();
                        if close == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == close => {
                        open.pop();
                    }
                    _ => return Err(Reason::BrokenJson),
                }
            }
        }
    }
}

/// Part of a line that is UTF-8, cut between characters.
fn utf8(part: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(part).map_err(|_| Reason::InvalidUtf8)
}

/// The first byte that ends a run of plain characters, in a line that holds control characters.
fn special(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[cfg(test)]
mod tests;
