"""Makes the sample corpus and the sample tokenizer that the package ships.

    python benches/make_sample.py CORPUS.jsonl.zst [FOLDER]

CORPUS holds one JSON object a line with `id`, `text`, `source`, `topic` and `license`. Only documents
whose licence lets us pass them on are used: public domain, CC0, CC BY, MIT and Apache-2.0. The same
corpus gives the same files (with the same versions of `tokenizers` and `zstandard`).
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

FREE = {
    "public-domain",
    "CC0-1.0 (US public domain text)",
    "CC-BY-4.0",
    "MIT",
    "MIT OR Apache-2.0",
    "Apache-2.0",
}

# Characters of each shelf that go into the sample; a shelf is a source, or one book of it.
SHELVES = {
    "openstax/astronomy-2e": 330_000,
    "openstax/us-history": 330_000,
    "openstax/microbiology": 330_000,
    "openstax/psychology-2e": 330_000,
    "openstax/principles-economics-3e": 330_000,
    "openstax/introduction-philosophy": 330_000,
    "peps": 800_000,
    "rust-rfcs": 600_000,
    "debian:sqlite3-doc": 300_000,
    "debian:apache2-doc": 400_000,
}

# At least two chunks of 2,048 characters, and no document that alone fills a sequence.
SHORTEST, LONGEST = 4_500, 60_000

VOCABULARY = 8192
SPECIAL = ["<|bos|>", "<|endoftext|>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Characters a source gives to the training of the tokenizer: public domain and CC0 first.
TRAINING = {
    "standardebooks": 6_000_000,
    "peps": 6_000_000,
    "debian:sqlite3-doc": 1_000_000,
    "openstax": 4_000_000,
    "rust-rfcs": 2_000_000,
    "debian:apache2-doc": 1_000_000,
    "debian:nodejs-doc": 300_000,
}

NAMES = {
    "openstax": (
        "OpenStax textbooks, openstax.org, Rice University",
        "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/); markup removed, sections as documents;"
        " access the books for free at openstax.org",
    ),
    "peps": ("Python Enhancement Proposals, peps.python.org, their authors", "public domain / CC0"),
    "rust-rfcs": (
        "Rust RFCs, github.com/rust-lang/rfcs, their authors",
        "MIT or Apache-2.0, at your choice",
    ),
    "debian:sqlite3-doc": ("SQLite documentation, sqlite.org", "public domain"),
    "debian:apache2-doc": (
        "Apache HTTP Server documentation, httpd.apache.org, the Apache Software Foundation",
        "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0); markup removed",
    ),
}


def documents(corpus: Path) -> Iterator[dict[str, Any]]:
    """The documents that may be passed on, in the order of the corpus."""
    with corpus.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf8")
        for line in lines:
            document = json.loads(line)
            if document["license"] in FREE:
                yield document


def shelf(document: dict[str, Any]) -> str:
    """A source, or one book of OpenStax."""
    if document["source"] != "openstax":
        return str(document["source"])
    return "openstax/" + str(document["topic"]).split("/")[0]


def chance(text: str) -> bytes:
    """A fixed order that has nothing to do with the text."""
    return hashlib.sha256(text.encode()).digest()


def choose(corpus: Path) -> list[dict[str, Any]]:
    """Whole topics of each shelf, in a fixed order, until its share is full."""
    topics: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for document in documents(corpus):
        name = shelf(document)
        if name in SHELVES and SHORTEST <= len(document["text"]) <= LONGEST:
            topics[name][document["topic"]].append(document)
    chosen: list[dict[str, Any]] = []
    for name, budget in SHELVES.items():
        for topic in sorted(topics[name], key=chance):
            for document in sorted(
                topics[name][topic], key=lambda document: chance(document["id"])
            ):
                if len(document["text"]) <= budget:
                    chosen.append(document)
                    budget -= len(document["text"])
    return sorted(chosen, key=lambda document: chance(document["id"]))


def train(corpus: Path) -> Tokenizer:
    """A byte-level BPE with the split rule of the GPT-4 family."""
    texts: dict[str, list[str]] = defaultdict(list)
    room = dict(TRAINING)
    for document in sorted(documents(corpus), key=lambda document: chance(document["id"])):
        source, text = document["source"], document["text"]
        if room.get(source, 0) > 0:
            texts[source].append(text[: room[source]])
            room[source] -= len(text)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for name in sorted(texts) for text in texts[name]), trainer)
    return tokenizer


def attribution(chosen: list[dict[str, Any]]) -> str:
    """Who wrote the sample, and under which licences it is passed on."""
    counts: dict[str, int] = defaultdict(int)
    for document in chosen:
        counts[shelf(document)] += 1
    lines = [
        "# Where the sample comes from",
        "",
        "`sample.jsonl.zst` holds documents of these works; each line names its source and licence.",
        "",
        "| documents | work | licence |",
        "|---|---|---|",
    ]
    for name in SHELVES:
        work, licence = NAMES[name.split("/")[0]]
        title = name.partition("/")[2]
        lines.append(f"| {counts[name]} | {work}{f' ({title})' if title else ''} | {licence} |")
    lines += [
        "",
        "`tokenizer.json` was trained by us (`benches/make_sample.py`) on public-domain, CC0, CC BY, MIT",
        "and Apache-2.0 text: Standard Ebooks (CC0), the works above and the Node.js documentation (MIT).",
        "It is passed on under the licence of this package.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Writes the three files."""
    corpus = Path(sys.argv[1])
    default = Path(__file__).parent.parent / "python/nextlong_rs/data"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else default
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose(corpus)
    kept = ("id", "text", "source", "topic", "license")
    rows = (
        json.dumps({key: document[key] for key in kept}, ensure_ascii=False) for document in chosen
    )
    packed = zstandard.ZstdCompressor(level=22).compress(
        "".join(row + "\n" for row in rows).encode()
    )
    (folder / "sample.jsonl.zst").write_bytes(packed)
    (folder / "ATTRIBUTION.md").write_text(attribution(chosen), encoding="utf8")
    train(corpus).save(str(folder / "tokenizer.json"), pretty=False)
    characters = sum(len(document["text"]) for document in chosen)
    print(f"{len(chosen)} documents, {characters:,} characters, {len(packed):,} bytes packed")


if __name__ == "__main__":
    main()
