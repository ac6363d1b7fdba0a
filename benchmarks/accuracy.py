"""How far each precision is from float64: `python -m benchmarks.accuracy` from the top of the repository.

Writes the tables of errors of benchmarks/README.md, of fastcell and of its peers at the same precision: over the shapes
that are timed, with weights drawn at random, and on trained models that packages ship, each by its task's own figure.
What is not installed is left out, and the table says so.
"""

import platform
from collections import defaultdict
from collections.abc import Callable
from datetime import date

import numpy as np

import fastcell as fc
from fastcell.simd.vector import LANES

from . import common, pages, peers_lstm, trained
from .peers_report import table
from .table import commit, cpu

NAME = "accuracy"
LOW = ("bfloat16", "int8")
DRAWS = 8
"""Of weights and inputs with one row, whose largest error differs by a third from one to the next."""


def columns() -> list[tuple[str, str]]:
    """A precision and who runs it, as the tables have them from left to right."""
    made = [("float32", "fastcell")]
    for precision in LOW:
        made += [(precision, name) for name in ("fastcell", *peers_lstm.BY_PRECISION[precision])]
    return made


def answers(lstm: fc.LSTM, x: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """y of each precision and peer that runs here."""
    found = {("float32", "fastcell"): lstm(x)[0]}
    for precision in LOW:
        found[precision, "fastcell"] = lstm.with_precision(precision)(x)[0]
        for name, call in peers_lstm.prepared(peers_lstm.BY_PRECISION[precision], lstm, x, 1).items():
            found[precision, name] = peers_lstm.as_array(call()).astype(np.float32)
    return found


def error(shape: tuple[int, ...]) -> dict[tuple[str, str], float]:
    """The largest error of y against that in float64, of each: the mean of some draws."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(DRAWS if shape[1] == 1 else 1):
        lstm, x = peers_lstm.problem(shape, seed)
        wide = fc.LSTM(lstm.input_size, lstm.hidden_size, dtype="float64", weights=lstm.state_dict())
        exact = wide(x)[0]
        for key, y in answers(lstm, x).items():
            found[key].append(float(np.abs(y - exact).max()))
    return {key: float(np.mean(errors)) for key, errors in found.items()}


def rows_of(name: str, found: dict[tuple[str, str], float], text: Callable[[float], str], better: int) -> list[str]:
    """Cells; in bold where a peer of that precision is nearer, `better` being -1 where a small figure is near."""
    cells = [name]
    for precision, who in columns():
        value = found.get((precision, who))
        own = found[precision, "fastcell"]
        nearer = value is not None and better * value > better * own
        cells.append("-" if value is None else f"**{text(value)}**" if nearer else text(value))
    return cells


def short(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-")


def head(first: str) -> list[str]:
    return [first, *(precision if who == "fastcell" else f"{who}, {precision}" for precision, who in columns())]


def grid(found: dict[str, dict[tuple[str, str], float]]) -> list[str]:
    return table(
        head("T, B, I, H; largest error"), [rows_of(name, errors, short, -1) for name, errors in found.items()]
    )


def models() -> list[str]:
    rows = []
    for model in trained.MODELS:
        if model.peer.missing():
            rows.append([f"{model.name}: not installed", *["-"] * len(columns())])
            continue
        lstm, x, judged = model.peer.prepare()
        reference = lstm(x)[0]
        found = {key: judged(reference, y) for key, y in answers(lstm, x).items()}
        rows.append(rows_of(f"{model.name}: {model.figure}", found, model.text, model.better))
    return table(head("trained model: figure"), rows)


def notes() -> str:
    """What the libraries do on this CPU that the figures depend on."""
    said = []
    if peers_lstm.saturates():
        said.append("onnxruntime's weights have 7 bits, as its manual asks for on a CPU without VNNI")
    missing = [
        f"{name} ({precision})"
        for precision in LOW
        for name, peer in peers_lstm.BY_PRECISION[precision].items()
        if peer.missing()
    ]
    if missing:
        said.append(f"not installed: {', '.join(missing)}")
    lstm, x = peers_lstm.problem((1, 1, 4, 4))
    for precision in LOW:
        for name, peer in peers_lstm.BY_PRECISION[precision].items():
            if not peer.missing():
                try:
                    peer.prepare(lstm, x, 1)
                except common.UnsupportedError as why:
                    said.append(f"{why}, so {name} has no figure")
    return "".join(f"; {text}" for text in said)


def main() -> None:
    versions = common.versions(("torch", "onnxruntime", "openvino"))
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = (
        f"{cpu()}, vectors of {32 * LANES} bits; {date.today()}, commit {commit()}; "
        f"Python {platform.python_version()}, {libraries}{notes()}."
    )
    found = {}
    for shape in peers_lstm.SHAPES:
        found[", ".join(map(str, shape))] = error(shape)
    text = "\n".join([where, "", *grid(found), "", *models()])
    pages.put(pages.BENCHMARKS, NAME, text)
    print(text)


if __name__ == "__main__":
    main()
