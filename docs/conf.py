"""The documentation site: `make docs`. Pages are the Markdown of this folder; those with code cells are executed."""

import re
from importlib import import_module
from pathlib import Path

import jupytext
from pygments.lexers import PythonLexer

import payneflow

DOCS = Path(__file__).parent
project, author, copyright = "payneflow", "The payneflow developers", "The payneflow developers"
version = release = payneflow.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_notebooks"]

# ------------------------------------------------------------------------------------------------- pages and notebooks

myst_heading_anchors = 4  # the anchors that a forge makes: links to headings work in both places
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "force"  # a cache would show the output of an older payneflow
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_show_tb = True

# ---------------------------------------------------------------------------------------------------- looks of the site

html_theme = "pydata_sphinx_theme"
html_title = "payneflow"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"**": ["globaltoc.html"]}  # all pages, by part, on each of them
html_theme_options = {
    "show_toc_level": 2,
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "navigation_with_keys": False,
}
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
linkcheck_timeout = 20

# ------------------------------------------------------------------------------------------------------------ reference

default_role = "code"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "undoc-members": False}
python_use_unqualified_type_names = True

# Pages of the checkout outside docs/, and where the site has them. Other files are offered for download.
ELSEWHERE = {"../README.md": "index.md", "../resources/README.md": "resources.md"}


def links_of_the_site(text: str, page: str) -> str:
    """Markdown whose links to pages outside docs/ lead to the page of the site that shows them."""
    up = "../" * page.count("/")
    for file, here in ELSEWHERE.items():
        text = re.sub(rf"\]\({re.escape(up + file)}(?=[#)])", f"]({up}{here}", text)
    return text


def notebook_of(text: str, page: str) -> str:
    """A page that is executed, with a link below its title to itself as a notebook, which is written here."""
    path = DOCS / "_notebooks" / f"{Path(page).name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    jupytext.write(jupytext.reads(text, fmt="md:myst"), path)
    link = "../" * page.count("/") + f"_notebooks/{path.name}"
    note = f"*This page was executed when the site was built.* {{download}}`Download it as a notebook <{link}>`."
    return re.sub(r"^(# .*\n)", lambda title: f"{title[1]}\n{note}\n", text, count=1, flags=re.MULTILINE)


def names_of(module: str) -> str:
    """Directives of autodoc for all public names of a module, in the order of its `__all__`."""
    lines = [f".. py:module:: {module}", ""]
    for name in import_module(module).__all__:
        value = getattr(import_module(module), name)
        if isinstance(value, dict):  # of flags and what they mean
            lines += [
                f".. py:data:: {name}",
                "",
                *(f"   - {key.name}: {said}" for key, said in value.items()),
                "",
            ]
            continue
        kind = "exception" if is_error(value) else "class" if isinstance(value, type) else "function"
        kind = kind if callable(value) else "data"
        lines += [f".. auto{kind}:: {module}.{name}", ""]
    return "```{eval-rst}\n" + "\n".join(lines) + "```"


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def before_parsing(app, page: str, source: list[str]) -> None:
    text = links_of_the_site(source[0], page)
    if text.startswith("---\n") and "\nkernelspec:" in text.split("\n---\n")[0]:
        text = notebook_of(text, page)
    source[0] = re.sub(r"^<!-- names of ([\w.]+) -->$", lambda one: names_of(one[1]), text, flags=re.MULTILINE)


def as_plain_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text, but for code between single backticks: no other character means anything."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[number] = "".join(
            part if at % 2 else re.sub(r"([*|]|_\b)", r"\\\1", part) for at, part in enumerate(parts)
        )


def setup(app) -> dict:
    app.add_lexer("snakemake", PythonLexer)
    app.connect("source-read", before_parsing)
    app.connect("autodoc-process-docstring", as_plain_text)
    return {"parallel_read_safe": True}
