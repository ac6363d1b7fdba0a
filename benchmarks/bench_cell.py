"""One step at a time: from Python, inside a loop under @njit, for one agent and for many."""

import numpy as np
from numba import njit

import fastcell as fc

from . import common, numpy_lstm

INPUTS = 4


@njit(nogil=True)
def many_steps(params, x, h, c, steps):
    """One memory, many steps. x: (I,)  h, c: (H,)"""
    for _ in range(steps):
        fc.lstm_step(params, x, h, c)


@njit(nogil=True)
def one_by_one(params, x, h, c):
    """Many memories, a step each. x: (B, I)  h, c: (B, H)"""
    for agent in range(len(x)):
        fc.lstm_step(params, x[agent], h[agent], c[agent])


@njit(nogil=True)
def many_toy_steps(x1, x2, x3):
    a = total = 0.0
    for t in range(len(x1)):
        a, y = fc.toy_step(a, x1[t], x2[t], x3[t])
        total += y
    return total


class _Cell:
    """A cell, its weights for NumPy, and arrays of float32."""

    def make(self, hidden: int, *rows: int) -> None:
        common.needs("LSTMCell", "lstm_step")
        lstm = fc.LSTM(INPUTS, hidden, seed=0)  # a cell of the first commits can't tell its weights
        self.cell = lstm.cell()
        self.x, self.h, self.c = common.normal(*rows, INPUTS), *(np.zeros((*rows, hidden), np.float32) for _ in "hc")
        self.weights = common.for_numpy(lstm.state_dict())


class FromPython(_Cell):
    """1,000 calls, one row."""

    params = ((16, 64, 128),)
    param_names = ("hidden",)
    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self, hidden: int) -> None:
        self.make(hidden)
        self.time_cell_step_1000_calls(hidden)

    def time_cell_step_1000_calls(self, hidden: int) -> None:
        for _ in range(1000):
            self.cell.step(self.x, self.h, self.c)

    def time_numpy_step_1000_calls(self, hidden: int) -> None:
        """The yardstick."""
        for _ in range(1000):
            numpy_lstm.step(self.x, self.h, self.c, *self.weights)

    def track_cell_step_times_numpy(self, hidden: int) -> float:
        return common.ratio(
            lambda: numpy_lstm.step(self.x, self.h, self.c, *self.weights),
            lambda: self.cell.step(self.x, self.h, self.c),
        )

    time_cell_step_1000_calls.pretty_name = "cell.step from Python, 1,000 calls"
    time_numpy_step_1000_calls.pretty_name = "Yardstick: a step in NumPy, 1,000 calls"
    track_cell_step_times_numpy.unit = "times NumPy's speed"
    track_cell_step_times_numpy.pretty_name = "cell.step from Python, times a step in NumPy"


class InsideNjit(_Cell):
    """100,000 steps, one row."""

    params = ((16, 64, 128),)
    param_names = ("hidden",)
    number, repeat, rounds, timeout = 1, (3, 10, 3.0), 2, 120

    def setup(self, hidden: int) -> None:
        self.make(hidden)
        many_steps(self.cell.params, self.x, self.h, self.c, 1)

    def time_lstm_step_100000_steps(self, hidden: int) -> None:
        many_steps(self.cell.params, self.x, self.h, self.c, 100_000)

    def track_lstm_step_share_of_sgemm(self, hidden: int) -> float:
        a = np.ones((768, 768), np.float32)
        best = common.in_turn(
            {"sgemm": lambda: a @ a, "steps": lambda: many_steps(self.cell.params, self.x, self.h, self.c, 1000)}
        )
        return 1000 * 4 * hidden * (INPUTS + hidden) / best["steps"] / (768**3 / best["sgemm"])

    time_lstm_step_100000_steps.pretty_name = "lstm_step inside @njit, 100,000 steps"
    track_lstm_step_share_of_sgemm.unit = "of sgemm's rate"
    track_lstm_step_share_of_sgemm.pretty_name = "lstm_step inside @njit, share of sgemm"


class InsideNjitPrecision(_Cell):
    """1,000 steps, one row, products of fewer bits."""

    params = ((64, 128), ("bfloat16", "int8"))
    param_names = ("hidden", "precision")
    timeout = 120

    def setup(self, hidden: int, precision: str) -> None:
        self.make(hidden)
        if not hasattr(self.cell, "with_precision"):
            raise NotImplementedError("this commit has no with_precision")
        self.low = self.cell.with_precision(precision)

    def track_lstm_step_precision_over_float32(self, hidden: int, precision: str) -> float:
        state = self.h.copy(), self.c.copy()
        return common.ratio(
            lambda: many_steps(self.cell.params, self.x, self.h, self.c, 1000),
            lambda: many_steps(self.low.params, self.x, *state, 1000),
            rounds=9,
        )

    track_lstm_step_precision_over_float32.unit = "times float32's speed"
    track_lstm_step_precision_over_float32.pretty_name = "lstm_step inside @njit, bfloat16 and int8 over float32"


class Agents(_Cell):
    """100,000 agents with 16 units each, one step of all."""

    number, repeat, rounds, timeout = 1, (3, 20, 3.0), 2, 120

    def setup(self) -> None:
        self.make(16, 100_000)
        self.time_cell_step_100000_agents()
        self.time_lstm_step_100000_agents()

    def time_cell_step_100000_agents(self) -> None:
        self.cell.step(self.x, self.h, self.c)

    def time_lstm_step_100000_agents(self) -> None:
        """Each agent by itself, in a loop under @njit."""
        one_by_one(self.cell.params, self.x, self.h, self.c)

    def track_cell_step_times_numpy(self) -> float:
        return common.ratio(
            lambda: numpy_lstm.step(self.x, self.h, self.c, *self.weights), self.time_cell_step_100000_agents, rounds=3
        )

    time_cell_step_100000_agents.pretty_name = "cell.step of 100,000 agents"
    time_lstm_step_100000_agents.pretty_name = "lstm_step inside @njit, 100,000 agents one by one"
    track_cell_step_times_numpy.unit = "times NumPy's speed"
    track_cell_step_times_numpy.pretty_name = "cell.step of 100,000 agents, times NumPy"


class ToyStep:
    """The toy cell by steps."""

    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self) -> None:
        common.needs("toy_step")
        self.data = common.toy("sequence in cache 2000000")
        self.time_toy_step_inside_njit_2000000_steps()

    def time_toy_step_inside_njit_2000000_steps(self) -> None:
        many_toy_steps(*self.data[:3])

    def time_toy_step_from_python_1000_calls(self) -> None:
        a = 0.0
        for _ in range(1000):
            a, _ = fc.toy_step(a, 2.0, 1, 1)

    time_toy_step_inside_njit_2000000_steps.pretty_name = "toy_step inside @njit, 2,000,000 steps"
    time_toy_step_from_python_1000_calls.pretty_name = "toy_step from Python, 1,000 calls"
