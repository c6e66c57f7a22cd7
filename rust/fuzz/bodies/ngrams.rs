//! The n-grams that texts share, as the filter for near-duplicates counts them.

use std::collections::HashSet;

use nextlong::strategy::nextlong::{grams, shares_in_the_others};

/// One case: texts that the byte 0xff separates.
pub fn run(data: &[u8]) {
    let [words, data @ ..] = data else { return };
    let words = 1 + usize::from(words % 9);
    let texts: Vec<String> = data
        .split(|&byte| byte == 0xff)
        .take(6)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let set = |text: &str| -> HashSet<u64> {
        let mut found = Vec::new();
        grams(text, 1, &mut found);
        let count = found.len();
        grams(text, words, &mut found);
        assert_eq!(found.len(), (count + 1).saturating_sub(words), "a gram for every place");
        found.into_iter().collect()
    };
    let sets: Vec<HashSet<u64>> = texts.iter().map(|text| set(text)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (place, found) in shares_in_the_others(&texts, words).into_iter().enumerate() {
        let others = sets.iter().enumerate().filter(|&(other, _)| other != place);
        let rest: HashSet<u64> = others.flat_map(|(_, set)| set).copied().collect();
        let own = &sets[place];
        let expected = own.intersection(&rest).count() as f32 / own.len().max(1) as f32;
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}
