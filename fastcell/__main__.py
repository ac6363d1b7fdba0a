"""The command line: `python -m fastcell demo | verify | warmup | scan`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastcell", description="Gated memory cells for NumPy.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="the cell's rules and gates, an LSTM reading, the wettest spells of Seattle"
    )
    demo.add_argument("--plot", metavar="FILE", type=Path, help="draw the LSTM's gates: .png, .svg or .pdf")
    commands.add_parser("verify", help="the kernels against the oracle on this machine")
    commands.add_parser("warmup", help="compile and cache the usual kernels")
    scan = commands.add_parser("scan", help="run the toy cell over a CSV or Parquet file")
    scan.add_argument("input", metavar="IN", type=Path, help=".csv or .parquet")
    scan.add_argument("--value", metavar="COL", required=True, help="x1: what is added")
    scan.add_argument("--control", metavar="COL", required=True, help="x2: 1 adds, -1 resets, 0 keeps")
    scan.add_argument("--emit", metavar="COL", required=True, help="x3: 1 outputs the memory")
    scan.add_argument("--by", metavar="COL", help="a memory for each value of this column")
    scan.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help=".csv or .parquet")
    scan.add_argument(
        "--state", metavar="FILE", type=Path, help="start from it if it is there; save the last state in it"
    )
    scan.add_argument("--fill", type=float, default=0.0, help="y of a silent row (default 0)")
    scan.add_argument("--integer", action="store_true", help="a CSV's values are integers (default: float64)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "demo":
        from fastcell._demo import demo

        return demo(arguments.plot)
    if arguments.command == "verify":
        from fastcell._verify import verify

        return verify()
    if arguments.command == "warmup":
        from fastcell._warmup import warmup

        print(f"{warmup(verbose=True):.1f} s in all")
        return 0
    try:
        from fastcell import _scan
    except ImportError as error:
        print(f"scan needs {error.name}: pip install 'fastcell[frames]'", file=sys.stderr)
        return 1
    try:
        _scan.scan(arguments)
    except (_scan.BadInputError, OSError) as error:
        print(f"scan: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scan: interrupted, nothing written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
