//! Every token by its id, and every id by its token.

use std::sync::OnceLock;

use super::file::Added;

/// The tokens of a tokenizer, added ones included.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: Vec<Option<Box<str>>>,
    /// The ids of the added tokens, which are asked for most.
    added: Vec<u32>,
    /// The ids, ordered by their tokens, once another one was asked for.
    sorted: OnceLock<Vec<u32>>,
}

impl Names {
    /// Of the tokens of a model and those added to them, which have the last word on an id.
    pub(super) fn new(tokens: Vec<(u32, Box<str>)>, added: &[Added]) -> Self {
        let mut by_id = Vec::with_capacity(tokens.len() + added.len());
        let more = added.iter().map(|token| (token.id, token.content.as_str().into()));
        for (id, token) in tokens.into_iter().chain(more) {
            if by_id.len() <= id as usize {
                by_id.resize(id as usize + 1, None);
            }
            by_id[id as usize] = Some(token);
        }
        let added = added.iter().map(|token| token.id).collect();
        Self { by_id, added, sorted: OnceLock::new() }
    }

    /// The largest id and one.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.by_id.get(id as usize)?.as_deref()
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let is = |id: &&u32| self.token(**id) == Some(token);
        if let Some(&id) = self.added.iter().rev().find(is) {
            return Some(id);
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut sorted: Vec<u32> =
                (0..self.by_id.len() as u32).filter(|&id| self.token(id).is_some()).collect();
            sorted.sort_unstable_by_key(|&id| (self.token(id), id));
            sorted
        });
        let place = sorted.partition_point(|&id| self.token(id) < Some(token));
        sorted.get(place).filter(is).copied()
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.by_id.iter().flatten().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_tokens_find_one_another() {
        let tokens = [(3, "b"), (0, "a"), (5, "é"), (2, "<s>")];
        let tokens = tokens.map(|(id, token)| (id, token.into())).to_vec();
        let content = |content: &str, id| Added { id, content: content.to_owned(), special: true };
        let names = Names::new(tokens, &[content("<s>", 2), content("</s>", 7), content("B", 3)]);
        assert_eq!(names.len(), 8);
        assert_eq!(names.tokens().collect::<Vec<_>>(), ["a", "<s>", "B", "é", "</s>"]);
        for (token, id) in [("a", 0), ("<s>", 2), ("B", 3), ("é", 5), ("</s>", 7)] {
            assert_eq!((names.id(token), names.token(id)), (Some(id), Some(token)));
        }
        assert_eq!((names.id("b"), names.id("ab"), names.id("")), (None, None, None));
        assert_eq!((names.token(1), names.token(6), names.token(8)), (None, None, None));
    }
}
