"""Texts of known documents and a small model2vec folder, for tests of embedders."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TOPIC_WORDS = {
    "sea": "ship wave harbour sail captain storm anchor tide island fish net rope deck",
    "law": "court judge trial witness appeal statute verdict crime jury prison lawyer oath",
    "bread": "flour oven yeast dough salt crust bake butter knead loaf rye wheat water",
    "stars": "planet orbit comet galaxy moon telescope light gravity sun nebula mass dust",
}
TOPICS = {topic: words.split() for topic, words in TOPIC_WORDS.items()}


def documents(count: int = 40, chunks: int = 5) -> tuple[list[str], NDArray[np.int64]]:
    """Make chunks of documents: a topic's words, a few of the document's own, and filler."""
    rng = np.random.default_rng(3)
    texts, labels = [], []
    names = list(TOPICS)
    for document in range(count):
        topic = TOPICS[names[document % len(names)]]
        own = [f"name{document}x{number}" for number in range(4)]
        for _ in range(chunks):
            words = [*rng.choice(topic, 12), *rng.choice(own, 5), *["the", "of", "and"] * 4]
            texts.append(" ".join(rng.permutation(words)))
            labels.append(document)
    return texts, np.array(labels)


def write_static(folder: Path, rows: NDArray[Any]) -> list[str]:
    """Write a model2vec folder with a word-level tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[UNK]", *(word for topic in TOPICS.values() for word in topic)][: len(rows)]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    dtype = {"int8": "I8", "float16": "F16", "float32": "F32"}[rows.dtype.name]
    header = json.dumps(
        {"embeddings": {"dtype": dtype, "shape": rows.shape, "data_offsets": [0, rows.nbytes]}}
    ).encode()
    data = struct.pack("<Q", len(header)) + header + rows.tobytes()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text('{"normalize": true}')
    return words
