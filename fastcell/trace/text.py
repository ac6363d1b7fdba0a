"""Traces as text: which steps and units are shown, and lines of numbers in columns."""

from itertools import islice
from typing import Any

import numpy as np

from fastcell import _checks
from fastcell._checks import Array

RULES = {1: "add", 0: "keep", -1: "reset", 2: "restart"}
"""The words for x2's rules."""

FEW = 4
"""So many units get a line each, and columns in a table; more get a picture as a whole."""


def check_row(row: int, rows: int) -> int:
    if _checks.size("row", row, 0) >= rows:
        raise ValueError(f"row must be below B = {rows}, got {row}")
    return row


def names(labels: Any, n: int, T: int) -> list[str]:
    """A name for each of n steps, on one line."""
    if labels is None:
        return [str(k) for k in range(n)]
    if isinstance(labels, str | bytes):
        raise TypeError(f"labels must be a sequence of a label a step, got {labels!r}")
    found = [" ".join(str(label).split()) for label in islice(labels, T + 1)]  # which may have no end
    if len(found) not in (n, T):
        raise ValueError(f"labels must be as many as steps, {n}, got {len(found)}{' or more' * (len(found) > T)}")
    return found[:n]


def numbers(column: Array, digits: int | None = None) -> list[str]:
    """A column's numbers: as they are, or with so many digits after the point where its size allows."""
    if column.dtype.kind != "f":
        return [str(number) for number in column.tolist()]
    if digits is None:
        return [f"{number:z.8g}" for number in column.tolist()]
    largest = np.abs(column[np.isfinite(column)]).max(initial=0)
    plain = largest == 0 or 0.1 ** (digits - 1) <= largest < 1000
    return [format(number, f"z.{digits}{'f' if plain else 'g'}") for number in column.tolist()]


def in_columns(names: list[str], groups: list[tuple[str, int, list[list[str]]]]) -> list[str]:
    """Lines of text: a step's name, then groups of columns with bars between, and each group's title where it has one.

    A group is a title, the least width of a column, and the columns: a heading, then a cell for each step.
    """
    width = max(map(len, ["step", *names]))
    lines, title = [name.ljust(width) for name in ["step", *names]], " " * width
    for k, (head, least, columns) in enumerate(groups):
        bar, before = " |" if k else "", len(lines[0])
        lines = [line + bar for line in lines]
        for column in columns:
            wide = max(least, 1 + max(map(len, column)))
            lines = [line + cell.rjust(wide) for line, cell in zip(lines, column, strict=True)]
        title += f"{bar}  {head}".ljust(len(lines[0]) - before)
    return [line.rstrip() for line in ([title] if any(head for head, _, _ in groups) else []) + lines]
