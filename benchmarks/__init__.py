"""Benchmarks of fastcell for asv, and the table in the README."""
