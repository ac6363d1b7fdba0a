"""The command line: `python -m fastcell demo | simulate | verify | warmup | scan | gated | lstm`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from numba.core import config

from fastcell._files import BadInputError
from fastcell._jit import DISABLED

_AGAIN = (
    "OUT is there whole or not at all. FILE of --state is written after it and remembers the input that it saw last: "
    "over that same input, unchanged, a run starts again from the state before and writes the same once more."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastcell", description="Gated memory cells for NumPy.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="the cell's rules and gates, an LSTM reading, the wettest spells of Seattle"
    )
    demo.add_argument("--plot", metavar="FILE", type=Path, help="draw the LSTM's gates: .png, .svg or .pdf")
    simulate = commands.add_parser("simulate", help="agents with an LSTM memory each, in one compiled loop")
    for name, default, what in (("agents", 200, "agents"), ("steps", 3000, "steps"), ("hidden", 16, "units of each")):
        simulate.add_argument(
            f"--{name}", metavar="N", type=_count, default=default, help=f"{what} (default {default})"
        )
    commands.add_parser("verify", help="the kernels against the oracle on this machine")
    commands.add_parser("warmup", help="compile and cache the usual kernels")
    _add_scan(commands.add_parser("scan", help="run the toy cell over CSV or Parquet files", epilog=_AGAIN))
    _add_gated(commands.add_parser("gated", help="run the gated recurrence over CSV or Parquet files", epilog=_AGAIN))
    _add_lstm(commands.add_parser("lstm", help="run an LSTM over tables or a NumPy array file", epilog=_AGAIN))
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**31:
        expected = "a number above 0" if number < 1 else "a number below 2**31"
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return number


def _number(text: str) -> float:
    """An integer, which stays exact, or a float."""
    try:
        return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _add_tables(command: argparse.ArgumentParser) -> None:
    """What the commands over tables share."""
    command.add_argument(
        "input",
        metavar="IN",
        type=Path,
        help=".csv, also .csv.gz, .bz2 or .zst; .parquet; a folder: the .parquet files below it in the order of "
        "paths, with the columns of folders such as month=5; - is standard input",
    )
    command.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="one such file, or -")
    command.add_argument(
        "--state", metavar="FILE", type=Path, help="start from it if it is there; save the last state in it (Parquet)"
    )
    command.add_argument(
        "--nulls",
        choices=("raise", "keep"),
        default="raise",
        help="a cell with nothing stops the run where it is needed, or changes no memory",
    )
    _add_by(command)
    _add_dialect(command)


def _add_dialect(command: argparse.ArgumentParser) -> None:
    dialect = command.add_argument_group("CSV", "how such files are read and written")
    dialect.add_argument("--delimiter", metavar="SIGN", default=",", help=r"what parts columns (default ,); tab or \t")
    dialect.add_argument("--decimal", choices=(".", ","), default=".", help="what parts decimals (default .)")
    dialect.add_argument(
        "--thousands", metavar="SIGN", default="", help="what may stand between thousands, as in 1,234 (default none)"
    )
    dialect.add_argument(
        "--na", metavar="WORD", nargs="+", action="extend", help="in columns of numbers and times, a cell with nothing"
    )
    dialect.add_argument("--encoding", metavar="NAME", default="utf-8", help="as Python names it (default utf-8)")


def _add_by(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--by", metavar="COL", nargs="+", action="extend", help="a memory for each value of these columns together"
    )
    command.add_argument(
        "--order-by",
        metavar="COL",
        nargs="+",
        action="extend",
        help="rows must be in the order of these columns: the first that is not stops the run",
    )


def _add_scan(scan: argparse.ArgumentParser) -> None:
    _add_tables(scan)
    scan.add_argument("--value", metavar="COL", required=True, help="x1: what is added")
    scan.add_argument(
        "--control", metavar="COL", required=True, help="x2: 1 adds, 0 keeps, -1 resets, 2 restarts from the value"
    )
    scan.add_argument("--emit", metavar="COL", required=True, help="x3: 1 outputs the memory")
    scan.add_argument("--fill", type=float, default=0.0, help="y of a silent row (default 0)")
    for end, what in (("low", "floor"), ("high", "capacity")):
        scan.add_argument(f"--{end}", metavar="N", type=_number, help=f"the memory's {what}: it is held there")
    scan.add_argument(
        "--integer",
        action="store_true",
        help="a CSV's values, and the numbers of --order-by, are integers (default: float64)",
    )


def _add_gated(gated: argparse.ArgumentParser) -> None:
    _add_tables(gated)
    gated.add_argument("--value", metavar="COL", required=True, help="x: what is added")
    gated.add_argument("-f", "--forget", metavar="GATE", help="f, a column or a number: what stays of the memory")
    gated.add_argument(
        "-i",
        "--input",
        metavar="GATE",
        dest="input_gate",
        default="1",
        help="i: what is taken of it (default 1)",
    )
    gated.add_argument("--emit", metavar="GATE", default="1", help="o: what is shown of the memory (default 1)")
    gated.add_argument(
        "--half-life",
        metavar="TIME",
        help="in the place of -f: after it half of a memory is left. A number, in the unit of times that are numbers, "
        "or such as 30s, 5min, 1.5h, 7d",
    )
    gated.add_argument("--time", metavar="COL", help="times, upwards for each key; the state has the last ones")
    gated.add_argument(
        "--integer",
        action="store_true",
        help="a CSV's times, and the numbers of --order-by, are integers (default: float64)",
    )


def _add_lstm(lstm: argparse.ArgumentParser) -> None:
    lstm.add_argument(
        "input", metavar="X", type=Path, help="an array .npy, (T, B, I) or (T, I); with --inputs a table as for scan"
    )
    lstm.add_argument("--inputs", metavar="COL,COL", nargs="+", help="the columns of a table that the LSTM reads, I")
    _add_by(lstm)
    _add_dialect(lstm)
    lstm.add_argument(
        "--list", metavar="NAME", help="a table's outputs as one list column (Parquet), not h_0, h_1, ..."
    )
    lstm.add_argument(
        "--nulls", choices=("raise", "keep"), help="a table's cell with nothing stops the run (default), or is 0"
    )
    lstm.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        required=True,
        help=".onnx, .safetensors, PyTorch's checkpoints and TorchScript as .pt, .pth, .ckpt, .bin or .jit, Keras's "
        ".keras, .h5 or .hdf5",
    )
    lstm.add_argument("--prefix", default="", help="of the LSTM's names in .safetensors or PyTorch's, of several LSTMs")
    lstm.add_argument("--layer", metavar="NAME", nargs="+", help="Keras's layers that make the LSTM, of several")
    lstm.add_argument("--node", help="of an ONNX model, where it has several LSTMs")
    lstm.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        help="of the products (default: that of the weights, int8 where FILE holds integers). A state is float32 in "
        "each, so that a run may go on in another",
    )
    lstm.add_argument(
        "-o", "--output", metavar="Y", type=Path, required=True, help=".npy, (T, B, D*H) or (T, D*H); or a table"
    )
    lstm.add_argument(
        "--state",
        metavar="FILE",
        type=Path,
        help=".npz or .safetensors with h and c, Parquet for a table: start from it if it is there; save the last "
        "state in it. Not where a direction runs backwards: such an LSTM takes all steps of some rows at a time",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if config.DISABLE_JIT:
        print(f"{arguments.command}: {DISABLED}", file=sys.stderr)
        return 1
    if arguments.command == "demo":
        from fastcell._cli.demo import demo

        return demo(arguments.plot)
    if arguments.command == "simulate":
        from fastcell._cli.simulate import simulate

        try:
            return simulate(arguments.agents, arguments.steps, arguments.hidden)
        except MemoryError as error:
            print(f"simulate: {error}", file=sys.stderr)
            return 1
    if arguments.command == "verify":
        from fastcell._verify import verify

        return min(verify(), 1)
    if arguments.command == "warmup":
        from fastcell._warmup import warmup

        print(f"{warmup(verbose=True):.1f} s in all")
        return 0
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    """A command that reads and writes files."""
    command = arguments.command
    try:
        if command == "scan":
            from fastcell._cli.scan import scan

            scan(arguments)
        elif command == "gated":
            from fastcell._cli.gated import gated

            gated(arguments)
        else:
            from fastcell._cli.lstm import lstm

            lstm(arguments)
    except (BadInputError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"{command}: {error or 'not enough memory'}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"{command} needs {error.name}: {_install(error.name)}" if error.name else error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{command}: interrupted, nothing written", file=sys.stderr)
        return 130
    return 0


def _install(module: str) -> str:
    if module == "torch":
        return "pip install torch"
    return (
        f"pip install 'fastcell[{'weights' if module in ('h5py', 'ml_dtypes', 'onnx', 'safetensors') else 'frames'}]'"
    )


if __name__ == "__main__":
    sys.exit(main())
