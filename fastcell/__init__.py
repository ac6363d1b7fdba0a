"""fastcell: the fastest gated memory cells for NumPy on a CPU, in Python alone."""

from importlib import import_module
from typing import Any

from fastcell import oracle
from fastcell._jit import CACHE_TOKEN
from fastcell.lstm import LSTM
from fastcell.recurrence import Scan, gated_scan, rules_to_gates, toy_scan, toy_step

__all__ = ["CACHE_TOKEN", "LSTM", "Scan", "gated_scan", "oracle", "rules_to_gates", "toy_scan", "toy_step"]
__version__ = "0.1.0"

_LAZY = ("dask",)  # modules with requirements of their own, imported when they are first asked for


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"fastcell.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
