"""The documentation as a site: every page is in it, and every link and anchor leads somewhere."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    """mkdocs.yml turns pages that are left out, and links and anchors that lead nowhere, into warnings."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    built = {
        Path("README.md") if page.parent == tmp_path else page.parent.relative_to(tmp_path).with_suffix(".md")
        for page in tmp_path.rglob("index.html")
    }
    assert built == pages
