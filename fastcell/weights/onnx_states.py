"""What an ONNX model's LSTM node starts from, and what of its inputs is left to a call."""

import warnings

import numpy as np
from numpy.typing import NDArray

from fastcell.weights.common import widened
from fastcell.weights.onnx_graph import MOST_LINKS, Array, Node, Scope, constant
from fastcell.weights.onnx_shapes import Trial

_LENGTHS, _INITIAL = 4, ((5, "initial_h"), (6, "initial_c"))
_ROWS = 3  # of a trial: more than one, to see whether they are equal

_PASSING = {"Cast", "Concat", "Dropout", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
_PASSING |= {"Tile", "Transpose", "Unsqueeze"}
"""Operators behind which an input of the model is still what a caller gives."""


def source(scope: Scope, name: str, operators: set[str]) -> tuple[Scope, str, list[Node]]:
    """Where a name's value comes from, followed through such operators' first inputs; and those nodes."""
    path: list[Node] = []
    for _ in range(MOST_LINKS):
        if name in scope.tensors:
            break
        if name in scope.makers:
            node = Node(scope.makers[name], scope)
            domain, op = node.operator
            if domain or op not in operators or not node.given(0):
                break
            path.append(node)
            name = node.given(0)
        elif name in scope.passed:
            scope, name = scope.passed[name]
        elif name in scope.inputs or scope.outer is None:
            break
        else:
            scope = scope.outer
    return scope, name, path


def is_input(scope: Scope, name: str) -> bool:
    """Whether a name is an input of its graph or function."""
    return name in scope.inputs and name not in scope.tensors and name not in scope.makers


def _callers(node: Node, k: int, told: str) -> bool:
    """Whether what a node's input k is known only when the model runs, and is given by who runs it."""
    scope, name, _ = source(node.scope, node.given(k), _PASSING)
    if not any(name in names for names in (scope.tensors, scope.makers, scope.passed, scope.inputs)):
        raise ValueError(f"{told} is missing: nothing in the model makes {name!r}")
    return is_input(scope, name)


def initial_state(node: Node, D: int, H: int) -> tuple[Array, Array] | None:
    """(h0, c0), (D, H) each, where they are constants, the same for all rows, and not all 0."""
    found = [_rows(node, k, name, D, H) for k, name in _INITIAL]
    if not any(part is not None and part.any() for part in found):
        return None
    h, c = (np.zeros((D, H), np.float32) if part is None else part for part in found)
    return h, c


def _rows(node: Node, k: int, name: str, D: int, H: int) -> Array | None:
    """One of the two, or None, with a warning where that changes what the model answers."""
    if not node.given(k):
        return None
    told = f"{name} of node {node.label!r}"
    try:
        x = _over_rows(node, k)
    except ValueError as error:
        if not _callers(node, k, told):
            _warn(f"{told} is left out, as it is no constant ({error}): give it in each call as state=")
        return None
    if node.attribute("layout", "int", 0) and x.ndim == 3:
        x = x.transpose(1, 0, 2)
    if x.ndim != 3 or x.shape[::2] != (D, H) or not x.shape[1]:
        raise ValueError(f"{told} must have shape (D, B, H) = ({D}, B, {H}), got {x.shape}")
    first: NDArray[np.floating] = widened(told, x[:, 0], ValueError)
    if not (np.array_equal(x, np.broadcast_to(x[:, :1], x.shape), equal_nan=True)):
        _warn(f"{told} is left out, as its rows differ: give it in each call as state=")
        return None
    return first


def _over_rows(node: Node, k: int) -> Array:
    """An input's value, for some number of rows where that is known at run time alone."""
    try:
        return constant(node.scope, node.given(k))
    except ValueError as error:
        try:
            return constant(node.scope, node.given(k), trial=Trial(size=_ROWS))
        except ValueError:
            raise error from None


def warn_of_lengths(node: Node) -> None:
    """Say so where a model's lengths are its own and not a caller's."""
    told, give = f"sequence_lens of node {node.label!r}", "give it in each call as lengths="
    if not node.given(_LENGTHS) or _callers(node, _LENGTHS, told):
        return
    try:
        given = constant(node.scope, node.given(_LENGTHS)).ravel()
    except ValueError as error:
        try:
            constant(node.scope, node.given(_LENGTHS), trial=Trial(size=_ROWS))
        except ValueError:
            _warn(f"{told} is left out, as it is no constant ({error}): {give}")
        return  # what comes of the input's shape alone is its whole length
    _warn(f"{told}, {given[:8].tolist()}{'...' if len(given) > 8 else ''}, is left out: {give}")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
