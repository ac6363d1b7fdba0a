"""How many draws the tests on random arguments and damaged files make, and from which seed; which slow tests run.

A run with FASTCELL_EXAMPLES, which says how many, draws anew each time and says its FASTCELL_SEED; a run that is given
that one draws the same again. A run with neither draws the same each time.

FASTCELL_SHARE=1/3 leaves a run every third slow test, from the second on.
"""

import os
import secrets
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LONG = "FASTCELL_EXAMPLES" in os.environ
if LONG:  # in the environment, so that a run's other processes take it over
    os.environ.setdefault("FASTCELL_SEED", str(secrets.randbits(32)))
SEED = int(os.environ.get("FASTCELL_SEED", "0"))


def examples(few: int) -> int:
    """How many draws to make, `few` in a quick run."""
    return int(os.environ.get("FASTCELL_EXAMPLES", few))


def left_out(slow: Sequence[T]) -> set[T]:
    """Those of the slow tests that are no part of this run's share."""
    first, every = map(int, os.environ.get("FASTCELL_SHARE", "0/1").split("/"))
    return set(slow) - set(slow[first::every])
