"""Rewrite the pinned hashes.

    python -m tests.golden.update            rerun all and record their hashes
    python -m tests.golden.update --model    fit and store the model first

The record of runs that fit a model is replaced for processors of this kind, and the
records of others are kept, unless `--forget` drops them. Commit the change with its reason: which bytes
of the output changed, and why.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden import runs


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the pinned hashes.")
    parser.add_argument("--model", action="store_true", help="fit and store the model first")
    parser.add_argument(
        "--forget", action="store_true", help="drop the records of other processors"
    )
    given = parser.parse_args()
    if given.model:
        runs.fit_model()
    before: dict[str, Any] = {}
    if runs.RECORD.is_file():
        before = json.loads(runs.RECORD.read_text(encoding="utf-8"))
    with runs.stored_model() as model:
        runs.check_usable(model)
        record = {name: _hashes(name, model, before.get("runs", {})) for name in runs.RUNS}
    fitted = {} if given.forget else before.get("fitted", {})
    level = runs.processor()
    known = fitted.get(level, {})
    fitted[level] = {name: _hashes(name, None, known) for name in runs.FITTED}
    text = json.dumps({"runs": record, "fitted": fitted}, indent=1, sort_keys=True)
    runs.RECORD.write_text(text + "\n", encoding="utf-8")


def _hashes(name: str, embedder: Any, before: dict[str, Any]) -> dict[str, str]:
    """The hashes of a run; says what differs from the record."""
    tokenizer = (runs.FITTED if embedder is None else runs.RUNS)[name].tokenizer
    if tokenizer is not None and not tokenizer.exists():
        sys.exit(f"{name}: {tokenizer} is missing; hint: put ../shared beside the repository")
    with tempfile.TemporaryDirectory() as folder:
        found = runs.hashes(name, Path(folder), threads=1, embedder=embedder)
    known: dict[str, str] = before.get(name, {})
    changed = [part for part in known | found if known.get(part) != found.get(part)]
    if not known:
        print(f"{name}: new")
    else:
        print(f"{name}: {'as recorded' if not changed else 'changed: ' + ', '.join(changed)}")
    return found


if __name__ == "__main__":
    main()
