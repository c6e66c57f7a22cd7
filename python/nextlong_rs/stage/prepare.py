"""Reads and checks the arguments of a run: settings, inputs and tokenizer.

In: what the user gives. Out: the same, resolved, without touching the run directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs.corpus.inputs import Input, resolve
from nextlong_rs.engine.pool import Pool
from nextlong_rs.settings import Settings
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.special import SpecialIds
from nextlong_rs.tokenize.tokenizer import Tokenizer

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The arguments of a run, read and checked.

    Attributes:
        settings: Its settings.
        listing: Its inputs, one by one.
        tokenizer: Its tokenizer, which encodes once `separator` was called.
        special: The ids that begin and end a sequence.
    """

    settings: Settings
    listing: list[Input]
    tokenizer: Tokenizer
    special: SpecialIds

    def separator(self) -> NDArray[np.uint32]:
        """Make the tokenizer ready; returns the ids between two chunks."""
        self.tokenizer.ready()
        return self.tokenizer.separator_ids(self.settings.chunk_separator, eos=self.special.eos)


def prepare(
    inputs: Any, *, tokenizer: Any, settings: Settings | None, options: dict[str, Any]
) -> Prepared:
    """Read and check the arguments of a run, without touching its folder."""
    # On a thread, so that Ctrl-C is heard while a large file is read.
    with Pool(1) as pool:
        chosen = Settings.of(settings, **options)
        listing = resolve(inputs)
        loaded = pool.call(lambda: load(tokenizer, lazy=True))
    special = loaded.special_ids(bos=chosen.bos, eos=chosen.eos)
    loaded.check_separator(chosen.chunk_separator, eos=special.eos)
    return Prepared(chosen, listing, loaded, special)
