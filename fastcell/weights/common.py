"""What every importer ends with: arrays of one floating dtype, held to their shapes, as arguments of LSTM."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell.lstm.config import Quantized


def arguments(weights: Mapping[str, Array | Quantized], **given: Any) -> dict[str, Any]:
    """What importers return: LSTM's defaults, what was `given`, and weights of one dtype that share no memory.

    Integers stay integers, unless a weight beside them is float64, which goes with no other precision.
    """
    dtype = np.result_type(np.float32, *(x.dtype for x in weights.values() if not isinstance(x, Quantized)))
    if dtype == np.float64:
        given.pop("precision", None)
    directions = 2 if given["bidirectional"] else 1
    made: dict[str, Any] = {
        "input_size": 0,
        "hidden_size": 0,
        "num_layers": 1,
        "bias": True,
        "bidirectional": False,
        "proj_size": 0,
        "reverse": False,
        "peepholes": False,
        "coupled": False,
        "clip": None,
        "activations": ("sigmoid", "tanh", "tanh") * directions,
        "dtype": dtype.name,
    }
    made |= given
    made["weights"] = {name: _copied(x, dtype) for name, x in weights.items()}
    return made


def _copied(x: Array | Quantized, dtype: np.dtype[Any]) -> Array | Quantized:
    if not isinstance(x, Quantized):
        return np.array(x, dtype, order="C")
    if dtype == np.float64:
        return np.array(x.values * x.scale[:, None], dtype)
    return Quantized(np.array(x.values, order="C"), x.scale.copy())


def precision_of(found: Iterable[str | None]) -> dict[str, str]:
    """The argument `precision` of parts that ask for these, None being floats that ask for nothing.

    int8 where all do, so that no floats are rounded unasked.
    """
    known = set(found)
    return {} if known == {None} else {"precision": "int8" if known == {"int8"} else "float32"}


def widened(name: str, x: Array, error: type[Exception]) -> Array:
    """float16 and bfloat16 as float32, float32 and float64 in this machine's byte order."""
    if x.dtype.name in ("float16", "bfloat16"):
        return x.astype(np.float32)
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise error(f"{name} must hold float16, bfloat16, float32 or float64, got {x.dtype}")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def shaped(name: str, x: Array, letters: str, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(f"{name} must have shape {letters} = {shape}, got {x.shape}")


def array(name: str, given: Any) -> Array:
    """A tensor or array of any library as one of NumPy, in a dtype that LSTM takes."""
    if hasattr(given, "detach"):
        if getattr(given, "is_meta", False):
            raise ValueError(f"{name} must hold values, got a tensor on the meta device")
        tensor = given.detach().cpu()
        if getattr(tensor, "is_quantized", False):
            tensor = tensor.dequantize()
        # NumPy has no bfloat16, and float16 is to be widened all the same.
        given = (tensor.float() if str(tensor.dtype) in ("torch.bfloat16", "torch.float16") else tensor).numpy()
    if not hasattr(given, "__array__"):
        raise TypeError(f"{name} must be a tensor or an array, got {type(given).__name__}")
    return widened(name, np.asarray(given), TypeError)
