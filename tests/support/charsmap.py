"""Builds a small `precompiled_charsmap`, the table of replacements of a SentencePiece model.

In: nothing. Out: the table in base64: a double array (the units of Darts-clone) that finds a string
of bytes, and the texts that stand for what it finds.
"""

from __future__ import annotations

import base64
import struct

__all__ = ["REPLACEMENTS", "charsmap"]

REPLACEMENTS = {
    "\u3000": " ",
    "\u00a0": " ",
    "\t": " ",
    "\n": " ",
    "\u200b": " ",
    "\ufeff": "",
    "\ufb01": "fi",
    "\uff21": "A",
    "\uff22": "B",
    "\u2460": "1",
    "½": "1\u20442",
    "e\u0301": "é",
    "…": "...",
}
"""What stands for what, as in the table `nmt_nfkc` that T5 and XLM-R ship."""

_UNITS = 1 << 12


def charsmap() -> str:
    """The table as a `tokenizer.json` holds it."""
    texts = bytearray()
    values = {}
    for key, text in REPLACEMENTS.items():
        values[key.encode()] = len(texts)
        texts += text.encode() + b"\0"
    units = _double_array(values)
    packed = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(packed)) + packed + texts).decode()


def _double_array(values: dict[bytes, int]) -> list[int]:
    """The units of a trie that finds `values`: the child by `label` is at `node ^ offset ^ label`."""
    units = [0] * _UNITS
    taken = [False] * _UNITS
    taken[0] = True

    def place(node: int, keys: list[bytes], depth: int) -> None:
        groups: dict[int, list[bytes]] = {}
        for key in keys:
            groups.setdefault(key[depth] if depth < len(key) else 0, []).append(key)
        offset = next(
            offset
            for offset in range(1, _UNITS // 2)
            if all(
                not taken[node ^ offset ^ label] and node ^ offset ^ label > 0 for label in groups
            )
        )
        units[node] |= offset << 10 | (0x100 if 0 in groups else 0)
        for label in groups:
            taken[node ^ offset ^ label] = True
        for label, group in groups.items():
            child = node ^ offset ^ label
            if label == 0:
                units[child] = values[group[0]] | 1 << 31
            else:
                units[child] = label
                place(child, group, depth + 1)

    place(0, sorted(values), 0)
    return units
