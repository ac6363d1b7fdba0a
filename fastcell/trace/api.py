"""Seeing what a memory does: its gates and its contents at each step, as numbers, as a table, as a picture."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcell import _checks, _memory
from fastcell._checks import Array
from fastcell.scan.api import toy_scan
from fastcell.scan.arguments import toy_arrays
from fastcell.trace.text import FEW, RULES, check_row, in_columns, names, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ToyTrace", "Trace", "toy_trace"]

_STEP = 100  # bytes of each value's trace, most of them words

_KEY = "i: remember?  f: forget? (1 keeps)  g: candidate  o: show?  c: memory  h: output"
_EMITS = {1: "output", 0: "silent"}


class _Gates(NamedTuple):
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    h: Array


class Trace(_Gates):
    """What one layer of an LSTM did at each step, in one direction: `LSTM.trace` makes it.

    ``c_t = f_t * c_{t-1} + i_t * g_t``, ``h_t = o_t * tanh(c_t)``

    Attributes
    ----------
    i, f, g, o : (T, B, H) arrays, or (T, H) for one row
        The input gate (remember?), the forget gate (1 keeps, 0 forgets), the candidate, and the output gate (show?),
        each after its activation.
    c, h : (T, B, H) arrays, h (T, B, P) with a projection; or without B
        The memory and the output after the step.

    Examples
    --------
    >>> import fastcell as fc
    >>> lstm, factor = fc.LSTM.from_rules()
    >>> trace = lstm.trace([[3, 1, 0], [5, 0, 1], [2, -1, 1]])
    >>> trace.i[:, 0].tolist(), trace.f[:, 0].tolist()
    ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    """

    lengths: Array | None = None
    """Each row's steps, where they were given."""

    def table(self, labels: Iterable[Any] | None = None, *, row: int = 0, units: Any = None) -> str:
        """A line a step, with the gates and the memory.

        Parameters
        ----------
        labels : T of anything that has a str, optional
            A name for each step, or each of the row's own: its word, its time. The steps' numbers if not given.
        row : int
            Which of the B rows.
        units : int or sequence of ints, optional
            Which of the H units; by default all of up to 4, else the first 4.

        Returns
        -------
        str

        Raises
        ------
        ValueError, TypeError
            Labels that are not T in number, no such row or unit.

        Examples
        --------
        >>> import fastcell as fc
        >>> lstm, factor = fc.LSTM.from_rules(scale=0.01)
        >>> print(lstm.trace([[30, 1, 0], [50, 0, 1]]).table(["Mon", "Tue"]))
        i: remember?  f: forget? (1 keeps)  g: candidate  o: show?  c: memory  h: output
              unit 0
        step     i     f     g     o     c     h
        Mon   1.00  1.00  0.29  0.00  0.29  0.00
        Tue   0.00  1.00  0.46  1.00  0.29  0.28
        """
        parts, named, chosen = self._chosen(labels, row, units)
        hidden = self.c.shape[-1]
        shown = chosen if units is not None or hidden <= FEW else chosen[:FEW]
        own = self.h.shape[-1] == hidden  # a projected h is of no unit
        groups = []
        for k, unit in enumerate(shown):
            letters = "ifgoch" if own else "ifgoc"
            columns = [[letter, *numbers(parts[letter][:, k], 2)] for letter in letters]
            groups.append((f"unit {unit}", 6, columns))
        if not own:
            h = parts["h"][:, :FEW]
            groups.append(("output", 6, [[f"h{k}", *numbers(h[:, k], 2)] for k in range(h.shape[1])]))
        lines = [_KEY, *in_columns(named, groups)]
        if len(shown) < len(chosen):
            lines.append(f"units 0 to {FEW - 1} of {hidden}; units=[...] shows others")
        return "\n".join(lines)

    def plot(self, labels: Iterable[Any] | None = None, *, row: int = 0, units: Any = None) -> "Figure":
        """Draw the gates and the memory over time: a line for each of a few units, a map of many.

        More than 4 units are many, and so are several over so many steps that their lines would hide each other; a
        map of more than 300 steps shows the means of some at a time.

        Parameters
        ----------
        labels, row
            As in `table`; of many labels some are written.
        units : int or sequence of ints, optional
            Which of the H units; all by default.

        Returns
        -------
        matplotlib.figure.Figure
            ``figure.savefig("trace.png")`` writes it. pyplot is not touched.

        Raises
        ------
        ValueError, TypeError
            As in `table`.
        ImportError
            Without matplotlib: `pip install 'fastcell[plot]'`.
        """
        parts, named, chosen = self._chosen(labels, row, units)
        figure: Figure = _plots().gates(parts, chosen, None if labels is None else named)
        return figure

    def _chosen(self, labels: Any, row: int, units: Any) -> tuple[dict[str, Array], list[str], list[int]]:
        """One row's steps of some units, by letter; the steps' names; the units."""
        H = self.c.shape[-1]
        batched = self.c.ndim == 3
        at = check_row(row, self.c.shape[1] if batched else 1)
        n = len(self.c) if self.lengths is None else int(self.lengths[at])
        given = np.arange(H) if units is None else np.atleast_1d(_checks.view("units", units, "integers"))
        if given.size > max(H, 1):
            raise ValueError(f"units must be at most H = {H} in number, got {given.size}")
        chosen = [_checks.size("units", u, 0) for u in given]
        for unit in chosen:
            if unit >= H:
                raise ValueError(f"units must be from 0 to H - 1 = {H - 1}, got {unit}")
        parts = {letter: (a[:n, at] if batched else a[:n]) for letter, a in zip(self._fields, self, strict=True)}
        for letter, part in parts.items():
            if part.shape[1] == H:
                parts[letter] = part[:, chosen]
        return parts, names(labels, n, len(self.c)), chosen


class ToyTrace(NamedTuple):
    """What the toy cell did at each step: `toy_trace` makes it."""

    x1: Array
    """The values, (T,) or (T, B)."""
    rule: Array
    """The rule applied to the memory: 'add', 'keep', 'reset' or 'restart'."""
    emit: Array
    """'output' or 'silent'."""
    a: Array
    """The memory after the step, float64 or int64."""
    y: Array
    """The output, 0 where silent."""

    def table(self, labels: Iterable[Any] | None = None, *, row: int = 0) -> str:
        """A line a step: the input and its rules, the gates they amount to, memory and output.

        Parameters
        ----------
        labels : T of anything that has a str, optional
            A name for each step. The steps' numbers if not given.
        row : int
            Which of the B columns of the input.

        Returns
        -------
        str

        Raises
        ------
        ValueError, TypeError
            Labels that are not T in number, no such row.
        """
        x1, rule, emit, a, y = self._column(row)
        forgets, takes = np.isin(rule, ["reset", "restart"]), np.isin(rule, ["add", "restart"])
        shows = emit == "output"
        x2 = np.select([rule == word for word in RULES.values()], list(RULES))
        shown = [number if show else "-" for number, show in zip(numbers(y), shows, strict=True)]
        groups = [
            ("", 4, [["x1", *numbers(x1)], ["x2", *numbers(x2)], ["x3", *numbers(shows * 1)]]),
            ("", 3, [["f", *numbers(~forgets * 1)], ["i", *numbers(takes * 1)], ["o", *numbers(shows * 1)]]),
            ("", 5, [["a", *numbers(a)], ["y", *shown]]),
            ("", 0, [_padded(["rule", *rule]), _padded(["emit", *emit])]),
        ]
        return "\n".join(in_columns(names(labels, len(a), len(a)), groups))

    def plot(self, labels: Iterable[Any] | None = None, *, row: int = 0) -> "Figure":
        """Draw input, memory and outputs over time, and the rule of each step.

        Parameters and errors are those of `table`, the figure as in `Trace.plot`.
        """
        column = ToyTrace(*self._column(row))
        named = names(labels, len(column.a), len(column.a))
        figure: Figure = _plots().rules(*column, None if labels is None else named)
        return figure

    def _column(self, row: int) -> list[Array]:
        batched = self.a.ndim == 2
        at = check_row(row, self.a.shape[1] if batched else 1)
        return [part[:, at] if batched else part for part in self]


def toy_trace(x1: Any, x2: Any = None, x3: Any = None, *, state: Any = None) -> ToyTrace:
    """Run `toy_scan` and keep what the memory was at each step, and by which rule.

    ``a_t = a_{t-1} + x1_t | 0 | a_{t-1} | 0 + x1_t`` for ``x2_t = 1 | -1 | 0 | 2``, then ``y_t = a_t | 0`` for
    ``x3_t = 1 | 0``

    Parameters
    ----------
    x1, x2, x3, state
        As in `toy_scan`, (T,) or (T, B); or x1 alone, with rows [x1, x2, x3].

    Returns
    -------
    ToyTrace(x1, rule, emit, a, y)
        ``.table()`` and ``.plot()`` show it. The numbers are `toy_scan`'s.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As in `toy_scan`; ValueError for more than two axes.

    Notes
    -----
    Two runs of `toy_scan`, and text for each step: for looking at, not for millions of steps.

    Examples
    --------
    >>> trace = toy_trace([3, 5, 2, 7], x2=[1, 0, 1, -1], x3=[0, 1, 0, 1])
    >>> trace.rule.tolist(), trace.a.tolist()
    (['add', 'keep', 'add', 'reset'], [3, 3, 5, 0])
    >>> print(trace.table())
    step  x1  x2  x3 |  f  i  o |    a    y | rule   emit
    0      3   1   0 |  1  1  0 |    3    - | add    silent
    1      5   0   1 |  1  0  1 |    3    3 | keep   output
    2      2   1   0 |  1  1  0 |    5    - | add    silent
    3      7  -1   1 |  0  0  1 |    0    0 | reset  output
    """
    values, control, emit = toy_arrays(x1, x2, x3)
    if values.ndim > 2:
        raise ValueError(f"x1 must have shape (T,) or (T, B), got {values.shape}")
    _memory.check(_STEP * values.size, "a trace of x1 of shape {}", values.shape)
    y, _ = toy_scan(values, control, emit, state=state)
    memory = values.astype(np.float64) if values.dtype == np.float32 else values
    a, _ = toy_scan(memory, control, np.ones(values.shape, np.int8), state=state)
    rule = np.select([control == number for number in RULES], list(RULES.values()), "")
    return ToyTrace(np.array(values), rule, np.where(emit == 1, _EMITS[1], _EMITS[0]), a, y)


def _padded(words: list[str]) -> list[str]:
    width = max(6, *map(len, words))
    return [word.ljust(width) for word in words]


def _plots() -> Any:
    try:
        from fastcell.trace import plots
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install 'fastcell[plot]'") from error
    return plots
