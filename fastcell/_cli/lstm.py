"""`python -m fastcell lstm`: an LSTM over tables, or over an array file, stretch after stretch, at constant memory."""

import argparse
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastcell import _memory
from fastcell._checks import Array
from fastcell._files import BadInputError, check_apart, fingerprint, whole_or_not
from fastcell._model import LSTM

_BYTES = 1 << 25  # of x and y that are taken at once
_TORCH, _KERAS = (".pt", ".pth", ".ckpt", ".bin", ".jit"), (".keras", ".h5", ".hdf5")
# What names an LSTM among several, by kind of file.
_CHOICES = {"node": (".onnx",), "prefix": (".safetensors", *_TORCH), "layer": _KERAS}
_WEIGHTS = (".onnx", ".safetensors", *_TORCH, *_KERAS)
_STATES = (".safetensors", ".npz")
_HEADER = 1 << 16  # bytes of a .npy file that are none of its array's
_STATE, _BEFORE, _SEEN = ("h", "c"), ("h_before", "c_before"), "input"


def _read_weights(options: argparse.Namespace) -> LSTM:
    path: Path = options.weights
    kind = path.suffix.lower()
    if kind not in _WEIGHTS:
        raise BadInputError(f"{path}: expected weights as {', '.join(_WEIGHTS)}")
    for name, kinds in _CHOICES.items():
        if getattr(options, name) and kind not in kinds:
            raise BadInputError(f"--{name}: only with weights as {', '.join(kinds)}, got {path}")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        if kind == ".onnx":
            return LSTM.from_onnx(path, options.node, precision=options.precision)
        if kind == ".safetensors":
            return _read_safetensors(path, options.prefix, options.precision)
        if kind in _KERAS:
            return LSTM.from_keras(path, options.layer, precision=options.precision)
        return LSTM.from_torch(path, options.prefix, precision=options.precision)
    except ImportError:
        raise
    except Exception as error:  # each library has errors of its own for a file that is none of its kind
        raise BadInputError(f"{path}: {error}") from None


def _read_safetensors(path: Path, prefix: str, precision: str | None) -> LSTM:
    """What `LSTM.save` wrote, with all its options; or weights alone under torch's names."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        own = "fastcell" in (file.metadata() or {})
    if own and prefix:
        raise ValueError("--prefix: this file is one LSTM of LSTM.save's")
    if not own:
        return LSTM.from_safetensors(path, prefix, precision=precision)
    cell = LSTM.load(path)
    return cell if precision is None else cell.with_precision(precision)


def _mapped(path: Path) -> Array:
    """The array, mapped anew, so that pages that were read before count no more."""
    try:
        with np.errstate(over="raise"):  # a size that no integer holds
            x: Array = np.load(path, mmap_mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged header is read as Python, with whatever that raises
        raise BadInputError(f"{path}: not an array file (.npy) of numbers: {error}") from None
    if not isinstance(x, np.ndarray):
        raise BadInputError(f"{path}: expected one array (.npy), got an archive")
    return x


class _State:
    """(h, c) in a file, those before the last run, and which input that was; no array of more than `most` values."""

    def __init__(self, path: Path | None, seen: str, most: int) -> None:
        self.path, self.seen, self.most = path, seen, most
        self.start: tuple[Array, Array] | None = None
        if path is None:
            return
        if path.suffix.lower() not in _STATES:
            raise BadInputError(f"{path}: expected a state as {' or '.join(_STATES)}")
        if not path.exists():
            return
        try:
            arrays, seen_last = self._read(path)
        except ImportError:
            raise
        except Exception as error:
            raise BadInputError(f"{path}: not a state of lstm: {error}") from None
        if not set(_STATE) <= set(arrays):
            raise BadInputError(f"{path}: expected a state with h and c, got {', '.join(arrays) or 'nothing'}")
        names = _BEFORE if seen_last == seen else _STATE
        if set(names) <= set(arrays):
            self.start = arrays[names[0]], arrays[names[1]]

    def _read(self, path: Path) -> tuple[dict[str, Array], str]:
        if path.suffix.lower() == ".npz":
            with path.open("rb") as opened, np.load(opened) as file:  # of a damaged archive, np.load closes nothing
                for member in file.zip.infolist():  # a compressed one may claim a thousand times the file's size
                    self._bounded(member.filename, member.file_size - _HEADER, "bytes", 8)
                arrays = {name: file[name] for name in file.files}
            return arrays, str(arrays.pop(_SEEN, ""))
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            names = file.keys()
            for name in names:
                self._bounded(name, math.prod(file.get_slice(name).get_shape()), "values", 1)
            arrays = {name: file.get_tensor(name) for name in names}
            return arrays, (file.metadata() or {}).get(_SEEN, "")

    def _bounded(self, name: str, size: int, unit: str, each: int) -> None:
        if size > self.most * each:
            raise ValueError(f"{name} must have at most the {self.most * each} {unit} of a state for X, got {size}")

    def save(self, last: tuple[Array, Array]) -> None:
        if self.path is None:
            return
        arrays = dict(zip(_STATE, last, strict=True)) | dict(zip(_BEFORE, self.start or (), strict=False))
        with whole_or_not(self.path) as name:
            if self.path.suffix.lower() == ".npz":
                with open(name, "wb") as file:
                    np.savez(file, **arrays, **{_SEEN: np.array(self.seen)})  # type: ignore[arg-type]
                return
            from safetensors.numpy import save_file

            save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, name, {_SEEN: self.seen})


class _Silent:
    """A progress bar that shows nothing."""

    def update(self, count: int) -> None:
        pass


def _progress(total: int, unit: str) -> Any:
    """tqdm's bar where that library is there: weights alone don't bring it."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext(_Silent())
    return tqdm(total=total, unit=unit, unit_scale=True, disable=None)


def _pieces(total: int, bytes_each: int) -> Iterator[tuple[int, int]]:
    """Steps or rows that are taken at once; one empty piece of nothing."""
    step = max(1, _BYTES // max(bytes_each, 1))
    for first in range(0, max(total, 1), step):
        yield first, min(first + step, total)


def _in_steps(cell: LSTM, path: Path, name: str, state: Any) -> Any:
    """Stretches of time, written one after the other."""
    x = _mapped(path)
    T, width = len(x), cell.output_size
    shape = (*x.shape[:-1], width)
    rows = x.shape[1] if x.ndim == 3 else 1
    with open(name, "wb") as file, _progress(T, " steps") as progress:
        header = {"descr": cell.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for first, last in _pieces(T, rows * (x.shape[-1] + width) * 8):
            y, state = cell(_mapped(path)[first:last], state, batch_first=False)
            file.write(np.ascontiguousarray(y).data)
            progress.update(last - first)
    return state


def _in_rows(cell: LSTM, path: Path, name: str) -> None:
    """Blocks of rows over all steps, as a direction that runs backwards needs the end first."""
    x = _mapped(path)
    T, width = len(x), cell.output_size * cell.directions
    rows = x.shape[1] if x.ndim == 3 else 1
    shape = (T, rows, width) if x.ndim == 3 else (T, width)
    with open(name, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": cell.dtype.str, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + T * rows * width * cell.dtype.itemsize)
    if not T * rows * width:
        return
    with _progress(rows, " rows") as progress:
        for first, last in _pieces(rows, T * (x.shape[-1] + width) * 8):
            y = np.load(name, mmap_mode="r+")
            if x.ndim == 3:
                y[:, first:last] = cell(_mapped(path)[:, first:last], batch_first=False)[0]
            else:
                y[...] = cell(_mapped(path), batch_first=False)[0]
            y.flush()
            progress.update(last - first)


def lstm(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""
    if options.inputs:
        return _over_tables(options)
    if options.input.suffix.lower() in (".csv", ".parquet") or options.input.is_dir():
        raise BadInputError(f"{options.input}: expected --inputs, the columns of a table that the LSTM reads")
    for name in ("by", "order_by", "list", "nulls"):
        if getattr(options, name):
            raise BadInputError(f"--{name.replace('_', '-')}: only with --inputs, over tables")
    return _over_an_array(options)


def _over_tables(options: argparse.Namespace) -> None:
    from fastcell._cli.stream import Kinds, run
    from fastcell.frames.lstm_job import LstmJob

    inputs = [name for given in options.inputs for name in given.split(",")]

    def make(names: list[str]) -> tuple[LstmJob, Kinds]:
        import pyarrow as pa

        weights, nulls = _read_weights(options), options.nulls or "raise"
        job = LstmJob(weights, inputs, options.by, options.order_by, options.list, nulls, {"threads": None})
        return job, dict.fromkeys(inputs, (pa.float64(),))

    run(options, make, WEIGHTS=options.weights)


def _over_an_array(options: argparse.Namespace) -> None:
    check_apart(X=options.input, STATE=options.state, OUT=options.output, WEIGHTS=options.weights)
    cell = _read_weights(options)
    x = _mapped(options.input)
    if x.ndim not in (2, 3) or x.shape[-1] != cell.input_size:
        raise BadInputError(f"{options.input}: expected (T, B, I) or (T, I) with I = {cell.input_size}, got {x.shape}")
    backwards = cell.bidirectional or cell.reverse
    if backwards and options.state:
        raise BadInputError("--state: these weights have a direction that runs backwards, which can't be gone on with")
    rows = x.shape[1] if x.ndim == 3 else 1
    _memory.check(8 * rows * cell.num_layers * cell.hidden_size, "{}: the state of {} rows", options.input, rows)
    state = _State(options.state, fingerprint([options.input]), rows * cell.num_layers * cell.hidden_size)
    try:
        with whole_or_not(options.output) as name:
            if backwards:
                _in_rows(cell, options.input, name)
            else:
                last = _in_steps(cell, options.input, name, state.start)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{options.input}: {error}") from None
    if not backwards:
        state.save(last)
