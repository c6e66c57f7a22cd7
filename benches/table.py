"""Runs every bench and prints the README's table: ours and its peers, measured in the same run.

    python benches/table.py                 # all but the retrieval engines
    python benches/table.py retrieval       # those, beside other libraries' at equal recall
    python benches/table.py chunk mine      # only benches/bench_chunk.py and bench_mine.py
    python benches/table.py --from FILE     # print again what `--keep FILE` kept

A row is one of ours beside one peer; a figure is the best of the rounds. Rates are for a CPU second of
one core; end to end, for a second by the clock. Targets are the project's.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["main", "table"]

HERE = Path(__file__).resolve().parent
ROOMS = ["corpus", "chunk", "embed", "index", "mine", "tokenize", "assemble", "write"]
"""The order of the table; benches of no room come after them."""

BY_NAME_ONLY = ["retrieval"]
"""Benches that take long: graphs over 100,000 vectors, built by five libraries."""

Entry = dict[str, Any]


def run(names: list[str], keep: Path) -> int:
    """Runs the benches, each file in a process of its own, as runs are: what one bench left in memory
    slows the next. Their figures go to `keep`.
    """
    rooms = [HERE / f"bench_{name}.py" for name in names or ROOMS]
    named = {HERE / f"bench_{name}.py" for name in BY_NAME_ONLY}
    others = sorted(set(HERE.glob("bench_*.py")) - {*rooms} - named) if not names else []
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--no-header", "-p", "no:cacheprovider"]
    command += ["--benchmark-columns=min", "--benchmark-disable-gc"]
    # CPU seconds: a library that takes more than one core is charged for all, a busy machine for none.
    command += ["--benchmark-timer=time.process_time"]
    code, whole = 0, None
    with tempfile.TemporaryDirectory() as folder:
        for bench in [*rooms, *others]:
            figures = Path(folder) / f"{bench.stem}.json"
            # The figures are printed as they come, on stderr: the table alone is on stdout.
            one = subprocess.run(
                [*command, f"--benchmark-json={figures}", str(bench)],
                cwd=HERE.parent,
                stdout=sys.stderr,
                check=False,
            )
            code = code or one.returncode
            if figures.exists() and figures.stat().st_size:
                result = json.loads(figures.read_text(encoding="utf-8"))
                if whole is not None:
                    result["benchmarks"] = whole["benchmarks"] + result["benchmarks"]
                whole = result
    if whole is not None:
        keep.write_text(json.dumps(whole), encoding="utf-8")
    return code


def entries(result: dict[str, Any]) -> list[Entry]:
    """The figures of a run, in order; benches that state none are left out."""
    listed = [one["extra_info"] for one in result["benchmarks"]]
    return [entry for entry in listed if "rate" in entry]


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table."""
    lines = ["| stage | nextlong_rs | peer | ratio | target |", "|---|---|---|---|---|"]
    stages: dict[str, list[Entry]] = {}
    for entry in entries(result):
        stages.setdefault(entry["stage"], []).append(entry)
    for stage, listed in stages.items():
        peers: list[Entry | None] = [entry for entry in listed if not entry["ours"]]
        for ours in (entry for entry in listed if entry["ours"]):
            for peer in peers or [None]:
                lines.append(row(stage, ours, peer))
    return lines


def row(stage: str, ours: Entry, peer: Entry | None) -> str:
    """One line of the table."""
    ratio = ours["rate"] / peer["rate"] if peer else None
    cells = [stage, figure(ours), figure(peer) if peer else "", f"{ratio:.3g} ×" if ratio else ""]
    goals = []
    if ours.get("target"):
        goals.append((f"{short(ours['target'])} {ours['unit']}", ours["rate"] >= ours["target"]))
    if peer and peer.get("ratio") and ratio:
        goals.append((f"{peer['ratio']:g} ×", ratio >= peer["ratio"]))
    cells.append(", ".join(f"{goal}: {'met' if met else 'missed'}" for goal, met in goals))
    return f"| {' | '.join(cells)} |"


def figure(entry: Entry) -> str:
    """Who reached what: `plain Python: 310 MB/s (recall 0.97)`."""
    name = entry["who"].removeprefix("nextlong_rs").strip(" ,:")
    facts = ", ".join(f"{key} {value:.3g}" for key, value in entry.get("facts", {}).items())
    rate = f"{short(entry['rate'])} {entry['unit']}"
    return f"{name + ': ' if name else ''}{rate}{f' ({facts})' if facts else ''}"


def short(rate: float) -> str:
    """Three digits, from a million on with a prefix: 12.3, 12,300, 45.6 M."""
    for size, prefix in ((1e9, " G"), (1e6, " M")):
        if rate >= size:
            return f"{float(f'{rate / size:.3g}'):g}{prefix}"
    return f"{float(f'{rate:.3g}'):,.10g}"


def machine(result: dict[str, Any]) -> str:
    """The line under the table: processor, cores, system, versions, inputs."""
    info = result["machine_info"]
    model = info.get("cpu", {}).get("brand_raw") or platform.processor() or info.get("machine", "")
    packages = ", ".join(f"{name} {version}" for name, version in info["packages"].items())
    return (
        f"{info['cores']} cores of {model}, {info['system']}, Python {info['python_version']}, "
        f"{packages}; on {info['inputs']}; load of the machine at the end: {info['load']:.1f}"
    )


def main() -> int:
    """Runs the benches and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="which benches; default: all")
    parser.add_argument("--keep", type=Path, help="keep the figures in this JSON file")
    parser.add_argument("--from", dest="kept", type=Path, help="print the figures of this file")
    given = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        source = (given.kept or given.keep or Path(folder) / "figures.json").absolute()
        code = 0 if given.kept else run(given.names, source)
        if not source.exists() or source.stat().st_size == 0:
            print("no bench ran to its end", file=sys.stderr)
            return code or 1
        result = json.loads(source.read_text(encoding="utf-8"))
    print("\n".join(table(result)))
    print(f"\n{machine(result)}")
    if not given.kept:
        names = "".join(f" {name}" for name in given.names)
        minutes = (time.perf_counter() - begun) / 60
        print(f"`python benches/table.py{names}` took {minutes:.1f} minutes")
    return code


if __name__ == "__main__":
    sys.exit(main())
