//! Names for groups of texts: their most frequent words.

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

use super::words::has_no_spaces;

/// Texts of a group that are looked at, at most.
const EXAMPLES: usize = 24;
/// Words of a name.
const WORDS: usize = 3;
/// Bytes of a text that are looked at, about.
const BYTES: usize = 1024;

/// Keeps the first texts of a group.
pub(super) fn add_example<'t>(examples: &mut Vec<&'t str>, text: &'t str) {
    if examples.len() < EXAMPLES {
        examples.push(text);
    }
}

/// The words that most texts have, by falling number of texts, then in alphabetical order.
pub(super) fn name(texts: &[&str]) -> String {
    let mut frequency = HashMap::<String, usize>::new();
    for text in texts {
        let end = (0..=BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
        let text = &text[..end.unwrap_or(0)];
        let mut own: Vec<String> = text
            .split(|c: char| !c.is_alphanumeric() && !is_combining_mark(c))
            .flat_map(|word| {
                let alone = word.chars().filter(|&c| has_no_spaces(c)).map(String::from);
                let whole = (!word.contains(has_no_spaces)).then(|| word.to_lowercase());
                alone.chain(whole).collect::<Vec<_>>()
            })
            .filter(|word| word.chars().any(char::is_alphabetic))
            .collect();
        own.sort_unstable();
        own.dedup();
        for word in own {
            *frequency.entry(word).or_default() += 1;
        }
    }
    let mut words: Vec<_> = frequency.into_iter().collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(WORDS);
    words.into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_most_frequent_words() {
        assert_eq!(name(&["The sea and 12 ships", "the sea", "sea"]), "sea the and");
        assert_eq!(name(&["长江大", "长江"]), "江 长 大");
        assert_eq!(name(&[]), "");
    }
}
