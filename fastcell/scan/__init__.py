"""The toy cell and the gated recurrence over whole arrays."""

from fastcell.scan.api import Scan, gated_scan, rules_to_gates, toy_scan, toy_step

__all__ = ["Scan", "gated_scan", "rules_to_gates", "toy_scan", "toy_step"]
