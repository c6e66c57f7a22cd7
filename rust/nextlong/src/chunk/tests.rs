use super::*;
use crate::store::ChunkStore;

fn chunks(text: &str, mode: Mode, size: usize) -> Vec<&str> {
    let mut spans = Vec::new();
    let rule = Rule { mode, size, overlap: 0, unit: Unit::Characters };
    super::spans(text, &rule, &Progress::default(), &mut spans).expect("cut");
    spans.into_iter().map(|span| &text[span]).collect()
}

fn paper(text: &str, size: usize) -> Vec<&str> {
    chunks(text, Mode::Paper, size)
}

fn lossless(text: &str, size: usize) -> Vec<&str> {
    chunks(text, Mode::Lossless, size)
}

#[test]
fn the_papers_rule_is_kept_to_the_letter() {
    assert_eq!(paper("", 10), [""]);
    assert_eq!(paper(&"a\n".repeat(10)[..19], 10), ["a\na\na\na\na\na\na\na\na\na"]);
    let long = "a".repeat(25);
    assert_eq!(paper(&format!("\n\n{long}"), 10), [long.as_str()]);
    assert_eq!(paper(&format!("{long}\n"), 10), [long.as_str(), ""]);
    assert_eq!(paper("a\r\nb\rc", 3), ["a\r", "b\rc"]);
    assert_eq!(paper("漢字\n漢字\n漢", 4), ["漢字\n漢字", "漢"]);
}

#[test]
fn whole_lines_fill_a_chunk() {
    assert_eq!(lossless("", 10), [""; 0]);
    assert_eq!(lossless("one\ntwo\nthree", 8), ["one\ntwo\n", "three"]);
    assert_eq!(lossless("one\ntwo\nthree", 7), ["one\n", "two\n", "three"]);
}

#[test]
fn blank_lines_stay_with_the_chunk_before_them() {
    assert_eq!(lossless("one\n\n \ntwo\n\n", 7), ["one\n\n \n", "two\n\n"]);
    assert_eq!(lossless("\n\n  one\ntwo\n   ", 8), ["\n\n  one\n", "two\n   "]);
    assert_eq!(lossless("one\r\n\r\ntwo", 7), ["one\r\n\r\n", "two"]);
}

#[test]
fn a_long_line_is_cut_at_sentences_then_words_then_characters() {
    let text = "Title\nIt rained. We stayed at home all day. Then it stopped.\nEnd\n";
    assert_eq!(
        lossless(text, 32),
        ["Title\nIt rained.", " We stayed at home all day.", " Then it stopped.\nEnd\n"]
    );
    assert_eq!(lossless("one two three", 8), ["one two", " three"]);
    assert_eq!(lossless("abcdefgh\n", 4), ["abcd", "efg", "h\n"]);
    assert_eq!(lossless("aaae\u{301}", 4), ["aaa", "e\u{301}"]);
    assert_eq!(lossless("e\u{301}\u{302}", 2), ["e\u{301}", "\u{302}"]);
    assert_eq!(lossless("\n\n\n\n\n", 2), ["\n\n", "\n\n", "\n"]);
}

#[test]
fn a_chunk_that_counts_more_than_its_lines_gives_the_last_back() {
    // Two lines together count one more than apart.
    let count = |text: &str| {
        let lines = text.matches('\n').count();
        text.len() - lines + lines.saturating_sub(1)
    };
    let rule = Rule { mode: Mode::Lossless, size: 4, overlap: 0, unit: Unit::Tokens(&count) };
    let text = "aa\nbb\ncc\nd\n";
    let mut spans = Vec::new();
    super::spans(text, &rule, &Progress::default(), &mut spans).expect("cut");
    let chunks: Vec<&str> = spans.into_iter().map(|span| &text[span]).collect();
    assert_eq!(chunks, ["aa\n", "bb\n", "cc\nd\n"]);
}

#[test]
fn rules_that_cannot_be_followed_are_refused() {
    let count = |text: &str| text.len();
    let zero = Rule { mode: Mode::Paper, size: 0, overlap: 0, unit: Unit::Characters };
    let tokens = Rule { mode: Mode::Paper, size: 1, overlap: 0, unit: Unit::Tokens(&count) };
    let all = Rule { mode: Mode::Lossless, size: 2, overlap: 2, unit: Unit::Characters };
    let shared = Rule { mode: Mode::Paper, size: 2, overlap: 1, unit: Unit::Characters };
    assert!(matches!(all.check(), Err(Error::Config(_))));
    assert!(matches!(shared.check(), Err(Error::Config(_))));
    assert!(matches!(zero.check(), Err(Error::Config(_))));
    assert!(matches!(tokens.check(), Err(Error::Config(_))));
}

#[test]
fn a_part_holds_the_chunks_and_their_characters() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part.arrow");
    let origin = |doc_id| Origin { doc_id, input: 0, row: 0, score: None };
    let documents = [(origin("a"), "é\n漢字\n"), (origin("none"), ""), (origin("b"), "x")];
    let rule = Rule { mode: Mode::Lossless, size: 3, overlap: 0, unit: Unit::Characters };
    let progress = Progress::default();
    let counts = part(documents, 0, &rule, &path, &progress).expect("written");
    assert_eq!(counts, Counts { documents: 3, chunks: 3, bytes: 11 });
    let store = ChunkStore::open(&[path]).expect("opened");
    assert_eq!((store.text(1), store.characters(1)), ("漢字\n", 2..5));
    progress.cancel();
    let path = folder.path().join("stopped.arrow");
    assert!(matches!(part(documents, 0, &rule, &path, &progress), Err(Error::Cancelled)));
    assert!(!path.exists());
}
