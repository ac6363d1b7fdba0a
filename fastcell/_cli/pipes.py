"""Standard input and output in the place of files: what comes and what goes is a file until it is whole."""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_PIPE = Path("-")


@contextmanager
def files(options: argparse.Namespace) -> Iterator[tuple[str | None, Callable[[], None]]]:
    """Meanwhile IN and OUT of `options` are files where they were `-`. Gives what tells this input from others, if it
    came by standard input, and a function that passes OUT on."""
    shown = options.output == _PIPE
    if not shown and options.input != _PIPE:
        yield None, lambda: None
        return
    with TemporaryDirectory(prefix="fastcell-") as folder:
        seen = None
        if options.input == _PIPE:
            options.input, seen = _kept(Path(folder) / "standard-input")
        if shown:
            options.output = Path(folder) / "standard-output.csv"
        yield seen, lambda: _pass_on(options.output) if shown else None


def _kept(path: Path) -> tuple[Path, str]:
    """Standard input in a file named for what it is, and its digest."""
    digest, first = hashlib.blake2b(digest_size=16), b""
    with path.open("wb") as file:
        while piece := sys.stdin.buffer.read(1 << 20):
            first = first or piece[:4]
            digest.update(piece)
            file.write(piece)
    return path.rename(path.with_suffix(".parquet" if first == b"PAR1" else ".csv")), digest.hexdigest()


def _pass_on(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    sys.stdout.buffer.flush()
