"""Weights that a source holds as integers, as the arithmetic int8 takes them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell.lstm.config import Quantized

PRODUCTS = ("weight_ih", "weight_hh")
"""How the names begin of those weights that x and h are multiplied by."""
_LARGEST = float(np.finfo(np.float32).max) / 128  # of a scale: all of its multiples are finite


def taken(q: Array, scale: Array, zero: Array) -> Quantized | None:
    """``(q - zero) * scale``, q (rows, K) of int8 or uint8, the others for each row; None where int8 can't hold it.

    uint8 around 128 fits, and any zero point that leaves differences from -128 to 127.
    """
    if q.dtype not in (np.int8, np.uint8) or zero.dtype.kind not in "iu":
        return None
    rows = q.shape[:1]
    values = q.astype(np.int64) - np.broadcast_to(zero.astype(np.int64), rows)[:, None]
    scales = np.array(np.broadcast_to(scale, rows), np.float32)
    if not ((scales > 0) & (scales <= _LARGEST)).all() or (values.size and (values.min() < -128 or values.max() > 127)):
        return None
    return Quantized(values.astype(np.int8), scales)


def held_as_integers(parts: Mapping[tuple[str, str], Any]) -> dict[str, Quantized | None]:
    """Of a place's weights those that are PyTorch's tensors of 8 bits with scales; None where int8 can't take them."""
    plain = {name: value for (name, end), value in parts.items() if not end and name.startswith(PRODUCTS)}
    return {
        name: _of_tensor(value)
        for name, value in plain.items()
        if getattr(value, "is_quantized", False)
        and str(value.dtype) in ("torch.qint8", "torch.quint8")
        and [end for each, end in parts if each == name] == [""]
    }


def _of_tensor(given: Any) -> Quantized | None:
    """A quantised tensor with a scale for the whole or for each row."""
    scheme = str(given.qscheme())
    if given.dim() != 2:
        return None
    if scheme in ("torch.per_tensor_affine", "torch.per_tensor_symmetric"):
        scale, zero = np.array([given.q_scale()], np.float32), np.array([given.q_zero_point()])
    elif scheme in ("torch.per_channel_affine", "torch.per_channel_symmetric") and given.q_per_channel_axis() == 0:
        scale, zero = given.q_per_channel_scales().numpy(), given.q_per_channel_zero_points().numpy()
    else:
        return None
    return taken(given.int_repr().numpy(), scale, zero)
