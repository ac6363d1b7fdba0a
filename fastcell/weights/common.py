"""What every importer ends with: arrays of one floating dtype, held to their shapes, as arguments of LSTM."""

from typing import Any

import numpy as np

from fastcell._checks import Array


def arguments(weights: dict[str, Array], **given: Any) -> dict[str, Any]:
    """What importers return: LSTM's defaults, what was `given`, and weights of one dtype that share no memory."""
    dtype = np.result_type(*weights.values())
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
    made["weights"] = {name: np.array(x, dtype, order="C") for name, x in weights.items()}
    return made


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
