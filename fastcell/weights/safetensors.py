"""Safetensors files: weights under nn.LSTM's names, and in the files that fastcell writes the configuration, too."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastcell import _memory
from fastcell._checks import Array
from fastcell._files import whole_or_not
from fastcell.lstm.config import Quantized
from fastcell.weights.torch import from_torch

_CONFIGURATION = (
    "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "reverse", "peepholes", "coupled",
    "clip", "activations", "dtype", "batch_first",
)  # fmt: skip
_SCALE = "scale."
"""In front of a weight's name: the scales, one a row, of a weight that is integers times these."""

_INITIAL = "initial_h", "initial_c"
"""Tensors of the initial state, (L*D, H or P) and (L*D, H), in a file of an LSTM that has one."""

_Made = TypeVar("_Made")


def from_safetensors(path: Any, prefix: str = "") -> dict[str, Any]:
    """Arguments of LSTM from a file of tensors, of which only those under the prefix are read."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, got {type(prefix).__name__}")
    with _opened(path, "from_safetensors") as file:
        if "fastcell" in (file.metadata() or {}):
            raise ValueError(f"path must be a file from elsewhere, got {path} by LSTM.save, which LSTM.load reads")
        return from_torch({name: _Tensor(file, name) for name in file.keys()}, prefix)  # noqa: SIM118, no mapping


def save(lstm: Any, path: Any) -> None:
    """Write an LSTM's weights and configuration."""
    library = _library("save")
    given = {name: getattr(lstm, name) for name in _CONFIGURATION} | {"dtype": lstm.dtype.name}
    given["activations"] = [
        [entry] if isinstance(entry, str) else [entry[0], *map(float, entry[1:])] for entry in lstm.activations
    ]
    if lstm.precision != lstm.dtype.name:
        given["precision"] = lstm.precision
    configuration, weights = json.dumps(given), lstm.state_dict()
    weights |= {
        _SCALE + name: weight.scale for name, weight in lstm.quantized().items() if isinstance(weight, Quantized)
    }
    weights |= dict(zip(_INITIAL, lstm.initial_state or (), strict=False))
    # One entry: the library writes several in any order, and the same LSTM shall be the same bytes.
    metadata = {"fastcell": f"{_checksum(configuration, weights)} {configuration}"}
    with whole_or_not(Path(path)) as name:
        try:
            library.numpy.save_file(weights, name, metadata)
        except library.SafetensorError as error:
            raise OSError(f"{path} cannot be written ({error})") from error


def load(made: Callable[..., _Made], path: Any) -> _Made:
    """The LSTM of a file that `save` wrote."""
    with _opened(path, "load") as file:
        metadata = file.metadata() or {}
        if "fastcell" not in metadata:
            raise ValueError(
                f"path must be a file that LSTM.save wrote, got {path} without a configuration of fastcell's; "
                "LSTM.from_safetensors reads files from elsewhere"
            )
        names = file.keys()
        weights: dict[str, Any] = {name: _tensor(file, name) for name in names}
    checksum, _, configuration = metadata["fastcell"].partition(" ")
    if checksum != _checksum(configuration, weights):
        raise ValueError(f"path must be a file as LSTM.save wrote it, got {path} with another checksum: it was changed")
    try:
        given = json.loads(configuration)
        if not isinstance(given, dict) or not set(given) >= set(_CONFIGURATION):
            raise ValueError(f"it must be {', '.join(_CONFIGURATION)}, got {configuration[:200]}")
        precision = given.pop("precision", given["dtype"])
        later = {name: given.pop(name) for name in set(given) - set(_CONFIGURATION)}
        # What a newer version adds is null or false where it is not used: without it the answer is the same.
        if unknown := sorted(name for name, value in later.items() if value is not None and value is not False):
            raise ValueError(f"it has options that this version of fastcell doesn't know: {', '.join(unknown)[:200]}")
        start = tuple(weights.pop(name) for name in _INITIAL if name in weights)
        if len(start) == 1:
            raise ValueError(f"it must have both {' and '.join(_INITIAL)}, or none")
        if given["num_layers"] > len(weights):  # LSTM would write down the names of so many
            raise ValueError(f"num_layers must be at most the number of tensors, {len(weights)}")
        given["activations"] = tuple(entry[0] if len(entry) == 1 else tuple(entry) for entry in given["activations"])
        for name in [name for name in weights if name.startswith(_SCALE)]:
            scale, of = weights.pop(name), name.removeprefix(_SCALE)
            weights[of] = Quantized(np.rint(weights[of] / scale[:, None]).astype(np.int8), scale)
        return made(**given, precision=precision, weights=weights, **({"initial_state": start} if start else {}))
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"path must have a configuration that fits its weights, got {path}: {error}") from error


def _library(needed: str) -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f"{needed} needs the safetensors library: pip install 'fastcell[weights]'") from error
    return safetensors


@contextmanager
def _opened(path: Any, needed: str) -> Iterator[Any]:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a path, got {type(path).__name__}")
    library = _library(needed)
    with open(path, "rb"):
        pass  # Python's errors say more
    try:
        with library.safe_open(path, "numpy") as file:
            yield file
    except library.SafetensorError as error:
        raise ValueError(f"path must be a safetensors file, got {path} ({error})") from error


class _Tensor:
    """A tensor of a file, read once it is needed."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.file.get_slice(self.name).get_shape())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return _tensor(self.file, self.name)


def _tensor(file: Any, name: str) -> Array:
    """A copy; bfloat16 is known to NumPy once ml_dtypes is imported."""
    found = file.get_slice(name)
    dtype = found.get_dtype()
    if dtype not in ("BF16", "F16", "F32", "F64"):
        raise ValueError(f"{name} must hold float16, bfloat16, float32 or float64, got {dtype}")
    if dtype == "BF16":
        try:
            import ml_dtypes  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"{name} holds bfloat16, which needs ml_dtypes: pip install 'fastcell[weights]'"
            ) from error
    _memory.check(8 * math.prod(found.get_shape()), "{} of shape {}", name, found.get_shape())
    try:
        array: Array = file.get_tensor(name)
    except ValueError as error:  # no elements, but sizes beyond NumPy's
        raise ValueError(f"{name} cannot be read ({error})") from error
    return array


def _checksum(configuration: str, weights: dict[str, Array]) -> str:
    total = hashlib.sha256(configuration.encode())
    for name in sorted(weights):
        x = weights[name]
        total.update(f"\n{name} {x.dtype.name} {x.shape}\n".encode())
        total.update(x.tobytes())
    return total.hexdigest()
