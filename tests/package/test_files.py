"""_files.py and the compile cache on systems other than Linux, as far as a patched `os` imitates them."""

import errno
import os
from pathlib import Path

import pytest

from fastcell import _files, _jit

pytestmark = pytest.mark.skipif(_files.fcntl is None, reason="patches fcntl")


def write(path, text):
    with _files.whole_or_not(path) as part:
        Path(part).write_text(text, "utf-8")


@pytest.fixture
def out(tmp_path):
    path = tmp_path / "out"
    write(path, "old")
    return path


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_no_other_run(out, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_files.fcntl, "flock", flock)
    write(out, "new")
    assert out.read_text("utf-8") == "new"
    assert [*out.parent.iterdir()] == [out]


def test_another_run_is_refused(out):
    with _files.whole_or_not(out), pytest.raises(BlockingIOError, match=r"another run is writing it$"):
        write(out, "new")
    assert out.exists()


def test_a_folder_that_can_t_be_synced(out, monkeypatch):
    fsync = os.fsync

    def only_files(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    write(out, "new")
    assert out.read_text("utf-8") == "new"


def test_an_out_that_another_program_has_open(out, monkeypatch):
    def replace(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError, match=r"out: expected a file that can be replaced.*, and so is the state$"):
        write(out, "new")
    assert out.read_text("utf-8") == "old"
    assert [*out.parent.iterdir()] == [out]


def test_a_part_that_can_t_be_removed_hides_no_error(out, monkeypatch):
    def unlink(*_, **__):
        raise PermissionError(errno.EACCES, "mapped")

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(ZeroDivisionError), _files.whole_or_not(out):
        raise ZeroDivisionError
    monkeypatch.undo()
    write(out, "new")  # over what was left
    assert out.read_text("utf-8") == "new"
    assert [*out.parent.iterdir()] == [out]


def test_code_that_another_process_reads_can_stay(tmp_path, monkeypatch):
    files = _jit._Files([tmp_path], "fastcell.scan.a_kernel")

    def replace(*_):
        raise PermissionError(errno.EACCES, "Access is denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(PermissionError):
            files.save("key", [1])
    files.save("key", [1])
    monkeypatch.setattr(Path, "replace", replace)
    files.save("key", [1])
    assert files.load("key") == [1]
    assert len([*tmp_path.iterdir()]) == 1


def test_a_folder_that_can_t_be_written_any_more_leaves_it_to_the_next(tmp_path, monkeypatch):
    """Also where the file is there, but damaged."""
    files = _jit._Files([tmp_path / "image", tmp_path / "user"], "fastcell.scan.a_kernel")
    files.save("key", [1])
    (image,) = (tmp_path / "image").iterdir()
    image.write_bytes(b"damaged")
    write = Path.open

    def refuse(path, *mode):
        if path.parent.name == "image":
            raise PermissionError(errno.EACCES, "Permission denied")
        return write(path, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        files.save("key", [1])
    assert _jit._Files([tmp_path / "user"], "fastcell.scan.a_kernel").load("key") == [1]


def test_names_in_the_cache_are_short_and_those_of_their_kernel(tmp_path):
    one, other = (_jit._Files([tmp_path], "fastcell." + "a" * 200 + end) for end in "xy")
    one.save("key", 1)
    other.save("key", 2)
    assert (one.load("key"), other.load("key")) == (1, 2)
    assert max(len(path.name) for path in tmp_path.iterdir()) < 120
    one.flush()
    assert (one.load("key"), other.load("key")) == (None, 2)
