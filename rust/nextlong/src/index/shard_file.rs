//! True if the file of a graph shard can be followed safely.
//!
//! usearch trusts the links in its files: a damaged one would read foreign memory. So every number
//! that it follows is looked at first. The layout is that of usearch 2: vectors, a head, the levels
//! of the nodes, the nodes with their links.

use std::ops::Range;

/// Bytes before the vectors: their number and their length.
const SIZES: usize = 8;

/// Bytes of usearch's own head.
const HEAD: usize = 64;

/// Bytes of the graph's head: five numbers.
const GRAPH: usize = 40;

/// Bytes of a node before its links: key and level.
const NODE: usize = 10;

/// Checks that `bytes` is a graph of the rows `keys` with `dim` bytes each, all of whose links lead
/// to a node on their level.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(
    bytes: &[u8],
    keys: Range<usize>,
    dim: usize,
    links: usize,
) -> Result<(), &'static str> {
    const OTHER: &str = "the index of other vectors";
    const CUT: &str = "the file is cut off";
    let nodes = keys.len();
    let found = (number::<4>(bytes, 0).ok_or(CUT)?, number::<4>(bytes, 4).ok_or(CUT)?);
    if found != (nodes as u64, dim as u64) {
        return Err(OTHER);
    }
    let graph = SIZES + nodes * dim + HEAD;
    let head: Vec<u64> = (0..GRAPH)
        .step_by(8)
        .map(|place| number::<8>(bytes, graph + place))
        .collect::<Option<_>>()
        .ok_or(CUT)?;
    if head[..3] != [nodes as u64, links as u64, 2 * links as u64] {
        return Err(OTHER);
    }
    let start = graph + GRAPH;
    let levels: Vec<u64> = (0..nodes)
        .map(|node| number::<2>(bytes, start + 2 * node))
        .collect::<Option<_>>()
        .ok_or(CUT)?;
    if levels.iter().any(|&level| level > 64) {
        return Err("a node has an impossible level");
    }
    let entry = usize::try_from(head[4]).ok().and_then(|entry| levels.get(entry));
    if nodes > 0 && entry.is_none_or(|&level| head[3] > level) {
        return Err("the search would start nowhere");
    }
    let mut place = start + 2 * nodes;
    for (node, &level) in levels.iter().enumerate() {
        let key = number::<8>(bytes, place).ok_or(CUT)?;
        let own_level = number::<2>(bytes, place + 8).ok_or(CUT)?;
        if (key, own_level) != ((keys.start + node) as u64, level) {
            return Err("a node has the key or level of another");
        }
        place += NODE;
        for height in 0..=level {
            let room = if height == 0 { 2 * links } else { links };
            let count = number::<4>(bytes, place).ok_or(CUT)? as usize;
            let lies = place + 4..place + 4 + 4 * room;
            let slots = bytes.get(lies.clone()).ok_or(CUT)?;
            let leads = |slot: &[u8]| {
                let to = number::<4>(slot, 0).and_then(|to| levels.get(to as usize));
                to.is_some_and(|&level| level >= height)
            };
            if count > room || !slots.chunks_exact(4).take(count).all(leads) {
                return Err("a link leads nowhere");
            }
            place = lies.end;
        }
    }
    if place == bytes.len() { Ok(()) } else { Err("the file is too long") }
}

/// The values of a node of a file that was checked.
pub fn row(bytes: &[u8], node: usize, dim: usize) -> impl Iterator<Item = i8> {
    bytes[SIZES + node * dim..][..dim].iter().map(|byte| byte.cast_signed())
}

/// The little-endian number of `N` bytes at `place`.
fn number<const N: usize>(bytes: &[u8], place: usize) -> Option<u64> {
    let bytes = bytes.get(place..place.checked_add(N)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
