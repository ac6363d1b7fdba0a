"""README's snippets in an environment of the core alone: `python core_snippets.py README.md`.

A snippet is the part of a Python block between blank lines. What follows the import of a package that isn't there is
left out. Printed: where fastcell is, how many lines ran, and for want of which packages others did not.
"""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import fastcell


def snippets(text):
    """Each snippet's examples."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in block.split("\n\n"):
            yield doctest.DocTestParser().get_examples(part)


def absent(example):
    """The package that an example imports and that is not installed."""
    named = re.match(r"(?:import|from) (\w+)", example.source)
    return named[1] if named and importlib.util.find_spec(named[1]) is None else None


def main(readme):
    text, runs, wanted = Path(readme).read_text(encoding="utf-8"), [], []
    for examples in snippets(text):
        for example in examples:
            if package := absent(example):
                wanted.append(package)
                break
            runs.append(example)
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTest(runs, {}, "snippets", readme, 0, text))
    print(Path(fastcell.__file__).parent, len(runs), *wanted)
    sys.exit(runner.failures > 0)


if __name__ == "__main__":
    main(sys.argv[1])
