"""Tests marked `forks` and `kills` do what not every platform can; there they are skipped."""

import os
import signal

import pytest

NEEDS = {"forks": (os, "fork"), "kills": (signal, "SIGKILL")}
FORKS = (
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # JAX's, if another test of this process imported it
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
)


def mark(item):
    """Mark a test by what it needs."""
    for name, (module, attribute) in NEEDS.items():
        if item.get_closest_marker(name) and not hasattr(module, attribute):
            item.add_marker(pytest.mark.skip(reason=f"there is no {module.__name__}.{attribute} here"))
    if item.get_closest_marker("forks"):
        for ignored in FORKS:
            item.add_marker(ignored)
