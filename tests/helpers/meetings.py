"""LSTM calls whose hidden units are shared out for certain: the helpers are there before the caller begins."""

import time
from contextlib import contextmanager

import numpy as np
import pytest

from fastcell import _threads
from fastcell.lstm import meeting, sharing


def bits(answer):
    y, (h, c) = answer
    return [part.tobytes() for part in (y, h, c)]


@contextmanager
def plan(pieces, seats, steps=3, looks=10**9, wait=True, guest=None):
    """Calls that ask for threads go by this plan, in stretches of so many steps, and of up to four times as many.

    looks: the leader looks so often for others.
    guest: called with the hall's words in place of a helper. Gives a list: of each meeting, how many stretches were
    void and how many were not.
    """
    invite, log = _threads.invite, []

    def asked(work, count):
        words = meeting.words(work.args[-1])
        if guest is not None:
            guest(words)
            return
        invite(work, count)
        door = words[meeting.DOOR // 8 :]
        stop = time.monotonic() + 10
        while wait and door[0] < count and time.monotonic() < stop:
            time.sleep(1e-5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "plan", lambda *_: sharing.Plan(pieces, seats))
        patch.setattr(sharing, "stretches", lambda *_: (steps, 4 * steps))
        patch.setattr(sharing, "_LOOKS", looks)
        patch.setattr(sharing.luck, "learn", lambda void, shared: log.append((void, shared)))
        patch.setattr(_threads, "invite", asked)
        yield log


def check(lstm, x, state=None, seats=2, pieces=1, **options):
    """The bits of one thread; on a busy machine it may take a few calls until all meet."""
    wanted = bits(lstm(x, state, threads=1, **options))
    with plan(pieces, seats) as log:
        for _ in range(50):
            assert bits(lstm(x, state, threads=2, **options)) == wanted
            if any(shared for _, shared in log):
                return
    raise AssertionError(f"nobody came: {log}")


def normal(*shape, dtype="float32"):
    return np.random.default_rng([3, *shape]).standard_normal(shape).astype(dtype)
