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
exclude_patterns = ["static/**", "downloads/**"]

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


def _captions_with_a_level(app, pagename, templatename, context, doctree):
    """Give the captions of the sidebar, which Sphinx marks as headings, the level that a screen reader wants."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app):
    app.connect("autodoc-process-docstring", _plain_bars)
    app.connect("html-page-context", _captions_with_a_level, priority=900)  # after the theme has made the sidebar


# --- looks ------------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = project
templates_path = ["templates"]
html_static_path = ["static"]
html_favicon = "static/mark.svg"
html_css_files = ["course.css", "katex/katex.min.css"]
html_js_files = ["course.js"]
html_math_renderer = "mathjax"  # leaves \(...\) in the page ...
mathjax_path = "formulas.js"  # ... and this, in MathJax's place, lets KaTeX render it: both come with the site
html_show_sphinx = False
html_copy_source = False  # the notebooks are there to download; a second copy as text would be a quarter of the site

html_theme_options = {"navigation_with_keys": True}
