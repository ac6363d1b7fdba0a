"""The toy cell's rules as the weights of an LSTM."""

from typing import Any

import numpy as np


def lstm_arguments(scale: float, strength: float, dtype: Any, restart: bool) -> tuple[dict[str, Any], float]:
    """Arguments of an LSTM that keeps the rules of rows [x1, x2, x3], and the factor from its first h to y."""
    kind = np.dtype(dtype)
    info = np.finfo(kind if kind.name in ("float32", "float64") else np.float64)  # LSTM refuses the others
    for name, given in (("scale", scale), ("strength", strength)):
        if not info.tiny <= given <= info.max / 8:
            raise ValueError(f"{name} must be from {info.tiny:.3g} to {info.max / 8:.3g} in {kind}, got {given!r}")
    k, s = float(strength), float(info.dtype.type(scale))
    if restart:
        arguments = {"hidden_size": 4, "num_layers": 2, "weights": _two_layers(k, s)}
    else:
        weights = {
            "weight_ih_l0": [[0, 2 * k, 0], [0, 2 * k, 0], [s, 0, 0], [0, 0, 2 * k]],
            "weight_hh_l0": np.zeros((4, 1)),
            "bias_ih_l0": [-k, k, 0, -k],
        }
        arguments = {"hidden_size": 1, "weights": weights}
    return {"input_size": 3, "dtype": dtype, **arguments}, 1 / s


def _two_layers(k: float, s: float) -> dict[str, Any]:
    """Four units that remember nothing tell x1 and the gates to unit 0 of the second layer, which is the cell.

    A gate rises or falls with x2, while f is 1 for x2 of 0 and 1 alone: the product of an input and an output gate.
    """
    w_1, b_1 = np.zeros((4, 4, 3)), np.zeros((4, 4))  # gates i, f, g, o, units of x1, i, f and o
    b_1[0], b_1[1], b_1[3] = k, -k, k  # let in, forgotten, shown
    w_1[2, 0, 0] = s
    b_1[2, 1:] = k  # g = 1
    w_1[0, 1, 1], b_1[0, 1] = 2 * k, -k  # x2 above 1/2
    w_1[0, 2, 1], b_1[0, 2] = 2 * k, k  # x2 above -1/2
    w_1[3, 2, 1], b_1[3, 2] = -2 * k, 3 * k  # and below 3/2
    w_1[0, 3, 2], b_1[0, 3] = 2 * k, -k  # x3 above 1/2
    w_2, b_2 = np.zeros((4, 4, 4)), np.zeros((4, 4))
    w_2[2, 0, 0] = 1
    for gate, unit in ((0, 1), (1, 2), (3, 3)):
        w_2[gate, 0, unit], b_2[gate, 0] = 2 * k / np.tanh(1), -k
    flat = {"weight_ih_l0": w_1.reshape(16, 3), "bias_ih_l0": b_1.ravel()}
    flat |= {"weight_ih_l1": w_2.reshape(16, 4), "bias_ih_l1": b_2.ravel()}
    return flat | {"weight_hh_l0": np.zeros((16, 4)), "weight_hh_l1": np.zeros((16, 4))}
