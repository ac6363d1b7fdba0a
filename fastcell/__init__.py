"""fastcell: the fastest gated memory cells for NumPy on a CPU, in Python alone."""

from fastcell import frames, oracle
from fastcell._jit import CACHE_TOKEN
from fastcell.lstm import LSTM
from fastcell.recurrence import Scan, gated_scan, rules_to_gates, toy_scan, toy_step

__all__ = ["CACHE_TOKEN", "LSTM", "Scan", "frames", "gated_scan", "oracle", "rules_to_gates", "toy_scan", "toy_step"]
__version__ = "0.1.0"
