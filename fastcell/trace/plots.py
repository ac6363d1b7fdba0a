"""Pictures of traces, on figures of their own: what is drawn can be told apart without colour."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from fastcell._checks import Array, ceil_div
from fastcell.trace.text import FEW, RULES

_PANELS = {
    "i": ("remember?  input gate i", "0 ignore, 1 remember"),
    "g": ("candidate g", "value"),
    "f": ("forget?  forget gate f", "0 forget, 1 keep"),
    "c": ("memory c, after the step", "value"),
    "o": ("show?  output gate o", "0 hide, 1 show"),
    "h": ("output h", "value"),
}
_LINES, _MARKERS = ["-", "--", "-.", ":"], "os^D"
_POINTS = 60  # so many steps or fewer have a marker each
_CROWD = 500  # so many values or more of several units are a map: their lines would hide each other
_TEXT = 8  # points
_NARROW = set("abcdefghijklnopqrstuvxyz0123456789 .,:-'")


def gates(parts: dict[str, Array], units: list[int], labels: list[str] | None) -> Figure:
    """Six panels, gates at the left beside what they rule; parts are (T, U), h may have another width."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True)
    few = len(units) <= FEW and (len(units) == 1 or len(units) * len(parts["c"]) <= _CROWD)
    for ax, (letter, (title, meaning)) in zip(axes.flat, _PANELS.items(), strict=True):
        part = parts[letter]
        own = part.shape[1] == len(units)
        names = units if own else list(range(part.shape[1]))
        span = _span(part, letter in "ifo")
        ax.set_title(title, fontsize=10)
        if few and (own or part.shape[1] <= FEW):
            _lines(ax, part, [f"{'unit' if own else 'output'} {name}" for name in names])
            ax.set_ylabel(meaning, fontsize=_TEXT)
            if letter in "ifo":
                ax.set_ylim(span[0] - 0.05 * (span[1] - span[0]), span[1] + 0.05 * (span[1] - span[0]))
            if not own:
                ax.legend(fontsize=_TEXT)
        else:
            _map(figure, ax, part, names, span, meaning, "unit" if own else "output")
    _steps(figure, list(axes[-1]), len(parts["c"]), labels, 230)
    if few and units:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=FEW)
    return figure


def rules(x1: Array, rule: Array, emit: Array, a: Array, y: Array, labels: list[str] | None) -> Figure:
    """Input; memory and outputs; and a strip with the rule of each step. Of one column."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    inputs, memory, strip = figure.subplots(3, 1, sharex=True, height_ratios=[1, 2, 1])
    n = len(a)
    step, shown = np.arange(n), emit == "output"
    few = n <= _POINTS
    inputs.plot(step, x1, color="0.4", drawstyle="steps-mid", linewidth=0.8, marker="x" if few else "")
    inputs.set_ylabel("input x1")
    memory.plot(
        step, a, color="C0", drawstyle="steps-mid", linewidth=1.2, marker="." if few else "",
        label="memory a, after the step",
    )  # fmt: skip
    memory.plot(step[shown], y[shown], "o", markersize=9 if few else 3, fillstyle="none", color="C3", label="output y")
    memory.set_ylabel("memory a, in units of x1")
    memory.margins(y=0.15)
    if n <= 12:
        for k in range(n):
            memory.annotate(f"{a[k]:.6g}", (k, a[k]), (0, 8), textcoords="offset points", ha="center")
    figure.legend(*memory.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    marks = np.stack([*(rule == word for word in RULES.values()), shown], axis=1)
    if n:
        _image(strip, marks, 700, cmap="Greys", vmin=0, vmax=1.3)
    strip.set_ylim(len(RULES) + 0.5, -0.5)
    strip.set_yticks(range(len(RULES) + 1), [*RULES.values(), "output"])
    for edge in np.arange(len(RULES)) + 0.5:
        strip.axhline(edge, color="0.7", linewidth=0.5)
    _steps(figure, [strip], n, labels, 540)
    return figure


def _span(part: Array, gate: bool) -> tuple[float, float]:
    """From 0 to 1 for a gate that stays there; from -v to v for values."""
    finite = part[np.isfinite(part)].astype(np.float64)
    low, high = finite.min(initial=0.0), finite.max(initial=0.0)
    if gate:
        return low, max(high, 1.0)
    largest = max(-low, high) or 1.0
    return -largest, largest


def _lines(ax: Axes, part: Array, names: list[str]) -> None:
    n = len(part)
    ax.axhline(0, color="0.8", linewidth=0.8)
    for k, name in enumerate(names):
        every = 1 if n <= _POINTS else (k * n // 40, max(n // 10, 1))  # apart from each other's
        ax.plot(
            part[:, k], linestyle=_LINES[k], marker=_MARKERS[k], markersize=4.5, markevery=every, linewidth=1.2,
            fillstyle="none" if k % 2 else "full", label=name,
        )  # fmt: skip


def _map(
    figure: Figure, ax: Axes, part: Array, names: list[int], span: tuple[float, float], meaning: str, word: str
) -> None:
    """Units downward, steps to the right; light is high, in grey too."""
    n, many = part.shape
    ax.set_ylabel(word, fontsize=_TEXT)
    ax.set_ylim(many - 0.5, -0.5)
    shown = range(0, many, ceil_div(many, 8))
    ax.set_yticks(shown, [str(names[k]) for k in shown], fontsize=_TEXT)
    if not n:
        return
    image = _image(ax, part, 300, cmap="cividis", vmin=span[0], vmax=span[1])
    figure.colorbar(image, ax=ax).set_label(meaning, fontsize=_TEXT)
    if n <= 8 and many <= 10:
        middle = sum(span) / 2
        for k in range(many):
            for t in range(n):
                number = part[t, k]
                colour = "black" if number > middle else "white"
                ax.text(t, k, f"{number:z.2g}", ha="center", va="center", color=colour, fontsize=6.5)


def _image(ax: Axes, part: Array, most: int, **options: Any) -> AxesImage:
    """Rows downward, steps to the right; of more than `most` steps, the means of some at a time."""
    n, rows = part.shape
    k = ceil_div(n, most)
    starts = np.arange(0, n, k)
    means = np.add.reduceat(part.astype(np.float64), starts, axis=0) / np.diff([*starts, n])[:, None]
    extent = (-0.5, len(starts) * k - 0.5, rows - 0.5, -0.5)
    how = "nearest" if rows <= 100 else "antialiased"
    return ax.imshow(means.T, aspect="auto", interpolation=how, extent=extent, **options)


def _steps(figure: Figure, axes: list[Axes], n: int, labels: list[str] | None, width: float) -> None:
    """The axes of steps, `width` points wide: level labels where all have room, else upright ones, thinned out."""
    for ax in axes:
        ax.set_xlim(-0.5, max(n, 1) - 0.5)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if labels is None:
        return
    room = width / max(n, 1) - _TEXT
    level = n <= _POINTS and all(_width(label) <= room for label in labels)
    at = range(n) if level else range(0, n, ceil_div(n, int(width / (1.5 * _TEXT))))
    shown = [labels[t] if len(labels[t]) <= 20 else labels[t][:19] + "…" for t in at]
    for ax in axes:
        ax.set_xticks(at, shown, fontsize=_TEXT, rotation=0 if level else 90, parse_math=False)
    if not level:
        figure.set_figheight(figure.get_figheight() + max(map(_width, shown)) / 72)


def _width(text: str) -> float:
    """At most so many points wide."""
    return _TEXT * sum(0.65 if letter in _NARROW else 1.0 for letter in text)
