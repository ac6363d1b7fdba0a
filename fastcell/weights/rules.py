"""The toy cell's rules as the weights of an LSTM."""

from typing import Any

import numpy as np


def lstm_arguments(scale: float, strength: float, dtype: Any) -> tuple[dict[str, Any], float]:
    """Arguments of an LSTM with one unit that keeps the rules of rows [x1, x2, x3], and the factor from its h to y."""
    kind = np.dtype(dtype)
    info = np.finfo(kind if kind.name in ("float32", "float64") else np.float64)  # LSTM refuses the others
    for name, given in (("scale", scale), ("strength", strength)):
        if not info.tiny <= given <= info.max / 8:
            raise ValueError(f"{name} must be from {info.tiny:.3g} to {info.max / 8:.3g} in {kind}, got {given!r}")
    k, s = float(strength), float(info.dtype.type(scale))
    weights = {
        "weight_ih_l0": [[0, 2 * k, 0], [0, 2 * k, 0], [s, 0, 0], [0, 0, 2 * k]],
        "weight_hh_l0": np.zeros((4, 1)),
        "bias_ih_l0": [-k, k, 0, -k],
    }
    return {"input_size": 3, "hidden_size": 1, "dtype": dtype, "weights": weights}, 1 / s
