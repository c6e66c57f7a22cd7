"""The command `nextlong`: makes sequences, estimates a run, and shows runs and their results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from nextlong_rs.errors import ConfigError, NextlongError

__all__ = ["main"]

_USAGE: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,
    "epilog": "INPUT is a JSONL (.gz, .zst), Parquet or text file, a folder of them or a glob;\n"
    "INPUT=WEIGHT draws meta-documents from it in proportion to WEIGHT.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        command: Any = given.command
        return int(command(given))
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigError as error:
        print(f"nextlong: {error}", file=sys.stderr)
        return 2
    except (NextlongError, OSError) as error:
        print(f"nextlong: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nextlong: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from nextlong_rs import __version__

    parser = argparse.ArgumentParser(
        prog="nextlong",
        description="Long-context training sequences from short documents (NExtLong).",
    )
    parser.add_argument("--version", action="version", version=f"nextlong {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    synthesize = commands.add_parser(
        "synthesize", help="make training sequences from a corpus", **_USAGE
    )
    synthesize.set_defaults(command=_synthesize)
    _add_inputs(synthesize)
    synthesize.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="the folder of the run"
    )
    synthesize.add_argument("--no-progress", action="store_true", help="show no bars")
    synthesize.add_argument("--overwrite", action="store_true", help="replace a finished run")
    synthesize.add_argument(
        "--no-resume", action="store_true", help="keep nothing that an earlier run finished"
    )
    _add_settings(synthesize)

    estimate = commands.add_parser(
        "estimate", help="say what a run would need, from a sample of the corpus", **_USAGE
    )
    estimate.set_defaults(command=_estimate)
    _add_inputs(estimate)
    _add_settings(estimate)

    inspect = commands.add_parser("inspect", help="show who is who in the sequences of a run")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("run", metavar="DIR", help="the folder of a finished run")
    inspect.add_argument(
        "-n", type=int, default=3, metavar="N", help="sequences to show, 3 by default"
    )

    status = commands.add_parser("status", help="show where a run stands")
    status.set_defaults(command=_status)
    status.add_argument("run", metavar="DIR", help="the folder of a run")
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    """What a run and its estimate are given alike."""
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="a file, folder or glob, or INPUT=WEIGHT"
    )
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json, or its folder")
    parser.add_argument(
        "--sample",
        action="store_true",
        help="use the sample corpus and the small tokenizer that the package ships",
    )
    parser.add_argument("--config", metavar="FILE", help="settings as TOML, YAML or JSON")
    parser.add_argument("--mode", choices=["default", "paper"])
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    parser.add_argument(
        "--memory-limit", metavar="SIZE", help="the most memory to hold, such as 2GB; default: any"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for every setting; `none` means None."""
    from nextlong_rs.settings import Settings, described

    group = parser.add_argument_group("settings")
    meanings = described()
    hints = get_type_hints(Settings)
    for field in fields(Settings):
        choices = [word for word in get_args(hints[field.name]) if isinstance(word, str)]
        default = field.default
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            dest="setting_" + field.name,
            default=argparse.SUPPRESS,
            metavar="|".join(choices) or "VALUE",
            help=f"{meanings[field.name]} Default: {default!r}.".replace("%", "%%"),
        )


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    from nextlong_rs.settings import Settings

    hints = get_type_hints(Settings)
    chosen: dict[str, Any] = {}
    for name, text in vars(given).items():
        if name.startswith("setting_"):
            name = name.removeprefix("setting_")
            chosen[name] = _value(name, text, hints[name])
    if given.mode is not None:
        chosen["mode"] = given.mode
    return chosen


def _value(name: str, text: str, hint: Any) -> Any:
    from nextlong_rs.settings import parse_count

    kinds = get_args(hint) or (hint,)
    if text.lower() == "none" and type(None) in kinds:
        return None
    try:
        if int in kinds and str not in kinds:
            return parse_count(text)
        if int in kinds and text.isdecimal():
            return int(text)
        if float in kinds:
            return float(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}, expected a number") from None
    if bool in kinds:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name} is {text!r}, expected true or false")
        return text.lower() == "true"
    if name == "chunk_separator":  # a shell has no easy way to write these
        return text.replace("\\n", "\n").replace("\\t", "\t")
    return text


def _given(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments that `synthesize` and `estimate` take alike."""
    from nextlong_rs.sample import sample_corpus, sample_tokenizer
    from nextlong_rs.settings import Settings

    inputs: Any = [_weighted(item) for item in given.inputs]
    tokenizer = given.tokenizer
    if given.sample:
        inputs = inputs or sample_corpus()
        tokenizer = tokenizer or sample_tokenizer()
    if not inputs:
        raise ConfigError("no input is named; name files or folders, or use --sample")
    if tokenizer is None:
        raise ConfigError("no tokenizer is named; use --tokenizer FILE, or --sample")
    return {
        "inputs": inputs,
        "tokenizer": tokenizer,
        "settings": Settings.load(given.config) if given.config else None,
        "threads": given.threads,
        "memory_limit": given.memory_limit,
        **_settings(given),
    }


def _synthesize(given: argparse.Namespace) -> int:
    from nextlong_rs.synthesize import synthesize

    result = synthesize(
        output=given.output,
        progress=not given.no_progress,
        overwrite=given.overwrite,
        resume=not given.no_resume,
        **_given(given),
    )
    print(result)
    return 0


def _estimate(given: argparse.Namespace) -> int:
    from nextlong_rs.estimate import estimate

    print(estimate(**_given(given)))
    return 0


def _weighted(item: str) -> str | tuple[str, float]:
    path, equals, weight = item.rpartition("=")
    if equals and path and not os.path.lexists(item):
        try:
            return path, float(weight)
        except ValueError:
            pass
    return item


def _inspect(given: argparse.Namespace) -> int:
    from nextlong_rs.result.inspect import inspect

    inspect(given.run, n=given.n)
    return 0


def _status(given: argparse.Namespace) -> int:
    from nextlong_rs.run.status import status

    print(status(given.run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
