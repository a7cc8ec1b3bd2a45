"""What the pages say is there: links and paths, and the arrows between the folders that docs/architecture.md draws."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from payneflow.fitting import FitFlag

SOURCE = ROOT / "src/payneflow"
FOLDERS = ("docs", "docs/tutorials", "resources", "config", "paper")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md"))])

# From the top to the ground, as docs/architecture.md has it: a module imports from its own storey or from below.
STOREYS = [
    ["cli"],
    ["run"],
    ["chunks", "report"],
    ["training", "fitting", "evaluation", "design", "figures", "explore"],
    ["spectra", "grid", "network", "whole_spectrum", "fingerprint", "adopt", "shipped"],
    ["kriging"],
    ["simd", "stored_arrays", "stored_tables", "sealed", "files", "swelling"],
    [
        "errors",
        "declaration",
        "progress",
        "scaling",
        "weights",
        "wavelength",
        "statistics",
        "settings",
        "label_names",
        "hull",
    ],
]
HEIGHT = {room: -storey for storey, rooms in enumerate(STOREYS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports from when it is loaded; imports inside functions are not among them."""
    rooms, statements = set(), list(ast.parse(path.read_text()).body)
    while statements:
        one = statements.pop()
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(one, ast.Import):
            names = [alias.name for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            assert one.level == 0, f"{path}: a relative import"
            names = [f"{one.module}.{alias.name}" for alias in one.names]
        else:
            statements += [child for child in ast.iter_child_nodes(one) if isinstance(child, ast.stmt)]
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("payneflow.")}
    return rooms - {"__version__"}


MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE or not path.name.startswith("_")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_import_points_up(path):
    room = room_of(path)
    assert room in HEIGHT, f"{room} has no place in STOREYS"
    for imported in imported_rooms(path) - {room}:
        assert HEIGHT[imported] <= HEIGHT[room], f"{path.relative_to(ROOT)} imports {imported}, which is above {room}"


def test_no_two_rooms_import_each_other():
    arrows = {room: set() for room in HEIGHT}
    for path in MODULES:
        arrows[room_of(path)] |= imported_rooms(path) - {room_of(path)}
    while arrows:
        ends = [room for room, to in arrows.items() if not to & set(arrows)]
        assert ends, f"a circle among {sorted(arrows)}"
        for room in ends:
            del arrows[room]


def test_the_page_shows_the_storeys_of_this_test():
    page = (ROOT / "docs/architecture.md").read_text()
    shown = re.findall(r"^\| \d \| (.*?) \|", page, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in shown] == STOREYS


@pytest.mark.parametrize("command", [["plan"], ["status"]], ids=" ".join)
def test_what_is_asked_on_a_login_node_loads_no_numba(command):
    code = (
        f"import sys; from payneflow.cli import main; assert main({command!r}) == 0; assert 'numba' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_path_of_a_page_is_there(page):
    text = page.read_text()
    for link, section in re.findall(r"\]\((?!http)([^)#]*)(#[^)]*)?\)", text):
        target = page.parent / link if link else page
        assert target.exists(), f"{page}: {link}"
        if section:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert section[1:] in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings], section
    for path in re.findall(r"(?<![\w./-])((?:src|tests|docs|workflow|benchmarks|resources|envs)/[\w./-]*\w)", text):
        assert (ROOT / path).exists(), f"{page}: {path}"
    for name in re.findall(r"`([\w/]+\.(?:py|smk))`", text):
        places = [ROOT / name, SOURCE / name, ROOT / "workflow/rules" / name]
        assert "NAME" in name or any(place.exists() for place in places), f"{page}: {name}"


def test_no_file_names_a_page_that_is_not_here():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".smk", ".yaml", ".toml", ".md", ".sh", ".rst") and path.is_file():
            text = path.read_text()
            for page in re.findall(r"(?<![\w./-])((?:docs/)?[\w-]+\.md)\b", text):
                places = [ROOT / page, path.parent / page, ROOT / "docs" / page]
                assert any(place.exists() for place in places), f"{name} names {page}"
            assert not re.search(r"\bDESIGN\b", text) or name == "tests/test_docs.py", name


def test_every_flag_of_a_fit_is_on_the_page_of_checks():
    page = (ROOT / "docs/checks.md").read_text()
    assert not [flag.name for flag in FitFlag if f"`{flag.name}`" not in page]
