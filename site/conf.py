"""How Sphinx builds the website from the folder that `utils.course.site` gathers; see `make site`."""

import re
import tomllib
from pathlib import Path

_about = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Small, fast neural networks"
author = 'The authors of "Small, fast neural networks"'
copyright = "2026, the authors; code under MIT, text and figures under CC BY 4.0"
release = _about["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["static/**"]

# --- pages ------------------------------------------------------------------------------------------------------------

nb_execution_mode = "off"  # what the notebooks' stored outputs say is shown; nothing is run
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_render_markdown_format = "commonmark"

# --- the library's reference ------------------------------------------------------------------------------------------

autodoc_mock_imports = ["tensorflow", "keras", "ai_edge_litert"]  # no process loads PyTorch and TensorFlow
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # `name` in a docstring is code


def _plain_bars(app, what, name, obj, options, lines):
    """Keep |w| of a docstring from being taken for a substitution, but in code."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`[^`]*`)", line)
            lines[index] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def setup(app):
    app.connect("autodoc-process-docstring", _plain_bars)


# --- looks ------------------------------------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["course.css", "katex/katex.min.css"]
html_math_renderer = "mathjax"  # leaves \(...\) in the page ...
mathjax_path = "formulas.js"  # ... and this, in MathJax's place, lets KaTeX render it: both come with the site
html_show_sphinx = False
html_copy_source = True

REPOSITORY = _about.get("urls", {}).get("Repository", "")
"""Where the repository lies, from pyproject.toml: the one place that decides whether there are links to launch, to the
source and to issues."""

html_theme_options = {
    "use_download_button": True,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the search stands in the sidebar already
} | (
    {
        "repository_url": REPOSITORY,
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"},
    }
    if REPOSITORY
    else {}
)
