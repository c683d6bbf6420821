"""Drawings of adapters say the sizes that they are given."""

from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from utils import adapter_drawings


def texts(figure):
    found = " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    plt.close(figure)
    return found


def test_an_adapter_shows_its_shapes():
    said = texts(adapter_drawings.adapter(160, 416, 3))
    assert "160 × 416" in said
    assert "3 × 416" in said
    assert "160 × 3" in said


def test_one_base_shows_each_adapter_once():
    said = texts(adapter_drawings.one_base(["prose", "telegram"], base="W, once"))
    assert said.count("prose") == said.count("telegram") == said.count("W, once") == 1


def test_adapters_stand_beside_the_base_and_not_behind_it():
    figure = adapter_drawings.one_base(["prose", "telegram"], base="W, once")
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    base, total, *rows = boxes
    ours = [each for each in rows if each.get_x() > 5]
    assert len(ours) == 2
    for adapter in ours:
        assert (adapter.get_x(), adapter.get_width()) == (base.get_x(), base.get_width())
        assert adapter.get_y() > base.get_y() + base.get_height()
    ends = [each.get_y() + each.get_height() for each in (base, *ours)]
    assert all(total.get_y() < end < total.get_y() + total.get_height() for end in ends)
    plt.close(figure)
