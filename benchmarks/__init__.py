"""Benchmarks of fastcell for asv, the gate in CI, and the tables of README.md and benchmarks/README.md.

Read before NumPy and Numba are: products on one thread, and under asv a cache of compiled kernels for each commit.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

if {"ASV_ENV_DIR", "ASV_COMMIT"} <= os.environ.keys():
    os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(os.environ["ASV_ENV_DIR"], "numba", os.environ["ASV_COMMIT"]))
