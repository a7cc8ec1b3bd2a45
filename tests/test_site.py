"""The documentation site: it builds without a warning, its tutorials run, and its links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import PATIENCE, ROOT

DOCS = ROOT / "docs"
EXECUTED = ["posterior", *(f"tutorials/{path.stem}" for path in sorted((DOCS / "tutorials").glob("*.md")))]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it, warnings being errors."""
    place = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", place / "doctrees"]
    done = subprocess.run(
        [*command, DOCS, place / "html"], capture_output=True, text=True, timeout=3 * PATIENCE, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "html"


class Page(HTMLParser):
    """The links of a page, and the places in it that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places.add(found.get("id"))
        self.links += [found[name] for name in ("href", "src") if found.get(name)]


def test_every_link_within_the_site_leads_to_a_page_and_a_place_in_it(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if not {"_modules", "_static"} & {*path.parts}}
    assert len(pages) > 20
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//|#$", link):
                continue
            file, _, place = link.partition("#")
            target = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            assert target.exists(), f"{path.name}: {link}"
            if place and target in pages:
                assert unquote(place) in pages[target].places, f"{path.name}: {link}"


def test_every_page_of_docs_is_on_the_site(site):
    for path in DOCS.rglob("*.md"):
        if not any(part.startswith("_") for part in path.relative_to(DOCS).parts):
            assert (site / path.relative_to(DOCS).with_suffix(".html")).exists(), path
    assert "Two commands" not in (site / "index.html").read_text(), "what the README says is said once"


@pytest.mark.parametrize("name", EXECUTED)
def test_a_tutorial_shows_what_it_printed_and_can_be_downloaded(site, name):
    page = (site / f"{name}.html").read_text()
    assert "cell_output" in page
    [download] = re.findall(r'href="([^"]*\.ipynb)"', page.partition("</article>")[0])[:1]
    notebook = json.loads((site / name).parent.joinpath(download).resolve().read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    written = re.findall(
        r"^```\{code-cell\}\n(?::tags:[^\n]*\n\n)?(.*?)\n*^```$", source(name), re.MULTILINE | re.DOTALL
    )
    assert code == written
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are those of whoever runs it"


@pytest.mark.parametrize("name", EXECUTED)
def test_no_output_was_pasted(name):
    assert "```{code-cell}" in source(name) and "```text" not in source(name) and "{image}" not in source(name)


def source(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def test_public_names_are_in_the_reference(site):
    import payneflow
    import payneflow.fitting
    import payneflow.grid
    import payneflow.spectra

    places = Page(site / "api.html").places
    for module in (payneflow, payneflow.fitting, payneflow.grid, payneflow.spectra):
        for name in module.__all__:
            assert f"{module.__name__}.{name}" in places, name
