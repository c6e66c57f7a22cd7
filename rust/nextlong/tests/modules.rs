//! The modules of the core depend on each other in one direction, and no file is too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum lines of a file.
const MAX_LINES: usize = 500;

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The names after `crate::` in `text`: one, or those of a list in braces.
fn names(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (_, rest) in text.match_indices("crate::").map(|(at, it)| (at, &text[at + it.len()..])) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && !character.is_whitespace() => {
                            found.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// Which top-level modules each top-level module names outside its tests.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let place = file.strip_prefix(&root).expect("inside");
        if place.ends_with("tests.rs") || place == Path::new("lib.rs") {
            continue;
        }
        let first = place.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&file).expect("read");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<&str> =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        graph.entry(module).or_default().extend(names(&code.join("\n")));
    }
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, uses) in &mut graph {
        uses.retain(|other| other != module && modules.contains(other));
    }
    graph
}

#[test]
fn no_modules_depend_on_each_other_in_a_circle() {
    let mut graph = graph();
    assert!(graph["fill"].contains("strategy") && graph["strategy"].contains("config"));
    while !graph.is_empty() {
        let free: Vec<String> = graph
            .iter()
            .filter(|(_, uses)| uses.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!free.is_empty(), "these modules depend on each other in a circle: {graph:#?}");
        graph.retain(|name, _| !free.contains(name));
        for uses in graph.values_mut() {
            uses.retain(|name| !free.contains(name));
        }
    }
}

#[test]
fn names_are_found_in_lists_too() {
    let text = "use crate::{a, b::{c, d}, e};\nuse crate::f::g;\nfn x() { crate::h(); }";
    assert_eq!(names(text).into_iter().collect::<Vec<_>>(), ["a", "b", "e", "f", "h"]);
}

#[test]
fn no_file_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "../nextlong-py/src", "../fuzz/bodies"] {
        sources(&root.join(folder), &mut files);
    }
    for file in files {
        let lines = fs::read_to_string(&file).expect("read").lines().count();
        assert!(lines <= MAX_LINES, "{}: {lines} lines, at most {MAX_LINES}", file.display());
    }
}
