"""`python -m fastcell simulate`: agents that each step an LSTM memory of their own, in one compiled loop."""

import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from numba import njit

from fastcell import _memory
from fastcell._checks import Array
from fastcell._jit import CACHE_TOKEN
from fastcell.lstm.cell import CellParams, LSTMCell, lstm_step

INPUTS = 2
"""What an agent sees: how far away its prey is, and its own speed."""

_STEP, _AGENT = 64, 16  # bytes of each step, as numbers of Python's too; values of an agent beside its units


def _compiled(token: int) -> Any:
    """The loop, as a user writes it; closing over the token keeps Numba's cache from outliving fastcell's code."""

    @njit(cache=True)  # type: ignore[untyped-decorator]
    def chase(params: CellParams, readout: Array, prey: Array, place: Array, speed: Array, h: Array, c: Array) -> int:
        seen = np.empty(2, h.dtype)
        for t in range(len(prey)):
            for agent in range(len(place)):
                seen[0], seen[1] = prey[t] - place[agent], speed[agent]
                lstm_step(params, seen, h[agent], c[agent])
                push = h.dtype.type(0)
                for k in range(len(readout)):
                    push += readout[k] * h[agent, k]
                speed[agent] = h.dtype.type(0.9) * speed[agent] + h.dtype.type(0.1) * push
                place[agent] += speed[agent]
        return token

    return chase


def _problem(agents: int, steps: int, hidden: int) -> tuple[LSTMCell, Array, Array, tuple[Array, ...]]:
    """The cell, the readout, the prey's places, and the agents: place, speed, h, c."""
    size = _STEP * steps + 8 * agents * (hidden + _AGENT)
    _memory.check(size, "{} agents of {} units for {} steps", agents, hidden, steps)
    random = np.random.default_rng(0)
    cell = LSTMCell(INPUTS, hidden, seed=0)
    readout = (random.standard_normal(hidden) / np.sqrt(hidden)).astype(np.float32)
    prey = np.cumsum(random.standard_normal(steps) * 0.1).astype(np.float32)
    place = random.standard_normal(agents).astype(np.float32)
    empty = np.zeros(agents, np.float32), *(np.zeros((agents, hidden), np.float32) for _ in range(2))
    return cell, readout, prey, (place, *empty)


def with_fastcell(agents: int, steps: int, hidden: int) -> tuple[Array, float]:
    """Where the agents end, and the seconds that it took, compiling apart."""
    cell, readout, prey, state = _problem(agents, steps, hidden)
    chase = _compiled(CACHE_TOKEN)
    chase(cell.params, readout, prey[:0], *state)
    start = time.perf_counter()
    chase(cell.params, readout, prey, *state)
    return state[0], time.perf_counter() - start


def with_torch(agents: int, steps: int, hidden: int) -> tuple[Array, float]:
    """The same in PyTorch, one call of nn.LSTMCell a step for all agents."""
    import torch

    cell, readout, prey, state = _problem(agents, steps, hidden)
    lstm = cell.state_dict()
    module = torch.nn.LSTMCell(INPUTS, hidden)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in lstm.items()})
    out = torch.from_numpy(readout)
    place, speed, h, c = (torch.from_numpy(part) for part in state)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            start = time.perf_counter()
            for target in prey.tolist():
                h, c = module(torch.stack([target - place, speed], dim=1), (h, c))
                speed = 0.9 * speed + 0.1 * (h @ out)
                place = place + speed
            return place.numpy(), time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)


def simulate(agents: int, steps: int, hidden: int) -> int:
    """Print agents' steps per second, with PyTorch's beside where it is installed; returns 1 if the two disagree."""
    print(f"{agents} agents chase one prey for {steps} steps, each with {hidden} units of memory; one thread.\n")
    ours, seconds = with_fastcell(agents, steps, hidden)
    rate = agents * steps / seconds
    print(f"fastcell, one @njit loop   {rate:14,.0f} steps/s   {1e9 / rate:9.0f} ns a step")
    if find_spec("torch") is None:
        print("PyTorch is not installed: no loop to compare with")
        return 0
    theirs, seconds = with_torch(agents, steps, hidden)
    other = agents * steps / seconds
    print(f"PyTorch, all agents a call {other:14,.0f} steps/s   {1e9 / other:9.0f} ns a step")
    print(f"\nfastcell / PyTorch: {rate / other:.1f}")
    apart = float(np.abs(ours - theirs).max(initial=0))
    if apart > 1e-3 * max(1.0, float(np.abs(ours).max(initial=0))):
        print(f"the agents end up to {apart:.2g} apart")
        return 1
    print(f"the agents end at the same places, to {apart:.1g}")
    return 0
