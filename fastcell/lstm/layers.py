"""An LSTM's layers: their weights, drawn or taken, and packed for the kernels."""

from collections.abc import Mapping
from typing import Any

from fastcell import _checks
from fastcell._checks import Array
from fastcell.lstm import driver
from fastcell.lstm.config import Config, initial_pair


class Layers(Config):
    """A configuration with its weights. Arguments as those of `LSTM`, all but the first three as options."""

    _initial_state: tuple[Array, Array] | None = None  # the class has it for what was pickled without

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
        super().__init__(input_size, hidden_size, num_layers, **options)
        if isinstance(weights, Mapping) and self.num_layers > max(len(weights), 1):
            raise ValueError(f"num_layers must be at most the number of weights, {len(weights)}, got {num_layers}")
        driver.check_weights(self)
        self._weights = self.draw(seed) if weights is None else self.take(weights)
        if initial_state is not None:
            L, letter = self.num_layers * self.directions, "P" if self.proj_size else "H"
            shapes = (L, self.output_size), (L, self.hidden_size)
            self._initial_state = initial_pair(initial_state, shapes, (f"(L*D, {letter})", "(L*D, H)"), self.dtype)
        self.packed = self._pack()

    def _pack(self) -> list[driver.Layer]:
        codes, start = self.codes(), self._initial_state
        return [
            driver.pack(self, self._weights, layer, d, codes[d], start)
            for layer in range(self.num_layers)
            for d in range(self.directions)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights, which are addresses in this process."""
        return _checks.attributes_without(super().__getstate__(), "packed")

    def __setstate__(self, state: dict[str, Any]) -> None:
        _checks.set_attributes(self, state)
        self.packed = self._pack()

    @property
    def initial_state(self) -> tuple[Array, Array] | None:
        """Copies of (h0, c0), or None for zeros."""
        return None if self._initial_state is None else (self._initial_state[0].copy(), self._initial_state[1].copy())

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights under torch.nn.LSTM's names."""
        return {name: array.copy() for name, array in self._weights.items()}
