"""Make the pages that `asv publish` writes independent of the network: `python -m benchmarks.offline [HTML]`.

asv's pages load jQuery, Flot, Bootstrap and three more from public CDNs and show nothing without them. Here npm fetches
the same libraries once, and the pages point at copies beside them.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HTML = Path(__file__).parent / ".asv" / "html"
# The file's name in asv's page: package, version, path in the package.
LIBRARIES = {
    "jquery-3.3.1.min.js": ("jquery", "3.3.1", "dist/jquery.min.js"),
    "jquery.flot.min.js": ("flot", "0.8.3", "jquery.flot.js"),
    "jquery.flot.time.min.js": ("flot", "0.8.3", "jquery.flot.time.js"),
    "jquery.flot.selection.min.js": ("flot", "0.8.3", "jquery.flot.selection.js"),
    "jquery.flot.categories.min.js": ("flot", "0.8.3", "jquery.flot.categories.js"),
    "jquery.flot.orderBars.js": ("flot-orderbars", "1.0.0", "js/jquery.flot.orderBars.js"),
    "stupidtable.min.js": ("stupid-table-plugin", "1.1.3", "stupidtable.min.js"),
    "md5.min.js": ("blueimp-md5", "2.19.0", "js/md5.min.js"),
    "bootstrap.min.js": ("bootstrap", "3.1.1", "dist/js/bootstrap.min.js"),
    "bootstrap.min.css": ("bootstrap", "3.1.1", "dist/css/bootstrap.min.css"),
}
# A script or style from elsewhere; its checksum goes too, since npm's files need not be the CDN's, byte for byte.
ELSEWHERE = re.compile(r'(src|href)="https://[^"]*/([^"/]+)" integrity="[^"]*" crossorigin="anonymous"')


def fetch(folder: Path) -> None:
    """The libraries, under the names by which asv's page calls them."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, (package, version, path) in LIBRARIES.items():
            archive = Path(scratch) / f"{package}-{version}.tgz"
            if not archive.exists():
                subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=scratch, check=True)
            with tarfile.open(archive) as packed, (folder / name).open("wb") as file:
                shutil.copyfileobj(packed.extractfile(f"package/{path}"), file)


def point_at(html: Path, folder: str) -> None:
    """Rewrite the page's addresses; one that is not in the table is an error."""
    page = html / "index.html"
    text, count = ELSEWHERE.subn(lambda found: f'{found[1]}="{folder}/{found[2]}"', page.read_text("utf-8"))
    missing = set(re.findall(rf'="{folder}/([^"]+)"', text)) - set(LIBRARIES)
    if missing or not count:
        raise ValueError(f"asv's page must load the libraries known here, got {sorted(missing)}")
    page.write_text(text, "utf-8")


def main() -> None:
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else HTML
    (html / "libraries").mkdir(exist_ok=True)
    fetch(html / "libraries")
    point_at(html, "libraries")


if __name__ == "__main__":
    main()
