"""README's table: the rows, their clocks on each machine, and its place in the page."""

import pytest

from utils.course import frontier_picture
from utils.course.readme_table import BEGIN, END, NETWORK_NAMES, SELECTED, find_record, put_table, render_table
from utils.files import ROOT
from utils.reference_runs import newest_first, reference_runs
from utils.scoreboard import data_set_of, smallest_file


def runs():
    return list(newest_first(reference_runs()).values())


def test_the_table_in_readme_is_that_of_the_reference_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert put_table(readme, render_table(runs())) == readme, "write it anew: make run && make reference"


def test_the_picture_is_that_of_the_newest_reference_run():
    rows = runs()[0][1]
    drawn = frontier_picture.PATH.read_text(encoding="utf-8")
    assert frontier_picture.digest_of(rows) in drawn, "write it anew: make run && make reference"


def test_the_picture_names_the_rows_of_the_table_and_nothing_else():
    rows = runs()[0][1]
    drawn = frontier_picture.picture(rows).decode()
    assert len(SELECTED) <= 8
    for selected in SELECTED:
        assert f"<!-- {selected.named or NETWORK_NAMES[selected.model]} -->" in drawn
    without = [each for each in rows if not each["notebook"].startswith("06")]
    assert "<!-- low rank -->" not in frontier_picture.picture(without).decode()
    assert frontier_picture.digest_of(without) != frontier_picture.digest_of(rows)


def test_the_machines_stand_side_by_side():
    header = render_table(runs()).splitlines()[0]
    assert "on the clock, AVX2" in header
    assert "on the clock, AVX512-VNNI" in header


@pytest.mark.parametrize("readme", ["no comments", f"{BEGIN} only", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_readme_without_its_comments_is_refused(readme):
    with pytest.raises(ValueError, match="once each, in this order"):
        put_table(readme, "table")


def test_the_table_goes_between_the_comments():
    assert put_table(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"


def test_rows_of_other_data_sets_are_left_out():
    about, rows = runs()[0]
    others = [{**each, "data_set": "fashion_mnist", "accuracy": 0.5} for each in rows if each["kind"] == "record"]
    assert render_table([(about, [*others, *rows])]) == render_table([(about, rows)])


def test_the_compressed_row_is_the_one_that_notebook_23_recommends():
    records = [row for row in runs()[0][1] if row["kind"] == "record" and data_set_of(row) == "mnist"]
    (selected,) = [each for each in SELECTED if each.notebook == "15"]
    assert find_record(selected, records) == smallest_file(records)


def test_a_selected_row_that_was_renamed_is_named():
    about, rows = runs()[0]
    others = [each for each in rows if not each.get("variant", "").startswith("rank 21")]
    with pytest.raises(ValueError, match=r"notebook 06 has no record like .*rank 21.*SELECTED"):
        render_table([(about, others)])
    without = [each for each in rows if not each["notebook"].startswith("06")]
    assert "(notebooks/06" not in render_table([(about, without)])
