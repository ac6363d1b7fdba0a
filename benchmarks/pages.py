"""What the scripts measured, written into pages between two comments; what stands around them is left alone."""

from pathlib import Path

BENCHMARKS = Path(__file__).with_name("README.md")  # whole tables
README = BENCHMARKS.parents[1] / "README.md"  # a few rows


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
