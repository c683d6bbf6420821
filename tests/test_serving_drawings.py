"""Drawings of a server: bars where the times are, calls told apart."""

import numpy as np
import pytest

from utils import serving_drawings
from utils.figures import SIZE
from utils.serving import simulate

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_a_gantt_chart_has_a_wait_and_a_call_for_each_request_in_their_places():
    arrivals = [0.0, 1.0, 1.5, 9.0]
    servers = {size: simulate(arrivals, lambda n: 2.0, max_batch=size) for size in (1, 4)}
    figure = serving_drawings.queue_as_gantt({f"at most {size}": served for size, served in servers.items()})
    for axis, served in zip(figure.axes, servers.values(), strict=True):
        waits, calls = axis.patches[::2], axis.patches[1::2]
        assert [bar.get_x() for bar in waits] == arrivals
        np.testing.assert_allclose([bar.get_width() for bar in waits], served.waits)
        np.testing.assert_allclose([bar.get_x() for bar in calls], served.starts)
        np.testing.assert_allclose([bar.get_x() + bar.get_width() for bar in calls], served.ends)
    one_by_one, batched = ([text.get_text() for text in axis.texts] for axis in figure.axes)
    assert one_by_one == ["call 1", "call 2", "call 3", "call 4"]
    assert batched == ["call 1", "call 2", "call 2", "call 3"]
    colours = [bar.get_facecolor() for bar in figure.axes[1].patches[1::2]]
    assert colours[1] == colours[2] != colours[0]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.get_figheight() <= SIZE[1]


def test_the_way_of_a_request_names_its_limits():
    written = " ".join(text.get_text() for text in serving_drawings.way_of_a_request(16, 1024).axes[0].texts)
    assert all(part in written for part in ("at most 1,024", "1 to 16", "503", "client"))
