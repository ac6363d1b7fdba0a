"""Operators by which exporters spread an initial state over a batch and reshape between layers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]

MOST_MADE = 2**24
"""Elements: a few bytes of a file can ask for any number, and an initial state is small."""


class Node(Protocol):
    """What an operator asks of its node."""

    def attribute(self, name: str, kind: str, default: Any = None) -> Any: ...


@dataclass
class Trial:
    """Stand-ins for what is known only at run time, to see what the nodes behind make of it."""

    known: dict[tuple[int, str], Array] = field(default_factory=dict)
    """By the scope's id and the name there."""
    size: int | None = None
    """That of every axis of what else is known at run time; None where it must not matter."""


def _bounded(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or math.prod(sizes) > MOST_MADE:
        raise ValueError(f"shape {sizes} is none of up to {MOST_MADE} elements")
    return sizes


def _constant_of_shape(node: Node, shape: Array) -> Array:
    tensor = node.attribute("value", "tensor")
    value = np.zeros((), np.float32) if tensor is None else numpy_helper.to_array(tensor).reshape(())
    return np.full(_bounded(shape.ravel()), value)


def _dropout(node: Node, data: Array, ratio: Any = None, training: Any = None) -> Array:
    if training is not None and training.any():
        raise ValueError("it draws at random in training mode")
    return data


def _expand(node: Node, data: Array, shape: Array) -> Array:
    return np.broadcast_to(data, _bounded(np.broadcast_shapes(data.shape, _bounded(shape.ravel()))))


def _gather(node: Node, data: Array, at: Array) -> Array:
    axis = node.attribute("axis", "int", 0)
    _bounded((at.size, data.size // max(data.shape[axis], 1)))
    return np.take(data, at, axis)


def _shape(node: Node, data: Array) -> Array:
    return part_of_shape(node, data.shape)


def _tile(node: Node, data: Array, repeats: Array) -> Array:
    if len(repeats) != data.ndim:
        raise ValueError(f"{len(repeats)} repeats for shape {data.shape}")
    _bounded(n * int(many) for n, many in zip(data.shape, repeats, strict=True))
    return np.tile(data, repeats.tolist())


def _by_element(function: Callable[..., Any]) -> Callable[..., Array]:
    def evaluate(node: Node, *x: Array) -> Array:
        _bounded(np.broadcast_shapes(*(part.shape for part in x)))
        return np.asarray(function(*x))

    return evaluate


OPERATORS: dict[str, Callable[..., Array]] = {
    "ConstantOfShape": _constant_of_shape,
    "Dropout": _dropout,
    "Equal": _by_element(np.equal),
    "Expand": _expand,
    "Gather": _gather,
    "Mul": _by_element(np.multiply),
    "Shape": _shape,
    "Tile": _tile,
    "Where": _by_element(np.where),
}


def part_of_shape(node: Node, shape: Any) -> Array:
    """What a Shape node gives of a shape."""
    return np.array(shape, np.int64)[node.attribute("start", "int", 0) : node.attribute("end", "int")]
