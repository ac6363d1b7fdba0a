"""What benchmarks.peers measured: whole tables in benchmarks/README.md, a few rows in README.md, and peers.svg."""

import math
from itertools import chain
from pathlib import Path

from . import pages, peers_lstm, peers_toy

NAME, PLOT = "peers", "peers.svg"
CHOSEN = (
    "100, 1, 16, 16", "100, 1, 256, 256", "200, 7, 13, 37", "100, 16, 64, 64", "10, 256, 1024, 1024",
    "one sequence", "1,000 columns", "10,000 keys", "smoothing",
)  # fmt: skip
KINDS = {"float32": "lstm"}
LOW = ("bfloat16", "int8")
MARKERS = "osD^vPX*"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "fastcell", "font.family": "sans-serif", "font.size": 9}


def amount(count):
    return {1: "one thread", 2: "two threads"}.get(count, f"{count} threads")


def milliseconds(seconds):
    """Three significant digits."""
    return f"{1e3 * seconds:.{max(0, 2 - math.floor(math.log10(1e3 * seconds)))}f}"


def best_peer(best, names):
    """The fastest peer's time over fastcell's, below 1 where fastcell loses; None where no peer is installed."""
    times = [best[name] for name in names if name in best]
    return min(times) / best["fastcell"] if times else None


def mean(ratios):
    """Of ratios: the geometric one."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def ratio(value):
    """In bold where fastcell is slower."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value >= 1 else f"**{value:.2f}**"


def cells(best, names, scale=milliseconds):
    """fastcell's time and its peers', in bold where a peer is faster."""
    texts = []
    for name in ("fastcell", *names):
        text = scale(best[name]) if name in best else "-"
        texts.append(f"**{text}**" if best.get(name, math.inf) < best["fastcell"] else text)
    return texts


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def lstm_table(figures, one):
    """A row a shape. Of one thread with float64's rate, of more with what they gain over one."""
    names, alone = list(peers_lstm.PEERS), figures is one
    head = [f"T, B, I, H; ms on {amount(figures['threads'])}", "fastcell", *names, "best peer over fastcell"]
    rows, ratios = [], []
    for shape, best in figures["lstm"].items():
        T, B, I, H = map(int, shape.split(", "))
        ratios.append(best_peer(best, names))
        rate = 8 * T * B * H * (I + H) / best["fastcell"] / figures["sgemm"]
        other = best["fastcell"] / best["float64"] if alone else one["lstm"][shape]["fastcell"] / best["fastcell"]
        rows.append([shape, *cells(best, names), ratio(ratios[-1]), f"{rate:.2f}", f"{other:.2f}"])
    head += ["of sgemm's rate", "float64's rate" if alone else "times one thread"]
    known = [value for value in ratios if value is not None]
    return [*table(head, rows), "", f"Geometric mean over the best peer: {mean(known):.2f}." if known else ""]


def low_table(figures, precision):
    """A row a shape, in a precision of fewer bits; float32 was timed by turns with it."""
    names, plain = list(peers_lstm.BY_PRECISION[precision]), list(peers_lstm.PEERS)
    head = [f"T, B, I, H in {precision}; ms on {amount(figures['threads'])}", "fastcell", *names]
    rows, ratios = [], []
    for shape, best in figures[precision].items():
        ratios.append(best_peer(best, names))
        other = figures["lstm"][shape]
        wide = best_peer(other | {"fastcell": best["fastcell"]}, plain)
        gained = ratio(best["float32"] / best["fastcell"])
        rows.append([shape, *cells(best, names), ratio(ratios[-1]), gained, ratio(wide)])
    head += ["best peer over fastcell", "fastcell's float32 over it", "best float32 peer over it"]
    known = [value for value in ratios if value is not None]
    return [*table(head, rows), "", f"Geometric mean over the best peer: {mean(known):.2f}." if known else ""]


def toy_table(runs):
    """A row for each problem and number of threads."""
    rows = []
    for name in runs[0]["toy"]:
        for figures in runs:
            best = figures["toy"][name]
            rows.append([name, str(figures["threads"]), *cells(best, peers_toy.NAMES)])
            rows[-1].append(ratio(best_peer(best, peers_toy.NAMES)))
    head = ["2,000,000 steps, ms", "threads", "fastcell", *peers_toy.NAMES, "best peer over fastcell"]
    return table(head, rows)


def step_table(figures):
    names = list(peers_lstm.STEP_PEERS)
    rows = []
    for size, best in figures["steps"].items():
        own = {"fastcell": best["cell.step"]} | best
        inside = [f"{1e6 * best[name]:.2f}" for name in peers_lstm.INSIDE.values()]
        step, *peers = cells(own, names, lambda seconds: f"{1e6 * seconds:.2f}")
        rows.append([size, step, *inside, *peers, ratio(best_peer(own, names))])
    head = ["one step of B rows, I = H; us on one thread: B, H", "cell.step", *peers_lstm.INSIDE.values(), *names]
    return table([*head, "best peer over cell.step"], rows)


def markdown(runs, where):
    """The block between the markers. `runs` are the figures of one thread first, then of more."""
    one, rates = runs[0], " and ".join(f"{run['sgemm'] / 1e9:.0f}" for run in runs)
    lines = [
        f"{where}; sgemm {rates} GFLOP/s on {' and '.join(amount(run['threads']) for run in runs)}.",
        "",
        f"![each peer's time over fastcell's]({PLOT})",
    ]
    for figures in runs:
        lines += ["", *lstm_table(figures, one)]
    for precision in LOW:
        for figures in runs:
            lines += ["", *low_table(figures, precision)]
    return "\n".join([*lines, "", *step_table(one), "", *toy_table(runs)])


def against_best(best, names):
    """Three cells: fastcell's time, the fastest peer's with its name, how many times as fast that makes fastcell."""
    installed = [name for name in names if name in best]
    fastest = min(installed, key=best.get, default=None)
    peer = f"{fastest} {milliseconds(best[fastest])}" if fastest else "-"
    return [milliseconds(best["fastcell"]), peer, ratio(best_peer(best, names))]


def over_all_shapes(runs, precision):
    """All LSTMs of a precision in a line, losses included; None where no peer is installed."""
    names, said = list(peers_lstm.BY_PRECISION[precision]), []
    for figures in runs:
        known = {shape: best_peer(best, names) for shape, best in figures[KINDS.get(precision, precision)].items()}
        known = {shape: value for shape, value in known.items() if value is not None}
        if not known:
            return None
        worst, lost = min(known, key=known.get), sum(value < 1 for value in known.values())
        said.append(
            f"{mean(known.values()):.2f} times as fast as the best peer of each on {amount(figures['threads'])} "
            f"(slower at {lost}, at worst {known[worst]:.2f}: {worst})"
        )
    return f"- {len(known)} shapes in {precision}: {', '.join(said)}."


def summary(runs, where):
    """A few rows of the tables, beside the best peer of each, and a line for all shapes together."""
    rows = []
    for kind, names, before in (("lstm", list(peers_lstm.PEERS), "LSTM "), ("toy", peers_toy.NAMES, "")):
        for name in runs[0][kind]:
            if name in CHOSEN:
                row = (against_best(figures[kind][name], names) for figures in runs)
                rows.append([before + name, *chain.from_iterable(row)])
    head = ["work; LSTM: T, B, I, H"]
    for figures in runs:
        head += [f"{amount(figures['threads'])}: fastcell", "best peer", "times as fast"]
    shapes = [text for precision in ("float32", *LOW) if (text := over_all_shapes(runs, precision))]
    lines = [f"{where.split('; Python')[0]}; tables in float32.", "", *table(head, rows)]
    return "\n".join([*lines, *(["", *shapes] if shapes else [])])


def panel(axes, kind, names, figures):
    """A row a problem, a mark a peer, from left to right by the peer's time over fastcell's."""
    from matplotlib.ticker import NullLocator

    problems = figures[kind]
    for place, (marker, name) in enumerate(zip(MARKERS, names, strict=False)):
        lower = 0.1 * (place - (len(names) - 1) / 2)  # so that equal peers stay apart
        points = [
            (best[name] / best["fastcell"], k + lower) for k, best in enumerate(problems.values()) if name in best
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker, label=name, markersize=6, markeredgecolor="black",
                      markeredgewidth=0.5, alpha=0.9, linestyle="none")  # fmt: skip
    axes.set(xscale="log", yticks=range(len(problems)), yticklabels=problems, ylim=(len(problems) - 0.5, -0.5))
    low, high = axes.get_xlim()
    low, high = min(low, 0.5), max(high, 2)
    axes.set_xlim(low, high)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvspan(low, 1, facecolor="0.93", hatch="//", edgecolor="0.85", linewidth=0)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= t <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.4, linewidth=0.5)
    axes.set_axisbelow(True)


def figure(runs, where):
    """Two rows, the LSTM and the toy cell; a column for each number of threads."""
    from matplotlib.figure import Figure

    kinds = {"lstm": ("LSTM; T, B, I, H", list(peers_lstm.PEERS)), "toy": ("toy cell and gates", peers_toy.NAMES)}
    drawn = Figure(figsize=(4.6 * len(runs) + 2.6, 8.4), facecolor="white", layout="constrained")
    heights = [len(runs[0][kind]) + 1 for kind in kinds]
    grid = drawn.subplots(2, len(runs), squeeze=False, sharey="row", gridspec_kw={"height_ratios": heights})
    for row, (kind, (title, names)) in zip(grid, kinds.items(), strict=True):
        for axes, figures in zip(row, runs, strict=True):
            panel(axes, kind, names, figures)
            axes.set_title(f"{title}: {amount(figures['threads'])}", fontsize=10)
        row[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    drawn.suptitle("Each peer's time over fastcell's; hatched: the peer is faster", fontsize=12)
    drawn.supxlabel(where.replace("; ", "\n"), fontsize=7)
    return drawn


def svg(runs, where, file):
    """The same figures give the same bytes, whatever the user's own settings of matplotlib."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        figure(runs, where).savefig(file, format="svg", metadata={"Date": None, "Title": "fastcell and its peers"})


def write(benchmarks: Path, readme: Path, runs, where):
    """The blocks of both pages, and the plot beside the first."""
    svg(runs, where, benchmarks.with_name(PLOT))
    pages.put(benchmarks, NAME, markdown(runs, where))
    pages.put(readme, NAME, summary(runs, where))
