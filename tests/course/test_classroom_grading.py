"""A class from its folder to its grades: thirty students, hostile ones beside twenty of them, workers come and go."""

import csv
import hashlib
import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.course.synthetic_class import ASSIGNMENT, AWKWARD, FULL, HOSTILE, PLAIN, write_submissions
from tests.course.test_classroom_sandbox import WORKING
from utils.__main__ import main
from utils.course import classroom_grading, classroom_reports
from utils.course.classroom_folder import read_card, write_class_folder
from utils.course.classroom_grading import Options, digest_of_course, grade, read_verdicts
from utils.course.classroom_sandbox import Limits
from utils.files import ROOT

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install -r requirements-class.txt")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WORKING, reason="no sandbox works on this machine: install bubblewrap"),
]

HONEST = PLAIN | AWKWARD | {"=1+1": PLAIN["right"]}  # the last one's name is a formula to a spreadsheet
LIMITS = Limits(seconds=20.0)
SEED = 9_241_113_377


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two workers."""
    settings = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with distributed.LocalCluster(**settings, silence_logs=50) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cluster):
    """Return a class of thirty honest students, graded by the command."""
    written = write_class_folder(tmp_path_factory.mktemp("class") / "autumn", seed=SEED)
    write_submissions(written, HONEST)
    (written / "submitted" / "right" / "homework").mkdir()
    address = ["--scheduler", cluster.scheduler_address]
    assert main(["grade", str(written), *address, "--seconds", str(LIMITS.seconds)]) == 0
    return written


def _verdicts(folder):
    rows = read_verdicts(folder)
    assert len(rows) == len((folder / classroom_grading.VERDICTS).read_bytes().splitlines()), "none twice"
    return {row["student"]: {each["exercise"]: each for each in row["verdicts"]} for row in rows.values()}


def _require_as_expected(verdicts, students):
    for name, student in students.items():
        points = {exercise: verdict["points"] for exercise, verdict in verdicts[name].items()}
        assert points == student.points, (name, verdicts[name])
        states = {exercise: verdicts[name][exercise]["state"] for exercise in student.states}
        assert states == student.states, (name, verdicts[name])


def test_thirty_students_get_the_points_that_they_are_due(folder):
    assert len(HONEST) == 30
    verdicts = _verdicts(folder)
    assert verdicts.keys() == HONEST.keys()
    _require_as_expected(verdicts, HONEST)


def test_the_gradebooks_have_every_student(folder):
    rows = list(csv.DictReader(io.StringIO((folder / "grades" / "grades.csv").read_text())))
    assert {row["student"]: float(row[ASSIGNMENT]) for row in rows} == {
        "'=1+1" if name == "=1+1" else name: sum(student.points.values()) for name, student in HONEST.items()
    }
    assert {row["of"] for row in rows} == {"7"}
    canvas = list(csv.reader(io.StringIO((folder / "grades" / "grades_canvas.csv").read_text())))
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", ASSIGNMENT]
    assert canvas[1][-1] == "7"
    assert len(canvas) == 2 + len(HONEST)


def test_students_read_the_case_that_failed_and_a_hint_and_nothing_of_the_class(folder):
    feedback = folder / "grades" / "feedback"
    assert {path.stem for path in feedback.iterdir()} == HONEST.keys()
    page = (feedback / "wrong.html").read_text(encoding="utf-8")
    assert "expected:" in page
    assert "Hint: " in page
    for path in feedback.iterdir():
        text = path.read_text(encoding="utf-8")
        assert str(SEED) not in text, path
        assert "HIDDEN" not in text
        assert "specification" not in text


def test_the_teachers_page_groups_wrong_answers_and_names_what_to_look_at(folder):
    page = (folder / "grades" / "class.html").read_text(encoding="utf-8")
    assert "30 students, 30 submissions" in page
    common = page.split("Common wrong answers")[1].split("</table>")[0]
    assert common.count("<td>13.2</td>") == 2, "two wrong answers of three students"
    assert "one-wrong, wrong" in common
    look = page.split("To look at")[1]
    for text in ("no-notebook", "not a notebook", "report.docx was not read", "right/homework", "13_mine (2) final"):
        assert text in look


def test_what_a_submission_brings_is_escaped(folder):
    rows = classroom_reports.tables(folder)[:1]
    rows[0][1].verdicts[0].state, rows[0][1].verdicts[0].message = "wrong", "<script>alert(1)</script>"
    rows[0][1].predictions = [["<script>", "4<script>", "6<script>"]]
    for page in (classroom_reports.student_page("<b>", rows), classroom_reports.class_page(rows, ["<i>/x"])):
        assert "<script>" not in page
        assert "<b>" not in page
        assert "<i>" not in page


def test_a_second_run_grades_nothing_and_a_new_file_only_itself(folder, cluster):
    options = Options(scheduler=cluster.scheduler_address, limits=LIMITS)
    again = grade(folder, options)
    assert (again.graded, again.known) == (0, 30)
    path = folder / "submitted" / "blank" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    again = grade(folder, options)
    assert (again.graded, again.known) == (1, 29)
    path.write_bytes(before)
    rows = (folder / classroom_grading.VERDICTS).read_bytes().splitlines()
    (folder / classroom_grading.VERDICTS).write_bytes(b"\n".join(rows[:30]) + b"\n")


def _digest(*folders):
    digest = hashlib.sha256()
    for path in sorted(path for each in folders for path in each.rglob("*") if path.is_file()):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def test_hostile_neighbours_change_no_grade_and_no_file(folder, cluster, tmp_path):
    honest = {name: HONEST[name] for name in [*PLAIN, *AWKWARD][:20]}
    both = write_class_folder(tmp_path / "both", seed=SEED)
    write_submissions(both, honest | HOSTILE)
    (both / "gradebook.db").write_bytes(b"the gradebook")
    kept = [ROOT / "utils" / "checks", ROOT / "data" / "checkpoints", both / "source", both / "submitted"]
    before = _digest(*kept), (both / "gradebook.db").read_bytes(), (both / "class.json").read_bytes()
    running = set(psutil.pids())
    outcome = grade(both, Options(scheduler=cluster.scheduler_address, limits=LIMITS))
    assert (outcome.graded, outcome.failed) == (len(honest) + len(HOSTILE), [])
    together, alone = _verdicts(both), _verdicts(folder)
    for name in honest:
        for exercise in FULL:
            mine, other = together[name][exercise], alone[name][exercise]
            assert {**mine, "seconds": 0} == {**other, "seconds": 0}
    _require_as_expected(together, honest | HOSTILE)
    assert before == (_digest(*kept), (both / "gradebook.db").read_bytes(), (both / "class.json").read_bytes())
    time.sleep(1)
    left = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in running and "time.sleep" in str(p.info)]
    assert not left


def _small(tmp_path, count):
    written = write_class_folder(tmp_path / "small", seed=12)
    write_submissions(written, {f"s{number}": PLAIN["right"] for number in range(count)})
    return written


def test_a_killed_workers_submissions_are_graded_by_another(tmp_path, cluster):
    folder, log = _small(tmp_path, 12), tmp_path / "small" / classroom_grading.VERDICTS
    killed = []

    def kill():
        while not (log.exists() and len(log.read_bytes().splitlines()) >= 2):
            time.sleep(0.02)
        with distributed.Client(cluster.scheduler_address) as client:
            killed.append(next(iter(client.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    outcome = grade(folder, Options(scheduler=cluster.scheduler_address, limits=LIMITS))
    thread.join()
    assert killed
    assert (outcome.graded, outcome.failed) == (12, [])
    assert {sum(each["points"] for each in own.values()) for own in _verdicts(folder).values()} == {7.0}


def test_interrupted_it_goes_on(tmp_path, cluster, monkeypatch):
    folder, seen = _small(tmp_path, 8), []

    class Interrupting:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def update(self, count):
            seen.append(count)
            if len(seen) == 3:
                raise KeyboardInterrupt

    options = Options(scheduler=cluster.scheduler_address, limits=LIMITS)
    with monkeypatch.context() as patched:
        patched.setattr(classroom_grading, "_progress", lambda *_: Interrupting())
        with pytest.raises(KeyboardInterrupt):
            grade(folder, options)
    log = folder / classroom_grading.VERDICTS
    log.write_bytes(log.read_bytes() + b'{"student": "s7", "assig')  # the power went while a line was written
    outcome = grade(folder, options)
    assert (outcome.known, outcome.graded) == (3, 5)
    assert len(read_verdicts(folder)) == 8


def test_memory_does_not_grow_with_the_class(tmp_path, cluster, monkeypatch):
    """No more submissions are read than the two workers are about to grade."""
    folder, held, most = _small(tmp_path, 15), [], []
    read, write = classroom_grading._read, classroom_grading._Log.write

    def counted(path):
        held.append(path)
        most.append(len(held))
        return read(path)

    def written(log, row):
        held.pop()
        write(log, row)

    monkeypatch.setattr(classroom_grading, "_read", counted)
    monkeypatch.setattr(classroom_grading._Log, "write", written)
    assert grade(folder, Options(scheduler=cluster.scheduler_address, limits=LIMITS)).graded == 15
    assert max(most) <= 2 * classroom_grading._AHEAD


def test_a_worker_of_another_version_is_named(tmp_path, cluster, monkeypatch):
    folder = _small(tmp_path, 1)
    monkeypatch.setattr(classroom_grading, "digest_of_course", lambda: "another")
    outcome = grade(folder, Options(scheduler=cluster.scheduler_address, limits=LIMITS))
    assert "another version of the course" in outcome.failed[0]
    assert not read_verdicts(folder)


def test_links_and_pipes_are_not_followed(tmp_path):
    folder = write_class_folder(tmp_path / "links", seed=1)
    target = folder / "submitted" / "eve" / ASSIGNMENT
    target.mkdir(parents=True)
    (target / "mine.ipynb").symlink_to(folder / "class.json")
    os.mkfifo(target / "pipe.ipynb")
    (target / "large.ipynb").write_bytes(b"")
    os.truncate(target / "large.ipynb", classroom_grading.LARGEST_SUBMISSION + 1)
    (submission,) = classroom_grading.submissions(folder, read_card(folder))
    assert submission.contents == ()
    assert len(submission.notes) == 4
    assert "no plain file" in str(submission.notes)
    assert len(digest_of_course()) == 16


def test_nbgraders_gradebook_gets_the_points(folder, monkeypatch):
    program = Path(sys.executable).parent  # nbgrader calls alembic by its name to make a gradebook
    monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
    nbgrader = pytest.importorskip("nbgrader.api", reason="nbgrader is not installed")
    with nbgrader.Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        book.add_assignment(ASSIGNMENT)
        book.add_notebook(ASSIGNMENT, ASSIGNMENT)
        for exercise, points in FULL.items():
            cell = f"points-{exercise.replace('.', '-')}"
            book.add_grade_cell(cell, ASSIGNMENT, ASSIGNMENT, max_score=points, cell_type="code")
    assert classroom_reports.write_gradebook(folder)
    with nbgrader.Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        for name, student in HONEST.items():
            assert book.find_submission(ASSIGNMENT, name).score == sum(student.points.values())
