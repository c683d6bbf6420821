"""Synthetic students for the tests of the classroom: right, wrong in known ways, blank, awkward and hostile.

``python -m tests.course.synthetic_class FOLDER --students 1000`` writes a class of any size, to measure what grading
costs.
"""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from utils.course.classroom_folder import write_class_folder
from utils.files import ROOT

ASSIGNMENT = "13_keras_mobilenet_inference"
"""Three exercises whose answers need no framework: 2, 3 and 2 points."""

FULL = {"13.1": 2.0, "13.2": 3.0, "13.3": 2.0}
NOTHING = dict.fromkeys(FULL, 0.0)


@dataclass(frozen=True)
class Student:
    """What one student hands in, by file name, and the points that it is worth."""

    files: dict[str, bytes]
    points: dict[str, float]
    states: dict[str, str] = field(default_factory=dict)


@cache
def _read(assignment: str, folder: str) -> str:
    return (ROOT / folder / f"{assignment}.ipynb").read_text(encoding="utf-8")


def _tagged(notebook: dict, tag: str) -> list[dict]:
    return [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", ())]


def _exercise(cell: dict) -> str:
    return "".join(cell["source"]).split('check("')[1][:4]


def right_answers(assignment: str = ASSIGNMENT) -> dict[str, str]:
    """Return the course's solutions by exercise."""
    cells = _tagged(json.loads(_read(assignment, "notebooks/solutions")), "solution")
    return {_exercise(cell): "".join(cell["source"]) for cell in cells}


def notebook(answers: dict[str, str], assignment: str = ASSIGNMENT) -> dict:
    """Return the notebook as it was handed out with these answers in their cells."""
    content = json.loads(_read(assignment, "notebooks"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    for cell in _tagged(content, "exercise"):
        cell["source"] = answers.get(_exercise(cell), cell["source"])
    return content


def _file(content: dict, name: str = ASSIGNMENT) -> dict[str, bytes]:
    return {f"{name}.ipynb": json.dumps(content).encode()}


def _cell(source: str) -> dict:
    return {"cell_type": "code", "id": "one-more", "metadata": {}, "outputs": [], "execution_count": None} | {
        "source": source
    }


RIGHT = right_answers()

WRONG = {
    "13.1": "def saved_bytes(trainable, fixed, averages, include_optimizer):\n    return 4 * (trainable + fixed)\n\n\n"
    'check("13.1", saved_bytes)',
    "13.2": "def same_padding(side, kernel_size, stride):\n    total = kernel_size - 1\n"
    '    return total // 2, total - total // 2\n\n\ncheck("13.2", same_padding)',
    "13.3": 'def true_statements():\n    return {"A", "C"}\n\n\ncheck("13.3", true_statements)',
}


def _right(change: Callable[[dict], None] = lambda content: None, name: str = ASSIGNMENT) -> Student:
    content = notebook(RIGHT)
    change(content)
    return Student(_file(content, name), FULL)


def _answered(answers: dict[str, str], points: dict[str, float], **states: str) -> Student:
    return Student(_file(notebook(answers)), points, {key.replace("_", "."): value for key, value in states.items()})


# --- awkward: the same right answers, in notebooks that something happened to -----------------------------------------


def _no_imports(content: dict) -> None:
    content["cells"] = [c for c in content["cells"] if not "".join(c["source"]).startswith(("import", "from"))]


def _blank_copies(content: dict) -> None:
    content["cells"] += _tagged(notebook({}), "exercise")


def _twice(content: dict) -> None:
    content["cells"] += copy.deepcopy(_tagged(content, "exercise"))


def _upside_down(content: dict) -> None:
    content["cells"].reverse()


def _no_metadata(content: dict) -> None:
    content["metadata"] = {}
    for cell in content["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)


def _other_kernel(content: dict) -> None:
    content["metadata"]["kernelspec"] = {"name": "tf-gpu-2019", "display_name": "My GPU", "language": "python"}


def _noise(content: dict) -> None:
    for cell in _tagged(content, "exercise"):
        first, rest = "".join(cell["source"]).split('"""\n', 1) if '"""\n' in cell["source"] else ("", cell["source"])
        noisy = "import sys, warnings\nsys.stderr.write('careful!\\n')\nwarnings.warn('old')\n"
        cell["source"] = noisy + (first + '"""\n' + rest if first else rest)


def _outside(content: dict) -> None:
    blank = {_exercise(cell): cell["source"] for cell in _tagged(notebook({}), "exercise")}
    for cell in _tagged(content, "exercise"):
        exercise = _exercise(cell)
        content["cells"].append(_cell("".join(cell["source"]).split("\n\n\ncheck(")[0]))
        cell["source"] = blank[exercise]


def _old_format(content: dict) -> None:
    content["nbformat_minor"] = 4
    for cell in content["cells"]:
        cell.pop("id", None)


def _format_3(content: dict) -> None:
    cells = content.pop("cells")
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
    content |= {"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}


def _colab(content: dict) -> None:
    content["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}, "accelerator": "GPU"}
    for number, cell in enumerate(content["cells"]):
        cell["metadata"] = {"id": f"a1B2{number}", "colab": {"base_uri": "https://localhost:8080/"}}
        cell.pop("id", None)
    content["cells"].insert(0, _cell("!pip install -q small-fast-networks\n%cd /content"))


def _vs_code(content: dict) -> None:
    content["metadata"] = {"language_info": {"name": "python"}, "orig_nbformat": 4}
    for cell in content["cells"]:
        cell["metadata"] = {"vscode": {"languageId": "python"}}


def _broken_elsewhere(content: dict) -> None:
    content["cells"].insert(3, _cell("for x in range(3)\n    print(x"))
    content["cells"].insert(5, _cell("raise RuntimeError('this cell fails')"))


def _helper(content: dict) -> None:
    for cell in _tagged(content, "exercise"):
        if _exercise(cell) == "13.1":
            cell["source"] = (
                "def saved_bytes(trainable, fixed, averages, include_optimizer):\n"
                "    return BYTES * (trainable + fixed + in_optimizer(trainable, averages) * include_optimizer)\n\n\n"
                'check("13.1", saved_bytes)'
            )
    content["cells"].insert(2, _cell("BYTES = 4\n\n\ndef in_optimizer(n, averages):\n    return n * averages"))


def _script() -> Student:
    text = "\n\n\n".join(answer.replace("check(", "print('x')\ncheck(") for answer in RIGHT.values())
    return Student({f"{ASSIGNMENT}.py": ("# my answers\n" + text).encode()}, FULL)


def _two_files() -> Student:
    return Student(_file(notebook({}), "first try") | _file(notebook(RIGHT)), FULL)


AWKWARD: dict[str, Student] = {
    "imports-deleted": _right(_no_imports),
    "blank-copies": _right(_blank_copies),
    "cells-twice": _right(_twice),
    "upside-down": _right(_upside_down),
    "metadata-lost": _right(_no_metadata),
    "other-kernel": _right(_other_kernel),
    "stderr": _right(_noise),
    "outside-its-cell": _right(_outside),
    "format-4-4": _right(_old_format),
    "format-3": _right(_format_3),
    "colab": _right(_colab),
    "vs-code": _right(_vs_code),
    "broken-elsewhere": _right(_broken_elsewhere),
    "helper-elsewhere": _right(_helper),
    "renamed": _right(name="13_mine (2) final"),
    "script": _script(),
    "two-files": _two_files(),
    "byte-order-mark": Student({f"{ASSIGNMENT}.ipynb": b"\xef\xbb\xbf" + json.dumps(notebook(RIGHT)).encode()}, FULL),
    "cell-deleted": _right(
        lambda content: content["cells"].remove(next(c for c in _tagged(content, "exercise") if _exercise(c) == "13.2"))
    ),
    "no-notebook": Student({f"{ASSIGNMENT}.ipynb": b"%PDF-1.7 \x00\xff"}, NOTHING, dict.fromkeys(FULL, "missing")),
    "empty": Student({f"{ASSIGNMENT}.ipynb": b""}, NOTHING, dict.fromkeys(FULL, "missing")),
    "nothing": Student({"report.docx": b"PK"}, NOTHING, dict.fromkeys(FULL, "missing")),
}
AWKWARD["cell-deleted"] = Student(AWKWARD["cell-deleted"].files, FULL | {"13.2": 0.0}, {"13.2": "missing"})

PLAIN: dict[str, Student] = {
    "right": _right(),
    "wrong": _answered(WRONG, NOTHING, **{each.replace(".", "_"): "wrong" for each in FULL}),
    "one-wrong": _answered(RIGHT | {"13.2": WRONG["13.2"]}, FULL | {"13.2": 0.0}, **{"13_2": "wrong"}),
    "raises": _answered(
        RIGHT | {"13.1": 'def saved_bytes(*_):\n    return 1 / 0\n\n\ncheck("13.1", saved_bytes)'},
        FULL | {"13.1": 0.0},
        **{"13_1": "wrong"},
    ),
    "table-of-answers": _answered(
        RIGHT | {"13.2": "def same_padding(*case):\n    return {(1, 1, 1): (0, 0)}[case]"},
        FULL | {"13.2": 0.0},
        **{"13_2": "wrong"},
    ),
    "blank": _answered({}, NOTHING, **{each.replace(".", "_"): "blank" for each in FULL}),
    "half-blank": _answered({"13.1": RIGHT["13.1"]}, NOTHING | {"13.1": 2.0}, **{"13_2": "blank"}),
}


# --- hostile: 13.1 does harm, or 13.2 does; the other answers are right -----------------------------------------------


def _hostile(body: str, *, first: bool = True, points: float = 0.0, state: str = "") -> Student:
    """Do harm in the first answer, or while the cell of the answer is executed; what is right still counts."""
    indented = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    attack = f"def attack():\n{indented}\n\n\n"
    answer = RIGHT["13.1"].split("check(")[0]
    call = "attack()\n" if first else ""
    inner = answer if first else "def saved_bytes(*_):\n    return attack()\n"
    source = f'{attack}{call}{inner}\n\ncheck("13.1", saved_bytes)'
    states = {"13.1": state} if state else {}
    return Student(_file(notebook(RIGHT | {"13.1": source})), FULL | {"13.1": points}, states)


HOSTILE: dict[str, Student] = {
    "reads-everything": _hostile(
        """
import os
found = []
for start in ("/home", "/root", "/tmp", "/work", "/var", "/opt", os.getcwd()):
    for folder, below, files in os.walk(start):
        below[:] = [name for name in below if name not in ("lib", "data")]
        found += {"class.json", "gradebook.db", "verdicts.jsonl", "solutions"} & {*files, *below}
return len(found) == 0 and "nothing to be seen"
""",
        first=False,
        state="wrong",
    ),
    "writes-everywhere": _hostile(
        f"""
import os, pathlib
targets = ["{ROOT}/gradebook.db", "{ROOT}/utils/checks/nb13.py", "{ROOT}/data/x", "{ROOT}/build/x", "/etc/x", "/usr/x"]
for target in targets:
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        pathlib.Path(target).write_text("100 points")
    except OSError:
        pass
""",
        points=2.0,
    ),
    "forks": _hostile("import os\nwhile True:\n    os.fork()", first=False),
    "fills-memory": _hostile("x = []\nwhile True:\n    x.append(bytearray(2**26))", first=False),
    "fills-disk": _hostile(
        """
number = 0
while True:
    number += 1
    with open(f"/tmp/{number}", "wb") as file:
        file.write(bytes(2**24))
""",
        first=False,
        state="wrong",
    ),
    "sleeps": _hostile("import time\ntime.sleep(10_000)", first=False, state="stopped"),
    "prints": _hostile(
        "import os\nfor _ in range(1024):\n    print('x' * 2**20)\n    os.write(2, b'x' * 2**20)", points=2.0
    ),
    "replaces-check": _hostile(
        """
import utils.checks
utils.checks.check = utils.checks.checker = lambda *_: None
utils.checks.same = lambda *_, **__: True
utils.checks.WrongAnswerError = ValueError
return 0
""",
        first=False,
        state="wrong",
    ),
    "asks-the-reference": _hostile(
        """
import importlib, pkgutil
import utils.checks
found = [module.name for module in pkgutil.iter_modules(utils.checks.__path__)]
importlib.import_module("utils.checks.nb13")
""",
        first=False,
        state="wrong",
    ),
    "patches-utils": _hostile(
        """
import sys, builtins
from utils.course import classroom_answers, classroom_wire
classroom_wire.Encoder.tree = lambda self, value, depth=0: {"float": "0x1p+0"}
return 0
""",
        first=False,
        state="wrong",
    ),
    "leaves-a-process": _hostile(
        """
import subprocess, sys
code = "import time\\nwhile True:\\n    time.sleep(0.01)\\n"
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
""",
        points=2.0,
    ),
    "floods-the-grader": _hostile(
        """
import os
for number in range(3, 64):
    try:
        os.write(number, bytes(2**20))
    except OSError:
        pass
""",
        first=False,
    ),
    "leaves": _hostile("import os\nos._exit(0)", first=False, state="stopped"),
}
HOSTILE["patches-utils"] = Student(HOSTILE["patches-utils"].files, NOTHING)  # all its answers are 1.0 from then on
HOSTILE["fills-disk"] = Student(HOSTILE["fills-disk"].files, FULL | {"13.1": 0.0}, {"13.1": "wrong"})


def write_submissions(folder: Path, students: dict[str, Student], assignment: str = ASSIGNMENT) -> None:
    """Write what the students hand in below a class's folder, as nbgrader collects it."""
    for name, student in students.items():
        target = folder / "submitted" / name / assignment
        target.mkdir(parents=True)
        for file, content in student.files.items():
            (target / file).write_bytes(content)


def main() -> None:
    """Write a class of the given size: the plain and the awkward students, over and over."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--students", type=int, default=1000)
    options = parser.parse_args()
    kinds = list((PLAIN | AWKWARD).items())
    folder = write_class_folder(options.folder, seed=13)
    each = (kinds[number % len(kinds)] for number in range(options.students))
    write_submissions(folder, {f"s{number:04}-{name}": student for number, (name, student) in enumerate(each)})
    print(f"{options.students} students in {folder}; next: python -m utils grade {folder}")


if __name__ == "__main__":
    main()
