"""An LSTM's layers: their weights, drawn or taken, and packed for the kernels."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from fastcell import _checks
from fastcell._checks import Array
from fastcell.lstm import packing
from fastcell.lstm.config import Config, Quantized, check_finite, checked_precision, initial_pair
from fastcell.lstm.small_calls import SmallCalls


class Layers(Config):
    """A configuration with its weights. Arguments as those of `LSTM`, all but the first three as options."""

    _initial_state: tuple[Array, Array] | None = None  # the class has both for what was pickled without
    _scales: Mapping[str, Array] = MappingProxyType({})

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        initial_state: Any = None,
        weights: dict[str, Any] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        integers = isinstance(weights, Mapping) and any(isinstance(weight, Quantized) for weight in weights.values())
        if options.get("precision") is None and integers:
            options["precision"] = "int8"
        super().__init__(input_size, hidden_size, num_layers, **options)
        if isinstance(weights, Mapping) and self.num_layers > max(len(weights), 1):
            raise ValueError(f"num_layers must be at most the number of weights, {len(weights)}, got {num_layers}")
        packing.check_weights(self)
        self._weights, self._scales = (self.draw(seed), {}) if weights is None else self.take(weights)
        if initial_state is not None:
            L, letter = self.num_layers * self.directions, "P" if self.proj_size else "H"
            shapes = (L, self.output_size), (L, self.hidden_size)
            self._initial_state = initial_pair(initial_state, shapes, (f"(L*D, {letter})", "(L*D, H)"), self.dtype)
        self._pack()

    def _pack(self) -> None:
        codes, start = self.codes(), self._initial_state
        self.packed = [
            packing.pack(self, self._weights, self._scales, layer, d, codes[d], start)
            for layer in range(self.num_layers)
            for d in range(self.directions)
        ]
        self._small = SmallCalls(self, self.packed)

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights, which are addresses in this process."""
        return _checks.attributes_without(super().__getstate__(), "packed", "_small")

    def __setstate__(self, state: dict[str, Any]) -> None:
        _checks.set_attributes(self, {"precision": state["dtype"].name, **state})
        self._pack()

    @property
    def initial_state(self) -> tuple[Array, Array] | None:
        """Copies of (h0, c0), or None for zeros."""
        return None if self._initial_state is None else (self._initial_state[0].copy(), self._initial_state[1].copy())

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights under torch.nn.LSTM's names."""
        return {name: array.copy() for name, array in self._weights.items()}

    def quantized(self) -> dict[str, Any]:
        """`state_dict` with those weights as `Quantized` that were given so."""
        return self.state_dict() | {
            name: Quantized(np.rint(self._weights[name] / scale[:, None]).astype(np.int8), scale.copy())
            for name, scale in self._scales.items()
        }

    def with_precision(self, precision: str | None) -> Self:
        """The same weights in another arithmetic: what they are rounded from stays as it was given.

        Parameters
        ----------
        precision : "float32", "bfloat16" or "int8"; of an LSTM of float64 "float64" alone. None for the dtype's.

        Raises
        ------
        ValueError, TypeError
            An unknown precision, or one that the dtype doesn't go with; weights that are not finite, for int8.

        Notes
        -----
        Weights are packed anew, once, here. Errors against float32's answers and speed by precision are in
        benchmarks/README.md.

        Examples
        --------
        >>> import numpy as np
        >>> import fastcell as fc
        >>> lstm = fc.LSTM(3, 5, seed=0)
        >>> small = lstm.with_precision("int8")
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> small.precision, bool(abs(small(x)[0] - lstm(x)[0]).max() < 0.01)
        ('int8', True)
        """
        state = Layers.__getstate__(self)
        state["precision"] = checked_precision(precision, self.dtype)
        if precision == "int8":
            check_finite(self._weights)
        other = type(self).__new__(type(self))
        other.__setstate__(state)
        return other
