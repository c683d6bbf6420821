"""The website: gathers the notebooks, lessons and pages into one folder and lets Sphinx build them, without a network.

The sources of the pages stay where they are: notebooks with their stored outputs, lessons, README and the pages in
`site/`. No notebook is executed; the pages that compute get their networks from the shipped checkpoints. Every warning
of Sphinx is an error, so a link that leads nowhere ends the build.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from utils.course.notebook_runner import find_notebooks
from utils.course.site_language import write_language_model
from utils.course.site_networks import write_networks
from utils.course.site_scoreboard import scoreboard_table
from utils.files import ROOT

SITE = ROOT / "site"

OUTSIDE = (
    *("LICENSE", "LICENSE-text", "data/fashion_mnist/LICENSE.txt", "data/checkpoints/imagenet/LICENSE.txt"),
    "pyproject.toml",
)
"""Files that pages link to and that are handed on as they are."""


def build_site(output: Path) -> Path:
    """Write the website to `output/html` and return that folder.

    The pages are gathered in `output/source` first. A page that has not changed is not built again.

    Raises:
        RuntimeError: Sphinx is not installed, or warned of something; the message says what.
    """
    source, pages = output / "source", output / "html"
    gather(source)
    # one process: after importing PyTorch for autodoc, a forked reader ended once in a segmentation fault
    options = ["--fail-on-warning", "--keep-going", "-q", "-j", "1", "-d", str(output / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(pages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the website was not built:\n{_last_lines(done.stderr)}")
    write_networks(pages / "networks")
    write_language_model(pages / "language")
    return pages


def _last_lines(text: str, *, count: int = 20) -> str:
    if "No module named sphinx" in text:
        return "Sphinx is missing; `make site` installs it, or: pip install -r requirements-site.txt -c constraints.txt"
    return "\n".join(text.strip().splitlines()[-count:])


def gather(folder: Path) -> None:
    """Write the sources of all pages into `folder`, in the places that their links expect, and remove what is old.

    Only what differs is written, so that Sphinx builds only that anew.
    """
    wanted = dict(_pages())
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    for name, content in wanted.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _pages() -> Iterator[tuple[str, bytes]]:
    """Yield (path on the site, content) of everything that Sphinx reads."""
    for path in sorted(SITE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            page = path.suffix == ".md"
            content = _with_tables(path.read_text(encoding="utf-8")).encode() if page else path.read_bytes()
            yield path.relative_to(SITE).as_posix(), content
    address = repository()
    for path in find_notebooks():
        yield f"downloads/{path.name}", path.read_bytes()
        yield f"notebooks/{path.name}", _with_links(path, address)
        solution = path.parent / "solutions" / path.name
        if solution.is_file():
            yield f"notebooks/solutions/{path.name}", _folded(solution)
    for path in sorted((ROOT / "lessons").glob("*.md")):
        yield f"lessons/{path.name}", path.read_bytes()
    for module in modules():
        yield f"reference/{module}.md", _module_page(module).encode()
    yield "NOTICE.md", (ROOT / "NOTICE.md").read_bytes()
    yield "data/README.md", (ROOT / "data" / "README.md").read_bytes()
    for name in OUTSIDE:
        yield name, (ROOT / name).read_bytes()


def modules() -> list[str]:
    """Return the modules of the library that the course teaches, without the packages of its machinery."""
    return sorted(path.stem for path in (ROOT / "utils").glob("*.py") if not path.stem.startswith("_"))


def _module_page(module: str) -> str:
    return f"# {module}\n\n```{{eval-rst}}\n.. automodule:: utils.{module}\n```\n"


def course_rows() -> list[tuple[str, str, str]]:
    """Return (name of the file, title, question) of each notebook, as the README's table has them."""
    rows = []
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| \[([^\]]+)\]\(notebooks/(\w+)\.ipynb\) \| ([^|]*) \|", line):
            title, stem, question = match.groups()
            rows.append((stem, title.replace("_", " "), question))
    return rows


def _with_tables(text: str) -> str:
    """Fill the places of a page that are written from the course: its notebooks, modules and records."""
    notebooks = "\n".join(
        f"| [{title}](notebooks/{stem}.ipynb) | {question} | [lesson](lessons/{stem}.md) |"
        for stem, title, question in course_rows()
    )
    head = "| notebook | the question it answers | theory |\n|---|---|---|\n"
    text = text.replace("<!-- notebooks -->", head + notebooks)
    text = text.replace("<!-- modules -->", "\n".join(f"reference/{module}" for module in modules()))
    if "<!-- scoreboard -->" in text:
        text = text.replace("<!-- scoreboard -->", f"```{{raw}} html\n{scoreboard_table()}\n```")
    return text


def _with_links(path: Path, repository_address: str) -> bytes:
    """Return a notebook with a line under its title that offers it for download, and in the cloud if that is set up."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    links = [f"{{download}}`Download this notebook </downloads/{path.name}>`"]
    links += [f"[{name}]({address})" for name, address in launch_addresses(path.stem, repository_address).items()]
    title, *rest = "".join(notebook["cells"][0]["source"]).split("\n")
    notebook["cells"][0]["source"] = "\n".join([title, "", " · ".join(links), "", *rest])
    for cell in notebook["cells"]:
        if alternative := _alternative_text(cell):
            cell["metadata"]["mystnb"] = {"image": {"alt": alternative}}
    return _as_file(notebook)


def _alternative_text(cell: dict) -> str | None:
    """Return the takeaway that `figures.show` stores with a cell's figure; myst-nb would take the file's name."""
    stored = (output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", []))
    return next((about["alt"] for about in stored if "alt" in about), None)


def repository() -> str:
    """Return the repository's address from pyproject.toml, or nothing: the one place that decides about such links."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return about.get("urls", {}).get("Repository", "")


def launch_addresses(stem: str, address: str) -> dict[str, str]:
    """Return where a notebook of a repository on GitHub can be run in the cloud, by the name of the service.

    >>> launch_addresses("00_start_here", "https://github.com/someone/course")["Open in Colab"]
    'https://colab.research.google.com/github/someone/course/blob/main/notebooks/00_start_here.ipynb'
    >>> launch_addresses("00_start_here", "")
    {}
    """
    if not address:
        return {}
    place = address.removeprefix("https://github.com/").rstrip("/")
    return {
        "Open in Colab": f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{stem}.ipynb",
        "Open in Binder": f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/notebooks/{stem}.ipynb",
    }


def _folded(path: Path) -> bytes:
    """Return a notebook of solutions whose solutions are shown only when the reader opens them."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] == "code" and "solution" in tags:
            cell["metadata"]["tags"] = [*tags, "hide-input"]
    return _as_file(notebook)


def _as_file(notebook: dict) -> bytes:
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
