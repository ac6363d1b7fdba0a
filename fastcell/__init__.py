"""fastcell: gated memory cells for NumPy on a CPU, from sums that forget to whole LSTMs, compiled by Numba."""

from importlib import import_module
from typing import Any

from fastcell import oracle
from fastcell._jit import CACHE_TOKEN
from fastcell._model import LSTM
from fastcell._verify import verify
from fastcell._warmup import warmup
from fastcell.lstm.cell import CellParams, LSTMCell, lstm_step
from fastcell.scan.api import Scan, gated_scan, rules_to_gates, toy_scan, toy_step
from fastcell.trace.api import ToyTrace, Trace, toy_trace

__all__ = [
    "CACHE_TOKEN",
    "LSTM",
    "CellParams",
    "LSTMCell",
    "Scan",
    "ToyTrace",
    "Trace",
    "gated_scan",
    "lstm_step",
    "oracle",
    "rules_to_gates",
    "toy_scan",
    "toy_step",
    "toy_trace",
    "verify",
    "warmup",
]
__version__ = "0.1.0"

_LAZY = ("dask", "frames")  # modules with requirements of their own, imported when they are first asked for


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"fastcell.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
