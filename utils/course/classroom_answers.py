"""The process inside of the sandbox: it finds a submission's answers and calls them when the grader asks.

It knows no expected result and judges nothing. Of the notebook it runs what the answers need and no more: the imports,
functions, classes and literal constants that they name, wherever these stand, and the cell of the answer itself. So a
notebook needs no kernel, and a stray cell, an error elsewhere or an output on stderr changes nothing.
"""

import argparse
import ast
import builtins
import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from utils.checks import is_blank
from utils.course.classroom_wire import Connection, Decoder, Encoder, ProtocolError

LARGEST_NOTEBOOK = 50 * 2**20
"""Bytes of the largest file that is read."""

_COMPARED = 2**20  # elements of the largest tensor whose values are compared; a larger one's version tells
_PREDICTION = re.compile(r"^→ (.{1,300}?)  \[your guess (.{1,40}?), measured (.{1,40}?): off by", re.MULTILINE)
_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class NotANotebookError(ValueError):
    """A file is neither a notebook nor Python; the message says why."""


def code_cells(content: bytes) -> list[str]:
    """Return the sources of a notebook's code cells; any version of the format will do, and so will a Python file.

    Raises:
        NotANotebookError: it is neither.

    >>> code_cells(b'{"cells": [{"cell_type": "code", "source": ["x = 1"]}, {"cell_type": "markdown"}]}')
    ['x = 1']
    """
    text = content.decode("utf-8-sig", errors="replace")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not (statements := parse(text)):
            raise NotANotebookError(f"not a notebook: {str(error)[:200]}") from None
        return [ast.unparse(statement) for statement in statements]
    if not isinstance(notebook, dict):
        raise NotANotebookError("not a notebook: no object with cells")
    sheets = notebook.get("worksheets") or [notebook]  # format 3 had worksheets
    if not isinstance(sheets, list):
        raise NotANotebookError("not a notebook: its worksheets are no list")
    cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    if not cells:
        raise NotANotebookError("a notebook without cells")
    sources = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            source = "".join(map(str, source)) if isinstance(source, list) else str(source)
            sources.append(source.replace("\r\n", "\n"))
    return sources


def predictions(content: bytes) -> list[list[str]]:
    """Return what `utils.predictions` printed into a notebook: question, guess and what was measured, as texts.

    >>> line = "→ how many times smaller?  [your guess 4x, measured 6x: off by a factor of 1.5]"
    >>> predictions(json.dumps({"cells": [{"outputs": [{"text": [line]}]}]}).encode())
    [['how many times smaller?', '4x', '6x']]
    """
    with contextlib.suppress(ValueError, LookupError, RecursionError, AttributeError, TypeError):
        cells = json.loads(content.decode("utf-8-sig", errors="replace"))["cells"]
        printed = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ())]
        return [list(found) for text in printed for found in _PREDICTION.findall(text)][:200]
    return []


def parse(source: str) -> list[ast.stmt]:
    """Return the statements of a cell, without the lines that are IPython's; of a cell that is no Python, none.

    >>> [type(each).__name__ for each in parse("%matplotlib inline\\n!pip install x\\ny = 1")]
    ['Assign']
    """
    if source.lstrip().startswith("%%"):
        source = source.lstrip().partition("\n")[2]
    lines = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.split("\n")]
    for text in (source, "\n".join(lines)):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.parse(text).body
    return []


@dataclass
class Answer:
    """What was found of one exercise."""

    expression: ast.expr | None = None
    cell: int | None = None
    notes: list[str] = field(default_factory=list)


class Answers:
    """The answers in a submission's cells.

    Args:
        submitted: the sources of the submission's code cells.
        course: those of the course's own notebook without its exercises: a deleted import cell is no harm.
        exercises: the name of each exercise's function, by id.
    """

    def __init__(self, submitted: list[str], course: list[str], exercises: dict[str, str]):
        self._exercises = exercises
        self._cells = [parse(source) for source in submitted]
        self._broken = [source for source, found in zip(submitted, self._cells, strict=True) if source and not found]
        self._providers: dict[str, ast.stmt] = {}
        self._where: dict[str, list[int]] = {}
        self._stars = [each for cell in self._cells for each in cell if _names_provided(each) == ["*"]]
        for statements in map(parse, course):
            for statement in statements:
                self._provide(statement)
        for name in exercises.values():
            self._providers.pop(name, None)
        for number, statements in enumerate(self._cells):
            for statement in statements:
                self._provide(statement, number)

    def _provide(self, statement: ast.stmt, cell: int | None = None) -> None:
        for name in _names_provided(statement):
            if isinstance(statement, ast.FunctionDef) and is_blank_function(statement):
                if name in self._providers:
                    continue  # a copy of the blank exercise does not undo the answer
            elif cell is not None and isinstance(statement, _DEFINITIONS):
                self._where.setdefault(name, []).append(cell)
            self._providers[name] = statement

    def find(self, exercise: str) -> Answer:
        """Return the answer to one exercise: what the last `check` of it is given, or the function of its name."""
        answer, name = Answer(), self._exercises[exercise]
        for number, statements in enumerate(self._cells):
            for call in _checks(statements):
                if call.args[0].value == exercise:
                    answer.expression, answer.cell = call.args[1], number
        given = answer.expression
        if isinstance(given, ast.Name) and not self._is_answer(given.id, answer.cell):
            answer.expression = None  # an answer of the right name elsewhere counts more
        if answer.expression is None and name in self._providers:
            answer.expression = ast.Name(name, ast.Load())
        if isinstance(answer.expression, ast.Name):
            name = answer.expression.id
            places = self._where.get(name, [])
            if places:
                answer.cell = places[-1]
            if len(places) > 1:
                answer.notes.append(f"{name} is defined {len(places)} times; the last one counts")
        if answer.expression is None:
            text = " ".join(self._broken)
            if re.search(rf"\b{re.escape(name)}\b", text):
                answer.notes.append("its cell is no valid Python")
            else:
                answer.notes.append("neither the function nor its check is in the notebook")
        return answer

    def is_blank(self, answer: Answer) -> bool:
        """Tell whether the exercise was left as it was handed out."""
        return isinstance(answer.expression, ast.Name) and self._is_blank(answer.expression.id)

    def _is_blank(self, name: str) -> bool:
        statement = self._providers.get(name)
        return isinstance(statement, ast.FunctionDef) and is_blank_function(statement)

    def _is_answer(self, name: str, cell: int) -> bool:
        if name in self._providers:
            return not self._is_blank(name)
        assigned = [each for each in self._cells[cell] if isinstance(each, ast.Assign)]
        return any(isinstance(t, ast.Name) and t.id == name for each in assigned for t in each.targets)

    def build(self, answer: Answer) -> Callable:
        """Execute what the answer needs and return its function.

        Raises whatever the executed code raises, and a TypeError if no function comes of it.
        """
        namespace: dict[str, Any] = {"__name__": "submission", "__builtins__": builtins}
        own = self._cells[answer.cell] if answer.cell is not None else []
        own = [each for each in own if not _is_check(each)]
        needed = self._needed([*own, ast.Expr(answer.expression)])
        others = [each for each in [*self._stars, *needed] if each not in own]
        for statement in [*others, *own]:
            with contextlib.suppress(*() if isinstance(statement, _DEFINITIONS) else (Exception,)):
                exec(compile(ast.Module([statement], []), "<submission>", "exec"), namespace)
        expression = ast.fix_missing_locations(ast.Expression(answer.expression))
        function = eval(compile(expression, "<answer>", "eval"), namespace)
        if not callable(function):
            raise TypeError(f"a function is asked for, not a {type(function).__name__}")
        return function

    def _needed(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Return the providers of all names that these statements use, and of those that the providers use."""
        found: list[ast.stmt] = []
        waiting = [name for statement in statements for name in _names_used(statement)]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._providers:
                continue
            seen.add(name)
            statement = self._providers[name]
            if statement not in found:
                found.append(statement)
                waiting += _names_used(statement)
        order = {id(statement): number for number, statement in enumerate(self._providers.values())}
        first = [each for each in found if isinstance(each, _IMPORTS)]
        return first + sorted((each for each in found if each not in first), key=lambda each: order[id(each)])


def is_blank_function(function: ast.FunctionDef) -> bool:
    """Tell whether a function has a docstring at most, and one bare `raise NotImplementedError`."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if len(body) != 1 or not isinstance(body[0], ast.Raise):
        return False
    raised = body[0].exc
    raised = raised.func if isinstance(raised, ast.Call) and not raised.args else raised
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _checks(statements: list[ast.stmt]) -> Iterator[ast.Call]:
    for statement in statements:
        if _is_check(statement):
            yield statement.value


def _is_check(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(call := statement.value, ast.Call):
        return False
    named = isinstance(call.func, ast.Name) and call.func.id == "check"
    return named and len(call.args) == 2 and isinstance(call.args[0], ast.Constant)


def _names_provided(statement: ast.stmt) -> list[str]:
    """Return the names that an import, a definition or the assignment of a literal brings; of anything else, none."""
    if isinstance(statement, _DEFINITIONS):
        return [statement.name]
    if isinstance(statement, _IMPORTS):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        literal = isinstance(statement.value, ast.Lambda)
        with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            ast.literal_eval(statement.value)
            literal = True
        if literal:
            return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return []


def _names_used(statement: ast.stmt) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]


# --- serving the grader -----------------------------------------------------------------------------------------------


class _Server:
    """Answers the grader's messages until it hangs up."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._functions: list[Callable] = []
        self._networks: dict[str, Any] = {}
        self._answers: Answers | None = None

    def serve(self) -> None:
        tasks = {"open": self._open, "find": self._find, "call": self._call}
        while True:
            try:
                message, arrays = self._connection.receive()
            except EOFError:
                return
            try:
                reply, encoded = tasks[message["do"]](message, arrays)
            except BaseException as error:  # the learner's code may raise what it likes, SystemExit too
                reply, encoded = {"error": _described(error)}, []
            try:
                self._connection.send(reply, encoded)
            except ProtocolError as error:
                self._connection.send({"error": _described(error)})

    def _open(self, message: dict, arrays: list[memoryview]) -> tuple[dict, list]:
        cells, notes, guesses = [], [], []
        for name, raw in zip(message["files"], arrays, strict=True):
            guesses += predictions(bytes(raw))
            try:
                cells += code_cells(bytes(raw))
            except NotANotebookError as error:
                notes.append(f"{name}: {error}")
        self._answers = Answers(cells, message["course"], message["exercises"])
        found = {}
        for exercise in message["exercises"]:
            answer = self._answers.find(exercise)
            missing, blank = answer.expression is None, self._answers.is_blank(answer)
            found[exercise] = {"state": "missing" if missing else "blank" if blank else "there", "notes": answer.notes}
        return {"found": found, "notes": notes, "predictions": guesses}, []

    def _find(self, message: dict, _arrays: list[memoryview]) -> tuple[dict, list]:
        self._networks.clear()
        self._functions[:] = [self._answers.build(self._answers.find(message["exercise"]))]
        return {"function": 0}, []

    def _call(self, message: dict, arrays: list[memoryview]) -> tuple[dict, list]:
        hooks = {"callback": self._callback, "model": self._model}
        decoder = Decoder(arrays, hooks)
        for handle, state in message["states"].items():
            self._load(handle, decoder.value(state))
        arguments = decoder.value(message["arguments"])
        before = self._states(), [_encoded(each) for each in arguments]
        try:
            result = self._functions[message["function"]](*arguments)
        except BaseException as error:
            reply: dict = {"error": _described(error)}
            encoder = Encoder()
        else:
            encoder = Encoder(self._own, lambda value: self._sent_network(value, encoder))
            reply = {"result": encoder.tree(result)}
        changed = {
            name: {key: value for key, value in state.items() if not _equal(value, before[0].get(name, {}).get(key))}
            for name, state in self._states(copy=False).items()
        }
        reply["states"] = {name: encoder.tree(state) for name, state in changed.items() if state}
        reply["changed"] = [
            [number, encoder.tree(each)]
            for number, (each, old) in enumerate(zip(arguments, before[1], strict=True))
            if old is not None and _encoded(each) != old
        ]
        return reply, encoder.arrays

    def _own(self, value: Any) -> dict | None:
        """Encode a network that came from the grader, and a function, by their handles."""
        for handle, network in self._networks.items():
            if value is network:
                return {"known": handle}
        torch = sys.modules.get("torch")
        is_network = torch is not None and isinstance(value, torch.nn.Module)
        if callable(value) and not is_network and not isinstance(value, type):
            self._functions.append(value)
            return {"function": len(self._functions) - 1}
        return None

    def _sent_network(self, value: Any, encoder: Encoder) -> dict | None:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.nn.Module):
            return None
        from utils.course.classroom_networks import encode_network

        try:
            return encode_network(value, encoder)
        except ValueError as error:
            return {"unsent": [type(value).__name__, str(error)[:500]]}

    def _callback(self, handle: int, _decoder: Decoder) -> Callable:
        def ask(*arguments: Any) -> Any:
            encoder = Encoder()
            tree = encoder.tree(arguments)
            self._connection.send({"callback": handle, "arguments": tree}, encoder.arrays)
            message, arrays = self._connection.receive()
            if "error" in message:
                raise ValueError(message["error"])
            return Decoder(arrays).value(message["result"])

        return ask

    def _model(self, content: dict, decoder: Decoder) -> Any:
        handle = content["handle"]
        if handle not in self._networks:
            from utils.models import build

            self._networks[handle] = build(content["class"]).eval()
            self._load(handle, decoder.value(content["state"]))
            for name, parameter in self._networks[handle].named_parameters():
                parameter.requires_grad_(name in content["learning"])
        return self._networks[handle]

    def _load(self, handle: str, state: dict) -> None:
        import torch

        own = self._networks[handle].state_dict(keep_vars=True)
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    def _states(self, *, copy: bool = True) -> dict[str, dict]:
        return {
            handle: {name: value.clone() if copy else value for name, value in network.state_dict().items()}
            for handle, network in self._networks.items()
        }


def _equal(value: Any, other: Any) -> bool:
    import torch

    return other is not None and value.shape == other.shape and torch.equal(value, other)


def _encoded(value: Any) -> Any:
    """Return what tells whether an argument was changed; of one that cannot be changed, or is a network, None."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        large = value.numel() > _COMPARED
        return value._version, None if large else Encoder().tree(value) and value.cpu().numpy().tobytes()
    if isinstance(value, list | dict | set):
        encoder = Encoder()
        return encoder.tree(value), encoder.arrays
    return None


def _described(error: BaseException) -> dict:
    name = type(error).__name__
    try:
        text = str(error)[:2000]
    except Exception:
        text = ""
    return {"type": name, "text": text, "blank": isinstance(error, NotImplementedError) and is_blank(error)}


def confine(limits: dict[str, int], user: int | None) -> None:
    """Give up what a submission does not need: first the root's rights, if there are any, then resources beyond limits.

    Args:
        limits: the value of each limit by its name in the module `resource`, such as "RLIMIT_DATA".
        user: the number of the user to become, where this process is root's.
    """
    if user is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    with contextlib.suppress(ImportError):  # Windows has no such limits
        resource = importlib.import_module("resource")
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))


def main(arguments: list[str] | None = None) -> None:
    """Serve the grader over the standard streams, which the submission itself does not get."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limits", type=json.loads, default={})
    parser.add_argument("--user", type=int)
    options = parser.parse_args(arguments)
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for stream, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), stream)  # what is printed is read by nobody
    confine(options.limits, options.user)
    _Server(Connection(source, sink)).serve()


if __name__ == "__main__":
    main()
