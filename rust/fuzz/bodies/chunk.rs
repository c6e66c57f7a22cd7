//! Any text, cut by both chunkers: the spans lie in it, and the lossless ones are all of it.

use nextlong::chunk::{Mode, Rule, Unit, spans};
use nextlong::{Error, Progress};

/// One case.
pub fn run(data: &[u8]) {
    let [size, weight, data @ ..] = data else { return };
    let text = String::from_utf8_lossy(data);
    let count = |piece: &str| match weight % 4 {
        0 => 0,
        1 => 1,
        2 => 100usize.saturating_sub(piece.len()),
        _ => piece.len() / 2,
    };
    for mode in [Mode::Paper, Mode::Lossless] {
        for unit in [Unit::Characters, Unit::Tokens(&count)] {
            let rule = Rule { mode, size: usize::from(*size), overlap: 0, unit };
            let mut found = Vec::new();
            if let Err(error) = spans(&text, &rule, &Progress::default(), &mut found) {
                assert!(matches!(error, Error::Config(_)), "{error:?}");
                continue;
            }
            let pieces: Vec<&str> = found
                .iter()
                .map(|span| text.get(span.clone()).expect("a span of the text"))
                .collect();
            if rule.mode == Mode::Lossless {
                assert_eq!(pieces.concat(), text);
            }
        }
    }
}
