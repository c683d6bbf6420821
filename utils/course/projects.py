"""A project of the learner's own: a folder with notebook 22's template, whose claims and records stay in it."""

import json
import re
import shutil
from pathlib import Path

from utils.files import PROJECT_CARD, ROOT

TEMPLATE = ROOT / "notebooks" / "22_your_own_network.ipynb"

PROJECTS = ROOT / "projects"
"""Where projects lie that name no folder; git ignores it."""

COURSE_ONLY = "course"
"""The tag of cells of the template that a project does not get: exercises, and what they need."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]*\)")  # to a file of the course


class ProjectError(RuntimeError):
    """A project cannot be started or read; the message says why and what to do."""


def start_project(name: str, folder: Path | None = None, *, template: Path | None = None) -> Path:
    """Write a project's folder with its notebook, and return the notebook's path.

    Args:
        name: small letters, digits and underscores, such as "bird_calls".
        folder: where; by default `projects/NAME` in the course. It must not exist, or be empty.
        template: the notebook to start from, by default the course's 22.

    Raises `ProjectError` if the name is none, the folder is taken, or the template is missing or of another form.
    """
    if not _NAME.fullmatch(name):
        raise ProjectError(
            f"{name!r} cannot name a project: write small letters, digits and underscores, such as bird_calls"
        )
    target = Path(PROJECTS / name if folder is None else folder).resolve()
    if folder is None and target.exists():
        raise ProjectError(f"there is a project {name!r} already, in {target}; take another name, or go on with it")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ProjectError(f"{target} is not an empty folder; name another one with --folder, nothing was written")
    notebook = _notebook(name, TEMPLATE if template is None else template)
    beside = target.with_name(target.name + ".part")  # a whole folder or none
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    card = {"name": name, "notebook": f"22_{name}"}
    (beside / PROJECT_CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")
    content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    (beside / f"{name}.ipynb").write_text(content, encoding="utf-8")
    if target.exists():
        target.rmdir()  # it is empty; Windows would not rename onto it
    beside.rename(target)
    return target / f"{name}.ipynb"


def find_project(project: str | Path) -> tuple[Path, dict]:
    """Return the folder of a project, given by its name or its folder, and its card.

    Raises `ProjectError` if there is none.
    """
    for folder in (Path(project), PROJECTS / project):
        path = folder / PROJECT_CARD
        if path.is_file():
            try:
                card = json.loads(path.read_text(encoding="utf-8"))
                return folder.resolve(), {"name": str(card["name"]), "notebook": str(card["notebook"])}
            except (ValueError, KeyError, TypeError):
                raise ProjectError(f"{path} is damaged; it should hold the project's name and notebook") from None
    known = sorted(path.parent.name for path in PROJECTS.glob(f"*/{PROJECT_CARD}"))
    there = f"there are: {', '.join(known)}" if known else "start one: python -m utils project NAME"
    raise ProjectError(f"{project} is no project and no folder of one; {there}")


def _notebook(name: str, template: Path) -> dict:
    """Return the template as a project's notebook: without outputs, exercises and links into the course."""
    try:
        notebook = json.loads(template.read_text(encoding="utf-8"))
        cells = notebook["cells"]
    except FileNotFoundError:
        raise ProjectError(f"the template {template.name} is missing; is the course's folder whole?") from None
    except (ValueError, KeyError):
        raise ProjectError(f"the template {template.name} is no notebook; get it back with git checkout") from None
    kept, begun = [_opening(name)], 0
    for cell in cells[1:]:
        if COURSE_ONLY in cell["metadata"].get("tags", ()):
            continue
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            begun += source.count(f'begin("{template.stem}")')
            source = source.replace(f'begin("{template.stem}")', f'begin("22_{name}")')
            source = source.replace("from utils.checks import check\n", "")
            cell |= {"outputs": [], "execution_count": None}
        else:
            source = _LINK.sub(r"\1", source)
        kept.append(cell | {"source": source.splitlines(keepends=True)})
    if begun != 1:
        once = f'must say begin("{template.stem}") once, and says it {begun} times'
        raise ProjectError(f"the template {template.name} {once}")
    return notebook | {"cells": kept}


def _opening(name: str) -> dict:
    lines = [
        f"# {name}",
        "",
        "A project that began as a copy of the course's notebook 22. It runs as it stands. Change the five places that "
        "are marked ✎: the network, the data, the budget, the predictions, and what is done to the network. Then "
        'come the claims: one that begins with "in this example" is about the course\'s network: change or delete it. '
        "A claim of your own that does not hold is a finding, too: write down what was found in its place, and why "
        "(`null_result=`), and go on from its cell, or the report will have no decision.",
        "",
        f"What you claim and record stays in this folder. `python -m utils report --project {name}`, or this folder in "
        "place of the name, makes a page of it, `build/report.html`.",
        "",
        "**The question.** Write yours here.",
    ]
    source = "\n".join(lines).splitlines(keepends=True)
    return {"cell_type": "markdown", "id": "opening", "metadata": {}, "source": source}
