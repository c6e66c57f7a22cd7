"""One process a run directory: who is refused, by whose name, and who takes over."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nextlong_rs.errors import RunError
from nextlong_rs.run.lock import Lock, holder

HOLD = """
import os, sys, time
from pathlib import Path
from nextlong_rs.run.lock import Lock
with Lock(Path(sys.argv[1])):
    child = os.fork() if sys.argv[2] == "fork" else 0
    if child or sys.argv[2] != "fork":
        print(child, flush=True)
    time.sleep(60)
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that holds a lock, and its child's id where it has one."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


def test_the_second_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "") as (process, _):
        with pytest.raises(RunError, match=rf"by process {process.pid} on .*, since"), Lock(path):
            pass
        assert f"process {process.pid} on" in str(holder(path))
    assert holder(path) is None
    with Lock(path):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()


def test_a_child_that_outlives_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "fork") as (process, child):
        assert child
        with pytest.raises(RunError, match=f"process {process.pid}"), Lock(path):
            pass
        process.kill()
        process.wait()
        with Lock(path):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()


@pytest.mark.parametrize("left", ["", '{"pid": 1, "host": "elsewhere"}'])
def test_a_look_at_the_lock_refuses_no_run(left: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(left)
    with path.open("r+b") as looking:
        # As `holder` does, for much longer.
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert holder(path) is None
        threading.Timer(0.05, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        begun = time.perf_counter()
        with Lock(path):
            assert time.perf_counter() - begun > 0.02


def test_a_file_system_without_locks_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(RunError, match=r"cannot be locked \(No locks available\); name an output"),
        Lock(tmp_path / "lock"),
    ):
        pass
