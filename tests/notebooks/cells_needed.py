"""Which cells of a notebook a claim needs: a break that cannot fork runs these and leaves the others out.

A cell is needed if it binds a name that a needed cell reads, or may change what such a name stands for: by a method, by
a function of the notebook that is given it, by an assignment to a part of it, or in a loop over it. Functions of the
library, and what a name in capitals stands for, are taken not to change. A cell that only computes something else is
left out.
"""

import ast
import symtable
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class _Cell(NamedTuple):
    """The names that a cell reads, binds, imports and defines, those whose values it may change, and those it gives.

    What is given to which function is a pair: only a function of the notebook may change it.
    """

    reads: set[str]
    binds: set[str]
    imports: set[str]
    defines: set[str]
    changes: set[str]
    given: set[tuple[str, str]]


def cells_that_claim(sources: Sequence[str], words: str) -> list[int]:
    """Return the numbers of the cells in which a text holds these words; texts with values in them are not looked at.

    >>> cells_that_claim(["x = 1", "claim('x is ' 'one', x == 1)"], "x is one")
    [1]
    """
    return [
        number
        for number, source in enumerate(sources)
        if any(isinstance(node, ast.Constant) and words in str(node.value) for node in ast.walk(ast.parse(source)))
    ]


def needed_cells(sources: Sequence[str], wanted: Iterable[int]) -> list[int]:
    """Return the numbers of the wanted cells and of those before them that they need, in order.

    >>> needed_cells(["x = [1]", "y = 2", "x.append(3)", "print(y)", "sum(x)"], [4])
    [0, 2, 4]
    """
    kept = set(wanted)
    cells = [_cell(source) for source in sources[: max(kept) + 1]]
    functions = {name for cell in cells for name in cell.defines}
    imported = {name for cell in cells for name in cell.imports}
    found = -1
    while found < len(kept):
        found = len(kept)
        reads = {name for number in kept for name in cells[number].reads}
        for number, cell in enumerate(cells):
            changes = cell.changes | {name for function, name in cell.given if function in functions}
            if cell.binds & reads or any(not name.isupper() for name in changes & reads - imported):
                kept.add(number)
    return sorted(kept)


def read_and_bound(sources: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the names that cells read and those that they bind."""
    cells = [_cell(source) for source in sources]
    return {name for cell in cells for name in cell.reads}, {name for cell in cells for name in cell.binds}


def _cell(source: str) -> _Cell:
    table, tree = symtable.symtable(source, "cell", "exec"), ast.parse(source)
    symbols = table.get_symbols()
    reads = {symbol.get_name() for symbol in symbols if symbol.is_referenced()} | set(_read_within(table))
    imports = {symbol.get_name() for symbol in symbols if symbol.is_imported()}
    binds = {symbol.get_name() for symbol in symbols if symbol.is_assigned()} | imports
    defines = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    nodes = list(_at_once(tree))
    changes = {name for node in nodes for name in _changed_by(node)}
    given = {pair for node in nodes for pair in _given_by(node)}
    return _Cell(reads, binds, imports, defines, changes, given)


def _read_within(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield what functions and the like read of the notebook's names."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from _read_within(child)


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all that runs when the cell does, which the body of a function does not."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from _at_once(child)


def _changed_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in _READING:
        yield from _roots([node.func.value])
    elif isinstance(node, ast.For):
        yield from (each.id for each in ast.walk(node.iter) if isinstance(each, ast.Name))
    elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        yield from _roots([node])


def _given_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        yield from ((node.func.id, name) for name in _roots(given))


def _roots(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            node = node.value
        if isinstance(node, ast.Name):
            yield node.id


_READING = {
    "compare", "copy", "count_params", "get", "get_config", "get_weights", "groupby", "items", "keys", "max", "mean",
    "min", "numpy", "sum", "tolist", "values",
}  # fmt: skip
"""Methods that change nothing that a claim rests on."""
