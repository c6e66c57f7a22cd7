"""How fast documents are cut: MB of UTF-8 a second on one core, beside the rule in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nextlong_rs.chunking import chunk, chunk_spans

SENTENCES = {
    "english": "The rain in Spain stays mainly in the plain. ",
    "chinese": "西班牙的雨主要下在平原上。",
}


def plain_python(text: str, limit: int = 2048) -> list[str]:
    """The authors' rule, transcribed: the peer."""
    chunks: list[str] = []
    group: list[str] = []
    length = 0
    for line in text.split("\n"):
        if length + len(line) > limit:
            if length != 0:
                chunks.append("\n".join(group))
            group, length = [line], len(line)
        else:
            group.append(line)
            length += len(line)
    chunks.append("\n".join(group))
    return chunks


@pytest.mark.parametrize("language", sorted(SENTENCES))
@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(plain_python, id="plain_python"),
        pytest.param(lambda text: chunk(text, mode="paper"), id="paper"),
        pytest.param(chunk, id="lossless"),
        pytest.param(chunk_spans, id="lossless_spans"),
    ],
)
def test_cut_documents(benchmark: Any, language: str, cut: Callable[[str], Any]) -> None:
    """1,000 documents of 20 lines, six sentences a line, a blank line after each."""
    document = (SENTENCES[language] * 6 + "\n\n") * 20
    texts = [f"{number}\n{document}" for number in range(1000)]
    size_bytes = sum(len(text.encode()) for text in texts)

    def cut_all() -> None:
        for text in texts:
            cut(text)

    benchmark.pedantic(cut_all, rounds=5, warmup_rounds=1)
    rate = size_bytes / benchmark.stats["min"] / 1e6
    benchmark.extra_info["MB/s"] = round(rate)
    print(f"\n{cut.__name__ if cut is plain_python else benchmark.name}: {rate:,.0f} MB/s")
