"""Files that are there whole or not at all, and states that know which input they saw last.

A command writes OUT first and its state last, each under another name and then renamed, so a kill at any moment leaves
of both the old or the new. The state holds the last input's fingerprint and the memories before it: a run over that
same input starts from those, whether it was killed before, between or after the two, and writes the same bytes again.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where nothing is held: there a second run at the same time is not refused
    fcntl = None  # type: ignore[assignment]


class BadInputError(Exception):
    """Something in the user's files or columns; the message says what and where."""


@contextmanager
def whole_or_not(path: Path) -> Iterator[str]:
    """A file beside `path` to write, which takes its place when the block ends well and vanishes otherwise.

    A killed run leaves it behind for the next one to write over. It is locked: a second run at once is refused, but on
    a file system without locks.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder")
    part = path.with_name(f".{path.name}.part")
    with _held(part, path):
        try:
            yield str(part)
            _sync(part)
            _replace(part, path)
        except BaseException:
            with suppress(OSError):  # on Windows it can't go while it is mapped, perhaps by a frame of this error
                part.unlink(missing_ok=True)
            raise
    if fcntl is not None:  # where there is fcntl, a folder can be synced, too, but on some network file systems
        with suppress(OSError):
            _sync(path.parent)


def _replace(part: Path, path: Path) -> None:
    try:
        os.replace(part, path)
    except PermissionError as error:
        raise PermissionError(
            f"{path}: expected a file that can be replaced, but another program may have it open ({error.strerror}); "
            "it is as it was, and so is the state"
        ) from None


@contextmanager
def _held(part: Path, path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    with part.open("ab") as file:
        try:
            _lock(file)
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(part))
        except (BlockingIOError, FileNotFoundError):  # held by another, or just renamed by it
            ours = False
        if not ours:
            raise BlockingIOError(f"{path}: another run is writing it")
        yield


def _lock(file: IO[bytes]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system has no locks
        pass


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() or fcntl is not None else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(paths: Iterable[Path]) -> str:
    """Of files as they are now: where they are, how long, when written."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        found = path.stat()
        digest.update(f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def check_apart(**paths: Path | None) -> None:
    """No two of a command's files may be one."""
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(path.resolve(), name)
        if other != name:
            raise BadInputError(f"{path}: {name} must be another file than {other}")
