"""What an LSTM is, apart from its weights: sizes, options, and the names and shapes of the weights they call for."""

import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastcell import _checks
from fastcell._checks import Array
from fastcell.simd.activations import KNOWN

STANDARD = ("sigmoid", "tanh", "tanh")


def suffix(layer: int, direction: int) -> str:
    """The end of a weight's name."""
    return f"_l{layer}" + ("_reverse" if direction else "")


PRECISIONS = ("float32", "float64", "bfloat16", "int8")


def checked_precision(given: Any, dtype: np.dtype[Any]) -> str:
    """The arithmetic of the products, that of the dtype where none is given."""
    if given is None:
        return str(dtype.name)
    if not isinstance(given, str):
        raise TypeError(f"precision must be a str or None, got {type(given).__name__}")
    if given not in PRECISIONS:
        raise ValueError(f"precision must be among {', '.join(PRECISIONS)}, or None, got {given!r}")
    if dtype != ("float64" if given == "float64" else "float32"):
        raise ValueError(f"precision {given!r} must go with dtype float{64 if given == 'float64' else 32}, got {dtype}")
    return given


class Quantized(NamedTuple):
    """A weight as integers times a scale for each row: precision "int8" multiplies by these very integers."""

    values: Array
    """(rows, K) int8"""
    scale: Array
    """(rows,) float32"""

    def checked(self, name: str) -> Array:
        """The scale, if it fits."""
        if self.values.dtype != np.int8:
            raise TypeError(f"{name}'s values must hold int8, got {self.values.dtype}")
        scale = _checks.array(f"{name}'s scale", self.scale, _checks.NUMBERS)
        if scale.shape != self.values.shape[:1]:
            raise ValueError(f"{name}'s scale must have shape {self.values.shape[:1]}, got {scale.shape}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"{name}'s scale must be finite and above 0")
        return np.array(scale, np.float32)


class Config:
    """Sizes and options, checked; arguments as those of `LSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        proj_size: int = 0,
        reverse: bool = False,
        peepholes: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        activations: tuple[Any, ...] = STANDARD,
        dtype: Any = "float32",
        batch_first: bool = False,
        precision: str | None = None,
    ) -> None:
        self.input_size = _checks.size("input_size", input_size, 0)
        self.hidden_size = _checks.size("hidden_size", hidden_size, 0)
        self.num_layers = _checks.size("num_layers", num_layers, 1)
        self.proj_size = _checks.size("proj_size", proj_size, 0)
        if self.proj_size >= max(self.hidden_size, 1):
            raise ValueError(f"proj_size must be below hidden_size {self.hidden_size}, got {proj_size}")
        self.bias, self.bidirectional = _checks.flag("bias", bias), _checks.flag("bidirectional", bidirectional)
        self.reverse, self.peepholes = _checks.flag("reverse", reverse), _checks.flag("peepholes", peepholes)
        self.coupled, self.batch_first = _checks.flag("coupled", coupled), _checks.flag("batch_first", batch_first)
        if self.bidirectional and self.reverse:
            raise ValueError("reverse must be False where bidirectional is True, which has both directions")
        if clip is not None and not isinstance(clip, int | float | np.number):
            raise TypeError(f"clip must be a number or None, got {type(clip).__name__}")
        if clip is not None and not 0 < clip < math.inf:
            raise ValueError(f"clip must be a finite number above 0, or None, got {clip!r}")
        self.clip = None if clip is None else float(clip)
        self.dtype = _checks.real_dtype(dtype)
        self.precision = checked_precision(precision, self.dtype)
        self.directions = 2 if self.bidirectional else 1
        if not isinstance(activations, tuple | list):
            raise TypeError(f"activations must be a tuple, got {type(activations).__name__}")
        self.activations = tuple(activations)
        self.codes()
        self.output_size = self.proj_size or self.hidden_size

    def _told_precision(self) -> str:
        """For a repr: nothing where it is the dtype's."""
        return "" if self.precision == self.dtype.name else f", precision={self.precision!r}"

    def codes(self) -> list[Array | None]:
        """For each direction None, the standard ones, or (3, 3): number, alpha, beta of f, g and h."""
        activations, directions = self.activations, self.directions
        if len(activations) not in (3, 3 * directions):
            raise ValueError(
                f"activations must be 3{' or 6' if directions == 2 else ''} in number, got {len(activations)}"
            )
        rows = []
        for entry in activations:
            name, *numbers = entry if isinstance(entry, tuple | list) and entry else (entry,)
            if not isinstance(name, str) or name not in KNOWN:
                raise ValueError(f"activations must be among {', '.join(KNOWN)}, got {name!r}")
            if len(numbers) > 2 or not all(isinstance(number, int | float | np.number) for number in numbers):
                raise ValueError(f"activations must be a name, alpha and beta at the most, got {entry!r}")
            code, alpha, beta = KNOWN[name]
            rows.append((code, *(float(number) for number in numbers), *(alpha, beta)[len(numbers) :]))
        rows = rows if len(rows) == 3 * directions else rows * directions
        standard = [(*KNOWN[name],) for name in STANDARD]
        return [
            None if rows[3 * d : 3 * d + 3] == standard else np.array(rows[3 * d : 3 * d + 3], np.float64)
            for d in range(directions)
        ]

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Every weight's shape, in numbers and in letters."""
        H, P, R = self.hidden_size, self.proj_size, self.output_size
        letters = "P" if P else "H"
        shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        for layer in range(self.num_layers):
            inputs, word = (self.input_size, "I") if layer == 0 else (self.directions * R, f"D*{letters}")
            for direction in range(self.directions):
                end = suffix(layer, direction)
                shapes["weight_ih" + end] = (4 * H, inputs), f"(4*H, {word})"
                shapes["weight_hh" + end] = (4 * H, R), f"(4*H, {letters})"
                if self.bias:
                    shapes["bias_ih" + end] = shapes["bias_hh" + end] = (4 * H,), "(4*H,)"
                if P:
                    shapes["weight_hr" + end] = (P, H), "(P, H)"
                if self.peepholes:
                    shapes["weight_peephole" + end] = (3 * H,), "(3*H,)"
        return shapes

    def draw(self, seed: int | None) -> dict[str, Array]:
        """Weights, uniform in +-1/sqrt(H)."""
        try:
            number = None if seed is None else operator.index(seed)  # NumPy would read a sequence to its end
            random, bound = np.random.default_rng(number), 1 / math.sqrt(max(self.hidden_size, 1))
        except (TypeError, ValueError) as error:
            raise type(error)(f"seed must be an integer of 0 or more, or None, got {seed!r}") from None
        return {
            name: random.uniform(-bound, bound, shape).astype(self.dtype) for name, (shape, _) in self.shapes().items()
        }

    def take(self, weights: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Copies of the weights that are given, held to their names and shapes, and the scales of those in integers."""
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, got {type(weights).__name__}")
        shapes = self.shapes()
        unknown = sorted(str(name) for name in set(weights) - set(shapes))
        if unknown:
            raise ValueError(f"weights must be named {', '.join(shapes)}, got {', '.join(unknown)}")
        taken, scales = {}, {}
        for name, (shape, letters) in shapes.items():
            if name not in weights:
                if name.startswith("bias"):
                    continue
                raise ValueError(f"weights must hold {name} of shape {letters} = {shape}, got {', '.join(weights)}")
            given = weights[name]
            array = _checks.array(name, given.values if isinstance(given, Quantized) else given, _checks.NUMBERS)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
            taken[name] = np.array(array, self.dtype, order="C")
            if isinstance(given, Quantized):
                scales[name] = given.checked(name)
                taken[name] *= scales[name][:, None]
        if self.precision == "int8":
            check_finite(taken)
        return taken, scales


def check_finite(weights: Mapping[str, Array]) -> None:
    """Refuse weights of which no integers can be made."""
    for name, weight in weights.items():
        if name.startswith("weight") and not np.isfinite(weight).all():
            raise ValueError(f"{name} must be finite where precision is 'int8', got infinity or NaN")


def initial_pair(
    given: Any, shapes: tuple[tuple[int, ...], ...], letters: tuple[str, str], dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Copies of an initial state's h0 and c0, held to their shapes."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
        raise ValueError(f"initial_state must be a pair (h0, c0), got {type(given).__name__}{many}")
    found = []
    for name, part, shape, told in zip(("h0", "c0"), given, shapes, letters, strict=True):
        array = _checks.array(f"initial_state's {name}", part, _checks.NUMBERS)
        if array.shape != shape:
            raise ValueError(f"initial_state's {name} must have shape {told} = {shape}, got {array.shape}")
        found.append(np.array(array, dtype, order="C"))
    return found[0], found[1]
