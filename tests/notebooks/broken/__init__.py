"""How each notebook is broken on purpose, in its own cells and in the library, and the claim that must notice.

`nbNN.py` has `IN_NOTEBOOK`: (what stands in a cell, what breaks it, how the claim that must fail begins), and
`IN_LIBRARY`: (module, what stands in one of its functions, what breaks it, the claim). Those before the first training
are quick.
"""

import importlib

from tests.notebooks.read_notebooks import COURSE

_MODULES = {path.stem: importlib.import_module(f"{__name__}.nb{path.stem[:2]}") for path in COURSE}

IN_NOTEBOOK = [(name, *each) for name, module in _MODULES.items() for each in module.IN_NOTEBOOK]
IN_LIBRARY = [(name, *each) for name, module in _MODULES.items() for each in module.IN_LIBRARY]
