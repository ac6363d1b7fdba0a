"""`python -m fastcell demo`: the rules and the gates they amount to, then a real job."""

import csv
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from fastcell.recurrence import rules_to_gates, toy_scan


def _table(x1: Sequence[float], x2: Sequence[int], x3: Sequence[int]) -> None:
    f, i, o = rules_to_gates(x2, x3)
    state = 0.0
    print("   x1  x2  x3 |  f  i  o |    a    y")
    for t in range(len(x1)):
        y, state = toy_scan(x1[t : t + 1], x2[t : t + 1], x3[t : t + 1], state=state)
        shown = f"{y[0]:5g}" if x3[t] else "    -"
        print(f"{x1[t]:5g} {x2[t]:3d} {x3[t]:3d} | {f[t]:2d} {i[t]:2d} {o[t]:2d} |{state:5g}{shown}")
    print()


def rain() -> tuple[list[str], np.ndarray]:
    """Days and millimetres of rain at Seattle, 2012 to 2015: NOAA's record, as the package vega-datasets ships it."""
    with (files("fastcell") / "data" / "seattle-rain.csv").open() as file:
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


def demo() -> int:
    print("a_t = f_t * a_{t-1} + i_t * x1_t,  y_t = o_t * a_t\n")
    _table([3.0, 5.0, 2.0, 3.0], [1, 0, 1, 0], [0, 1, 0, 1])
    _table([3.0, 5.0, 2.0], [1, 1, 1], [0, 0, 1])
    print("Rain at Seattle, 2012 to 2015. A wet day adds its rain, a dry day resets,")
    print("the last day of a wet spell outputs the spell's total. The five wettest spells:\n")
    print("     mm  days  until")
    for mm, day, length in wettest_spells(5):
        print(f"{mm:7.1f} {length:5d}  {day}")
    return 0
