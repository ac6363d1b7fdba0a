"""`python -m fastcell demo`: the rules and the gates they amount to, an LSTM reading, then a real job."""

import csv
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

from fastcell._files import whole_or_not
from fastcell._model import LSTM
from fastcell.scan.api import toy_scan
from fastcell.trace.api import Trace, toy_trace


def rain() -> tuple[list[str], np.ndarray]:
    """Days and millimetres of rain at Seattle, 2012 to 2015: NOAA's record, as the package vega-datasets ships it."""
    with (files("fastcell") / "data" / "seattle-rain.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["date"] for row in rows], np.array([float(row["precipitation"]) for row in rows])


def wettest_spells(count: int) -> list[tuple[float, str, int]]:
    """The largest totals of days of rain in a row: (mm, last day, days)."""
    days, mm = rain()
    wet = mm > 0
    last = wet & ~np.append(wet[1:], False)
    control = np.where(wet, 1, -1)
    totals = toy_scan(mm, control, last).y
    lengths = toy_scan(np.ones(len(mm), np.int64), control, last).y
    order = np.argsort(-totals, kind="stable")[:count]
    return [(float(totals[k]), days[k], int(lengths[k])) for k in order]


WORDS = ["I", "love", "France"]
MEANINGS = np.array(
    [[1.0, 0.1, 0.0], [0.1, 1.0, 0.1], [0.0, 0.1, 1.0]]
)  # how far a word is a person, a feeling, a place


def sentence() -> LSTM:
    """An LSTM with a unit each for who, the feeling and the place, which reads a word's meaning a step."""
    own, nothing = np.eye(3), np.zeros((3, 3))
    forget, show = nothing.copy(), nothing.copy()
    forget[0, 2] = -6  # a place ends the question who
    show[0, 1] = show[1, 2] = show[2, 2] = 6  # who: at the feeling; the feeling and the place: at the place
    return LSTM(
        3, 3, dtype="float64",
        weights={
            "weight_ih_l0": np.concatenate([6 * own, forget, 2 * own, show]),
            "weight_hh_l0": np.zeros((12, 3)),
            "bias_ih_l0": np.repeat([-3.0, 3.0, 0.0, -3.0], 3),  # shut, kept, none, hidden
        },
    )  # fmt: skip


def _rules() -> None:
    print("a_t = f_t * a_{t-1} + i_t * x1_t,  y_t = o_t * a_t\n")
    first = np.array([[3.0, 1, 0], [5, 0, 1], [2, 1, 0], [3, 0, 1]])
    for rows in (first, np.array([[3.0, 1, 0], [5, 1, 0], [2, 1, 1]]), np.array([[3.0, 1, 0], [5, 2, 1], [2, 1, 1]])):
        print(toy_trace(rows).table(), end="\n\n")
    lstm, factor = LSTM.from_rules()
    trace = lstm.trace(first)
    seen = trace._replace(g=factor * trace.g, c=factor * trace.c, h=factor * trace.h)
    print("The first of them by an LSTM (LSTM.from_rules), g, c and h in units of x1:\n")
    print(seen.table(), end="\n\n")


STORY = {
    "who": 'remembered at "I", shown at "love", forgotten at "France"',
    "the feeling": 'remembered at "love", kept, shown at "France"',
    "the place": 'remembered and shown at "France"',
}


def _sentence() -> Trace:
    trace = sentence().trace(MEANINGS)
    for unit, (name, story) in enumerate(STORY.items()):
        key, table = trace.table(WORDS, units=unit).split("\n", 1)
        if unit == 0:
            print(f"An LSTM reads a sentence, word by word.\n\n{key}\n")
        print(f"{name}: {story}\n{table}\n")
    return trace


def demo(plot: Path | None = None) -> int:
    """Print the demo; draw the sentence's trace into a file."""
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        print(f"demo: {plot}: expected a .png, .svg or .pdf file", file=sys.stderr)
        return 1
    _rules()
    trace = _sentence()
    print("Rain at Seattle, 2012 to 2015. A wet day adds its rain, a dry day resets,")
    print("the last day of a wet spell outputs the spell's total. The five wettest spells:\n")
    print("     mm  days  until")
    for mm, day, length in wettest_spells(5):
        print(f"{mm:7.1f} {length:5d}  {day}")
    if plot is not None:
        try:
            figure = trace.plot(WORDS)
            with whole_or_not(plot) as name:
                figure.savefig(name, format=plot.suffix[1:].lower(), dpi=150)
        except (ImportError, OSError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        print(f"\nThe sentence's gates and memory are drawn in {plot}")
    return 0
