use super::*;

const SAMPLE: &str = include_str!("../../../../../python/nextlong_rs/data/tokenizer.json");

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut out = Vec::new();
    tokenizer.encode(text, &mut Scratch::default(), &mut out).expect("encoded");
    out
}

/// A tokenizer in the style of Llama 2: bytes, `▁`, and a few merges.
fn llama(splitter: &str, normalizer: &str, extra: &str) -> String {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "▁▁"].map(str::to_owned));
    tokens.extend(extra.split_whitespace().map(|pair| pair.replace('+', "")));
    let vocabulary: Vec<String> =
        tokens.iter().enumerate().map(|(id, token)| format!("{token:?}:{id}")).collect();
    let pairs = ["▁+▁", "▁+a", "a+b", "▁a+b"].into_iter().chain(extra.split_whitespace());
    let merges: Vec<String> =
        pairs.map(|pair| format!("{:?}", pair.split('+').collect::<Vec<_>>())).collect();
    format!(
        r#"{{"version":"1.0","truncation":{{"max_length":2}},"added_tokens":[
        {{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}],
        "normalizer":{normalizer},"pre_tokenizer":{splitter},"post_processor":null,"decoder":null,
        "model":{{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"dropout":0.1,
        "vocab":{{{}}},"merges":[{}]}}}}"#,
        vocabulary.join(","),
        merges.join(",")
    )
}

const FIRST: &str =
    r#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}"#;
const PREPEND: &str = r#"{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
    {"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"#;

#[test]
fn a_byte_level_tokenizer_gives_back_the_text() {
    let tokenizer = Tokenizer::from_json(SAMPLE).expect("loaded");
    assert_eq!((tokenizer.vocab_size(), tokenizer.kind()), (8192, Kind::Lines));
    assert_eq!(tokenizer.token_to_id("<|endoftext|>"), Some(1));
    assert_eq!(tokenizer.id_to_token(0), Some("<|bos|>"));
    for text in ["", "It's 12345 days.\n\n  ok\r\n", "\0<|endoftext|>é中 👩‍👩‍👧"] {
        let row = ids(&tokenizer, text);
        assert!(!row.contains(&1));
        assert_eq!(tokenizer.decode(&row).expect("decoded"), text);
        assert_eq!(tokenizer.count(text, &mut Scratch::default()).expect("count"), row.len());
    }
    let mut plain = Vec::new();
    tokenizer.encode_plain("<|endoftext|>", &mut Scratch::default(), &mut plain).expect("encoded");
    assert_eq!(plain, [1]);
}

#[test]
fn a_chunk_has_no_word_mark_before_it() {
    for (splitter, normalizer) in [(FIRST, "null"), ("null", PREPEND)] {
        let tokenizer = Tokenizer::from_json(&llama(splitter, normalizer, "")).expect("loaded");
        let token = |name| tokenizer.token_to_id(name).expect("a token");
        assert_eq!(tokenizer.kind(), Kind::Newline);
        assert!(tokenizer.encoder().expect("made").pieces.is_some());
        assert_eq!(
            ids(&tokenizer, "ab ab\nab"),
            [token("ab"), token("▁ab"), token("<0x0A>"), token("ab")]
        );
        assert_eq!(ids(&tokenizer, " a"), [token("▁a")]);
        let mut plain = Vec::new();
        tokenizer.encode_plain("ab", &mut Scratch::default(), &mut plain).expect("encoded");
        assert_eq!(plain, [token("▁ab")]);
        assert_eq!(tokenizer.notes().len(), 2, "{:?}", tokenizer.notes());
    }
}

#[test]
fn a_panic_of_the_crate_is_an_error() {
    // The crate looks for the second word from the middle of a character.
    let token = r#""added_tokens":[{"id":262,"content":"ab","single_word":true,"lstrip":false,
        "rstrip":false,"normalized":true,"special":false},"#;
    let text = llama("null", PREPEND, "").replace("\"added_tokens\":[", token);
    let json = Json::read(&text).expect("read");
    let (names, added) = file::tokens(&json).expect("tokens");
    let panicked = Encoder::new(&text, &names, &added).err().expect("an error").to_string();
    assert!(panicked.contains("panicked"), "{panicked}");
    let refused = Tokenizer::from_json(&text).err().expect("refused").to_string();
    assert!(refused.contains("single_word"), "{refused}");
}

#[test]
fn ids_far_above_the_number_of_tokens_are_refused() {
    let text = llama(FIRST, "null", "");
    for (from, to) in [("\"ab\":263", "\"ab\":4294967295"), ("{\"id\":1,", "{\"id\":1073741824,")] {
        let far = text.replace(from, to);
        assert_ne!(far, text);
        let refused = Tokenizer::read(far).err().expect("refused").to_string();
        assert!(refused.contains("expected ids below"), "{refused}");
    }
}

#[test]
fn encoding_by_piece_changes_no_id() {
    for merges in ["", "b+▁a ab+▁"] {
        let by_piece = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
        let mut whole = Tokenizer::from_json(&llama(FIRST, "null", merges)).expect("loaded");
        let made = whole.encoder.get_mut().expect("made").as_mut().expect("no error");
        assert!(made.pieces.take().is_some());
        let mut rng = crate::seed::Rng::new(1, "pieces", 0);
        for _ in 0..3000 {
            let letters = ['a', 'b', ' ', '\n', '▁', 'é', '<', '\u{2582}'];
            let text: String = (0..rng.below(30)).map(|_| letters[rng.below(8) as usize]).collect();
            assert_eq!(ids(&by_piece, &text), ids(&whole, &text), "{text:?}");
        }
    }
    let whole = Tokenizer::from_json(&llama(FIRST, "null", "b+▁a")).expect("loaded");
    assert!(ids(&whole, "b a").contains(&whole.token_to_id("b▁a").expect("a token")));
}

#[test]
fn texts_are_encoded_whole_where_bytes_merge() {
    let tokenizer = Tokenizer::from_json(&llama(FIRST, "null", "<0xC3>+<0xA9>")).expect("loaded");
    assert!(tokenizer.encoder().expect("made").pieces.is_none());
}

#[test]
fn a_file_that_is_no_tokenizer_is_an_error() {
    for json in ["", "[]", "{}", r#"{"model":3}"#, r#"{"model":{"type":"BPE"}}"#, "null"] {
        assert!(matches!(Tokenizer::from_json(json), Err(Error::Tokenizer(_))), "{json}");
    }
}

#[test]
fn tables_are_made_once_by_whoever_needs_them_first() {
    let lazy = Tokenizer::read(SAMPLE.to_owned()).expect("read");
    assert!(lazy.encoder.get().is_none());
    assert_eq!((lazy.vocab_size(), lazy.token_to_id("<|bos|>")), (8192, Some(0)));
    let whole = Tokenizer::from_json(SAMPLE).expect("loaded");
    assert!(whole.encoder.get().is_some());
    assert_eq!(lazy.hash(), whole.hash());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(ids(&lazy, "It's day 12."), ids(&whole, "It's day 12.")));
        }
    });
    assert_eq!(lazy.kind(), whole.kind());
}

#[test]
fn what_the_encoder_cannot_read_fails_each_time_it_is_needed() {
    let file = SAMPLE.replace("\"BPE\"", "\"Telepathy\"");
    let first = Tokenizer::from_json(&file).err().expect("no encoder").to_string();
    let lazy = Tokenizer::read(file).expect("read");
    assert_eq!(lazy.token_to_id("<|bos|>"), Some(0));
    for _ in 0..2 {
        assert_eq!(lazy.ready().expect_err("no encoder").to_string(), first);
        assert!(matches!(lazy.decode(&[2]), Err(Error::Tokenizer(_))));
    }
    assert_eq!((lazy.kind(), lazy.notes().len()), (Kind::Unknown, 0));
}

#[test]
fn a_stop_is_heard_and_an_unknown_chunk_refused() {
    let tokenizer = Tokenizer::from_json(SAMPLE).expect("loaded");
    let progress = Progress::default();
    let rows = tokenizer.encode_texts(["one", "", "two"], &progress).expect("encoded");
    assert_eq!((rows.len(), rows.row(1).len(), progress.done()), (3, 0, 3));
    let store = ChunkStore::open(&[]).expect("an empty store");
    let unknown = tokenizer.encode_chunks(&store, &[0], &progress);
    assert!(matches!(unknown, Err(Error::Config(_))));
    progress.cancel();
    assert!(matches!(tokenizer.encode_texts(["one"], &progress), Err(Error::Cancelled)));
}
