"""What the tests of drawings look for in a figure."""

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from utils.drawings import REMOVED


def texts(axis: Axes) -> list[str]:
    """Return the texts of an axis that are not empty, in the order in which they were drawn."""
    return [text.get_text() for text in axis.texts if text.get_text()]


def grey(patch: Patch) -> bool:
    """Tell whether a patch has the colour of what is removed."""
    return patch.get_facecolor()[:3] == to_rgb(REMOVED)
