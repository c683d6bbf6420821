"""The command line: notebooks are executed, resumed, named when they fail; the report says what was measured."""

import json
import os
import subprocess
import sys
import time

import nbformat
import pytest

from utils import reference_runs
from utils.__main__ import main
from utils.course import notebook_runner, run_report
from utils.environment import environment
from utils.files import ROOT

GOOD = """from utils.claims import begin, claim, record
begin("01_good")
claim("two is more than one", VALUE > 1, value=VALUE)
record("dense", "LeNet5", family="low rank", epochs=0, accuracy=0.5, bytes=100, speedup=2.0)"""


def _write(folder, name, *sources):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    parameters = nbformat.v4.new_code_cell("VALUE = 2", metadata={"tags": ["parameters"]})
    notebook.cells = [parameters, *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks that takes the place of the course's, on a path that is hard to quote."""
    folder = tmp_path / "kurs ü {x} 日本" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.setattr(notebook_runner, "NOTEBOOKS", folder)
    monkeypatch.setenv("WORKBOOK_RESULTS", "set anew by the runner")
    return folder


def _run(output, **options):
    return notebook_runner.run(notebook_runner.find_notebooks(), **({"parameters": {}, "output": output} | options))


@pytest.mark.slow
def test_what_ran_is_not_run_again_until_it_changes(folder, capsys):
    tmp_path = folder.parent
    _write(folder, "01_good", GOOD)
    first = _run(tmp_path / "build")
    assert first[0].failure == ""
    assert first[0].with_workers_mb >= first[0].peak_memory_mb > 10
    assert "done in" in capsys.readouterr().out

    assert _run(tmp_path / "build") == first
    assert "unchanged" in capsys.readouterr().out

    (tmp_path / "build" / "results" / "01_good.jsonl").unlink()  # as if the run had been stopped before the end
    _run(tmp_path / "build")
    assert "done in" in capsys.readouterr().out

    _run(tmp_path / "build", parameters={"VALUE": 3})
    assert "done in" in capsys.readouterr().out
    claim, record = (json.loads(line) for line in (tmp_path / "build/results/01_good.jsonl").read_text().splitlines())
    assert claim["measured"] == {"value": 3}
    assert record["speedup"] == 2.0

    text = run_report.write_report(tmp_path / "build")
    assert "1 of 1 claims hold, and 0 of 0 about this machine; 1 records" in text
    assert "✓ two is more than one (value = 3)" in text
    assert "speedup = 2" in text
    assert (tmp_path / "build" / "report.md").read_text(encoding="utf-8") == text
    summary = json.loads((tmp_path / "build/results/run.json").read_text())
    assert summary["total_seconds"] == summary["notebooks"]["01_good"]["seconds"] > 0


@pytest.mark.slow
def test_notebooks_run_side_by_side_and_those_that_read_results_after_them(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # set where these tests run in two processes
    meet = """import os, pathlib, time
place = pathlib.Path({place!r})
(place / {mine!r}).touch()
deadline = time.monotonic() + 100
while not (place / {other!r}).exists():  # which never comes if one runs after the other
    assert time.monotonic() < deadline
    time.sleep(0.1)
assert os.environ["OMP_NUM_THREADS"] == os.environ["WORKBOOK_SIDE_BY_SIDE"] == "1\""""
    for number, name, other in (("01", "one", "two"), ("02", "two", "one")):
        claimed = f'from utils.claims import begin, claim\nbegin("{number}_{name}")\nclaim("it met", True, value=VALUE)'
        _write(folder, f"{number}_{name}", meet.format(place=str(tmp_path), mine=name, other=other), claimed)
    _write(folder, "03_broken", "1 / 0")
    read = """import os
from utils.claims import begin, read_results
begin("04_reader")
assert len(read_results()) == 2 and "OMP_NUM_THREADS" not in os.environ"""
    _write(folder, "04_reader", read)
    outcomes = _run(tmp_path / "build", processes=2)
    assert [each.notebook for each in outcomes] == ["01_one", "02_two", "03_broken", "04_reader"]
    assert [bool(each.failure) for each in outcomes] == [False, False, True, False], outcomes
    told = capsys.readouterr()
    assert "03_broken.ipynb failed in its cell" in told.err
    again = _run(tmp_path / "build", processes=2)
    assert [each.seconds for each in again if not each.failure] == [e.seconds for e in outcomes if not e.failure]
    assert "04_reader unchanged" in capsys.readouterr().out
    with pytest.raises(ValueError, match="processes"):
        _run(tmp_path / "build", processes=0)


@pytest.mark.slow
def test_what_has_not_begun_in_time_is_left_out_and_named_but_for_what_reads_results(folder, tmp_path, capsys):
    _write(folder, "01_good", GOOD)
    _write(folder, "02_good", GOOD.replace("01_good", "02_good"))
    _write(folder, "03_reader", 'from utils.claims import begin, read_results\nbegin("03_reader")\nread_results()')
    late = time.time() - 1
    assert [each.notebook for each in _run(tmp_path / "both", processes=2, until=late)] == ["03_reader"]
    assert "Not begun, their time was up (tomorrow others come first): 01_good, 02_good" in capsys.readouterr().out
    assert _run(tmp_path / "alone", until=late) == []
    assert "[2/3] 02_good not begun: its time was up" in capsys.readouterr().out
    assert len(_run(tmp_path / "both", processes=2, until=time.time() + 600)) == 3
    _write(folder, "00_broken", "1 / 0")
    for number in range(4, 10):
        _write(folder, f"0{number}_good", GOOD.replace("01_good", f"0{number}_good"))
    capsys.readouterr()
    assert len(_run(tmp_path / "failing", processes=2, fail_fast=True)) < 10
    assert "time was up" not in capsys.readouterr().out, "it is not why the others were left out"


def test_every_notebook_comes_first_on_some_day():
    names = [f"{number:02}" for number in range(22)]
    firsts = [notebook_runner.todays_order(names, day)[0] for day in range(1000, 1022)]
    assert sorted(firsts) == names
    half = [set(notebook_runner.todays_order(names, day)[:11]) for day in range(1000, 1003)]
    assert set.union(*half) == set(names), "who gets through half of them a day has run all in three"
    assert notebook_runner.todays_order([], 5) == []


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_limit_is_some_minutes(folder, minutes, capsys):
    assert main(["run", f"--within={minutes}"]) == 2
    assert f"--within must be more than 0 minutes, got {minutes}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failing_notebook_is_named_with_its_cell(folder, tmp_path, capsys):
    _write(folder, "01_good", GOOD)
    _write(folder, "02_bad", "1 + 1", "claimed = 'so'\nraise ValueError('the measured drop is 0.3')")
    _write(folder, "03_later", GOOD.replace("01_good", "03_later"))
    outcomes = _run(tmp_path / "build", fail_fast=True)
    assert [outcome.notebook for outcome in outcomes] == ["01_good", "02_bad"]
    said = capsys.readouterr().err
    assert "02_bad.ipynb failed in its cell 3 which begins: claimed = 'so'" in said
    assert "ValueError: the measured drop is 0.3" in said
    assert "Not run, or failed: 02_bad, 03_later" in run_report.write_report(tmp_path / "build")

    outcomes = _run(tmp_path / "build")
    assert [bool(outcome.failure) for outcome in outcomes] == [False, True, False]


def test_the_fingerprint_follows_cells_parameters_and_modules(folder, monkeypatch):
    path = _write(folder, "01_good", GOOD)
    before = notebook_runner.fingerprint_of(path, {})
    assert notebook_runner.fingerprint_of(path, {}) == before
    assert notebook_runner.fingerprint_of(path, {"SEED": 1}) != before
    _write(folder, "01_good", GOOD + "\n1 + 1")
    assert notebook_runner.fingerprint_of(path, {}) != before
    _write(folder, "01_good", GOOD)
    elsewhere = folder / "environment.py"  # utils.claims imports utils.environment: a change of it counts
    elsewhere.write_bytes((ROOT / "utils" / "environment.py").read_bytes() + b"# changed\n")
    found = notebook_runner._module_path
    monkeypatch.setattr(
        notebook_runner, "_module_path", lambda name: elsewhere if name == "utils.environment" else found(name)
    )
    assert notebook_runner.fingerprint_of(path, {}) != before


def test_the_fingerprint_of_a_notebook_that_reads_results_follows_those_before_it(folder, tmp_path):
    plain, reader = _write(folder, "01_good", GOOD), _write(folder, "02_reader", "rows = read_results()")
    results = tmp_path / "results"
    results.mkdir()
    before = [notebook_runner.fingerprint_of(path, {}, results=results) for path in (plain, reader)]
    for name in ("02_reader", "03_later"):
        (results / f"{name}.jsonl").write_text("its own, or later", encoding="utf-8")
    assert [notebook_runner.fingerprint_of(path, {}, results=results) for path in (plain, reader)] == before
    (results / "01_good.jsonl").write_text("new", encoding="utf-8")
    after = [notebook_runner.fingerprint_of(path, {}, results=results) for path in (plain, reader)]
    assert after[0] == before[0]
    assert after[1] != before[1]


BROKEN = {
    "empty": "",
    "conflict": '{"cells": [\n<<<<<<< HEAD\n]}',
    "list": "[]",
    "cell": '{"cells": [{"cell_type": "code"}]}',
    "half": '{"cells": [{"cell_type": "co',
}


@pytest.mark.slow
def test_a_file_that_is_no_notebook_fails_by_name_and_the_others_run(folder, tmp_path, capsys):
    for name, content in BROKEN.items():
        (folder / f"00_{name}.ipynb").write_text(content)
    _write(folder, "01_good", GOOD)
    outcomes = _run(tmp_path / "build")
    assert [bool(outcome.failure) for outcome in outcomes] == [True] * len(BROKEN) + [False]
    said = capsys.readouterr().err
    for name in BROKEN:
        assert f"00_{name}.ipynb cannot be read as a notebook" in said
    assert "git checkout -- notebooks/00_half.ipynb" in said


@pytest.mark.slow
def test_magics_run_and_a_cell_that_is_no_python_fails_by_its_own_name(folder, tmp_path):
    _write(folder, "01_magics", "%%bash\necho 'if [ x'", "x = !echo 1\nassert x == ['1']", "%time 1", GOOD)
    _write(folder, "02_typo", "a = 1", "def f(:\n    pass")
    good, typo = _run(tmp_path / "build")
    assert good.failure == ""
    assert "02_typo.ipynb failed in its cell 3 which begins: def f(:" in typo.failure


@pytest.mark.slow
def test_a_kernel_that_dies_is_named_with_its_cell_and_its_memory(folder, tmp_path):
    _write(folder, "01_dies", "a = 1", "# takes too much\nimport os\nos._exit(9)")
    (outcome,) = _run(tmp_path / "build")
    assert "01_dies.ipynb failed: its kernel died in the cell which begins: # takes too much" in outcome.failure
    assert "MB. Most often memory was used up" in outcome.failure


def test_a_parameter_that_a_notebook_does_not_set_is_refused(folder, capsys):
    _write(folder, "01_good", GOOD)
    assert main(["run", "--parameter", "VALEU=1"]) == 2
    assert "01_good has no parameter 'VALEU'; it has VALUE" in capsys.readouterr().err
    bare = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("VALUE = 1")])
    nbformat.write(bare, folder / "02_bare.ipynb")
    assert main(["run", "--parameter", "VALUE=1"]) == 2
    assert "02_bare has no parameter 'VALUE'; it has none" in capsys.readouterr().err


def test_every_notebook_of_the_course_takes_a_seed():
    assert all("SEED" in notebook_runner.parameters_of(path) for path in notebook_runner.find_notebooks())


def test_a_copy_is_no_notebook_of_the_course(folder):
    for name in ("01_good", "01_good-Copy1", "01_good (2)", "notes"):
        _write(folder, name, GOOD)
    assert [path.stem for path in notebook_runner.find_notebooks()] == ["01_good"]
    with pytest.raises(ValueError, match="no notebook is called '01_good-Copy1'"):
        notebook_runner.find_notebooks(["01_good-Copy1"])


def test_a_project_is_told_how_it_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook_runner, "ROOT", tmp_path)
    (tmp_path / "projects" / "bird_calls").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"'bird_calls' is a project, .* nbconvert .*bird_calls.bird_calls.ipynb"):
        notebook_runner.find_notebooks(["bird_calls"])


def test_a_console_without_unicode_shows_the_report(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    row = {"kind": "claim", "notebook": "01_good", "statement": "ε is small", "holds": True, "measured": {"a": 1}}
    (results / "01_good.jsonl").write_text(json.dumps(row) + "\n")
    command = [sys.executable, "-m", "utils", "report", "--output", str(tmp_path)]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"? ? is small" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("busy", "set_before", "found"), [(1.0, None, "passive"), (0.2, None, "None"), (1.0, "active", "active")]
)
def test_threads_wait_asleep_beside_a_busy_program(folder, monkeypatch, capsys, busy, set_before, found):
    monkeypatch.setattr(notebook_runner, "busy_cores", lambda: busy)
    monkeypatch.delenv(notebook_runner.WAITING_VARIABLE, raising=False)
    if set_before:
        monkeypatch.setenv(notebook_runner.WAITING_VARIABLE, set_before)
    _write(folder, "01_waits", "import os\nprint(os.environ.get('OMP_WAIT_POLICY'))")
    _run(folder.parent / "build")
    cells = nbformat.read(folder.parent / "build" / "notebooks" / "01_waits.ipynb", as_version=4).cells
    assert cells[-1].outputs[0].text.strip() == found
    assert ("other programs keep 1.0 cores busy" in capsys.readouterr().out) == (found == "passive")
    assert os.environ.get(notebook_runner.WAITING_VARIABLE) == set_before


def test_a_busy_core_is_counted():
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        assert notebook_runner.busy_cores(1.0) > os.cpu_count() / 2
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_execute_stores_outputs_and_leaves_a_failing_notebook_alone(folder):
    path = _write(folder, "01_good", "print(VALUE + 1)")
    notebook_runner.execute_in_place(path)
    executed = nbformat.read(path, as_version=4)
    assert executed.cells[1].outputs[0].text == "3\n"
    assert "execution" not in executed.cells[1].metadata

    path = _write(folder, "02_bad", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"02_bad\.ipynb was left as it was"):
        notebook_runner.execute_in_place(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"3", b"\xff", b'{"seconds": 1}', b'{"fingerprint": "other", "seconds": 1}', None]
)
def test_a_damaged_stamp_or_summary_counts_as_nothing_done(tmp_path, damaged):
    for name in ("notebooks/01_good.ipynb", "results/01_good.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    measured = {"seconds": 1.0, "peak_memory_mb": 2.0, "with_workers_mb": 3.0}
    whole = json.dumps({"fingerprint": "mine", **measured}).encode()
    stamp, summary = tmp_path / "notebooks" / "01_good.done.json", tmp_path / "results" / "run.json"
    stamp.write_bytes(whole)
    assert notebook_runner.finished(tmp_path, "01_good", "mine") == notebook_runner.Outcome("01_good", 1.0, 2.0, 3.0)
    for path in (stamp, summary):
        path.write_bytes(whole[:20] if damaged is None else damaged)
    assert notebook_runner.finished(tmp_path, "01_good", "mine") is None
    assert notebook_runner.read_summary(tmp_path) == {"total_seconds": 0.0, "notebooks": {}}


def test_a_place_that_cannot_be_written_to_is_named_with_the_remedy(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").touch()
    assert main(["run", "00", "--output", str(tmp_path / "taken")]) == 2
    said = capsys.readouterr().err
    assert f"cannot write to {tmp_path / 'taken'}" in said
    assert "--output" in said

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_report, "replace_file", full)
    assert main(["report", "--output", str(tmp_path / "new")]) == 2
    assert "No space left on device); free some space" in capsys.readouterr().err


def test_notebooks_are_found_by_number_and_name():
    paths = [path.stem for path in notebook_runner.find_notebooks()]
    assert paths == sorted(paths)
    assert [p.stem for p in notebook_runner.find_notebooks(["01", "00_start_here.ipynb"])] == paths[:2]
    with pytest.raises(ValueError, match="no notebook is called '77'"):
        notebook_runner.find_notebooks(["77"])


def test_wrong_usage_is_a_clear_message(capsys):
    assert main(["run", "--parameter", "SEED"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert main(["run", "nothing_like_it"]) == 2
    assert "no notebook is called" in capsys.readouterr().err
    assert main(["checkpoints", "LeNet6"]) == 2
    assert "no recipe for 'LeNet6'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["unknown"])


def test_papermill_is_imported_only_when_there_is_something_to_execute():
    """Its import takes seconds, and a run in which nothing changed should take none."""
    code = "import sys, utils.course.notebook_runner as r; r.find_notebooks(); print('papermill' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("seconds", "memory", "said"),
    [
        (1020, 2000, "both hold on this run: 17.0 of 17 minutes (holds); 2,000 of 2,000 MB"),
        (1080, 1999, "NOT BOTH HOLD on this run: 18.0 of 17 minutes (MISSED); 1,999 of 2,000 MB"),
        (60, 2001, "2,001 of 2,000 MB for a kernel, in 02_b (MISSED)"),
    ],
)
def test_the_report_says_whether_time_and_memory_are_within_their_goals(tmp_path, monkeypatch, seconds, memory, said):
    monkeypatch.setattr(run_report, "machine_class", lambda: "x86-64 avx2")
    small, large = ({"seconds": 1.0, "peak_memory_mb": mb, "with_workers_mb": 3000.0} for mb in (100.0, memory))
    times = {"01_a": small, "02_b": large}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "run.json").write_text(json.dumps({"total_seconds": seconds, "notebooks": times}))
    text = run_report.write_report(tmp_path)
    assert said in text
    assert "| at most | 1020 | 2,000 | |" in text


def test_a_report_of_nothing_says_so(tmp_path):
    text = run_report.write_report(tmp_path)
    assert "Goals: nothing was run." in text
    assert "0 of 0 claims hold" in text
    assert "Not run, or failed: 00_start_here" in text


def test_the_report_says_what_this_machine_does_differently_and_sums_up_the_guesses(tmp_path, monkeypatch):
    monkeypatch.setattr(run_report, "measured_elsewhere", lambda *_: {"x86-64 avx512-vnni": {"speedup": 2.5}})
    claim = {"kind": "claim", "notebook": "09_x", "holds": False, "machine": True, "measured": {"speedup": 1.4}}
    guess = {"kind": "prediction", "notebook": "09_x", "unit": "x", "measured": 6.0}
    rows = [
        claim | {"statement": "int8 is at least 1.9 times as fast"},
        guess | {"question": "how much smaller?", "guess": 4.0},
        guess | {"question": "how much faster?", "guess": 2.0},
        guess | {"question": "not guessed", "guess": None},
    ]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "09_x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = run_report.write_report(tmp_path)
    assert "0 of 0 claims hold, and 0 of 1 about this machine" in text
    assert "- 09: not here: int8 is at least 1.9 times as fast (speedup = 1.4x)" in text
    assert "  - x86-64 avx512-vnni: speedup = 2.5x" in text
    assert "2 guesses for 3 questions. Your median guess was off by a factor of 2.2." in text


@pytest.mark.slow
def test_a_promise_of_the_reference_run_is_enforced_after_a_second_try(folder, tmp_path, monkeypatch, capsys):
    """On a pretended class whose reference run holds a claim about the clock that this run misses."""
    source = """from utils.claims import begin, claim_about_this_machine
begin("01_slow")
claim_about_this_machine("it is fast", lambda: {"speedup": 1.0}, lambda m: m["speedup"] > 2);"""
    _write(folder, "01_slow", source)
    machine = {key: environment()[key] for key in ("processor", "instruction_sets")}
    about = {"kind": "run", "class": "toy", "date": "2026-01-01", "machine": machine, "notebooks": {}}
    promise = {"kind": "claim", "notebook": "01_slow", "statement": "it is fast", "holds": True, "machine": True}
    monkeypatch.setattr(reference_runs, "reference_runs", lambda: {"toy": (about, [promise | {"measured": {"a": 1}}])})
    monkeypatch.setattr(reference_runs, "machine_class", lambda: "toy")
    arguments = ["run", "--output", str(tmp_path / "build")]
    assert main(arguments) == 0, "a learner's run is never stopped by the clock"
    assert main([*arguments, "--enforce-machine-claims"]) == 1
    said = capsys.readouterr().err
    assert "missed twice: 01_slow: it is fast" in said
    assert "Missed twice: 1 of 1 promises about this machine (too many)." in said

    waiting = source.replace('begin("01_slow")', 'begin("01_slow"); import time; time.sleep(3)')
    _write(folder, "01_slow", waiting)
    assert main([*arguments, "--enforce-machine-claims", "--within", "0.05"]) == 0
    assert "missed once, no time was left to try again: 01_slow: it is fast" in capsys.readouterr().err

    kept = source + '\nfor i in range(19):\n    claim_about_this_machine(f"{i}", lambda: {"a": 1}, lambda m: True)'
    _write(folder, "01_slow", kept)
    promises = [promise | {"statement": name, "measured": {"a": 1}} for name in ("it is fast", *map(str, range(19)))]
    monkeypatch.setattr(reference_runs, "reference_runs", lambda: {"toy": (about, promises)})
    assert main([*arguments, "--enforce-machine-claims"]) == 0, "one promise of twenty may be missed"
    assert "Missed twice: 1 of 20 promises about this machine (one in twenty may be missed)." in capsys.readouterr().err

    for key, known in list(machine.items()):
        machine[key] = "another"
        assert main([*arguments, "--enforce-machine-claims"]) == 0, "nothing is promised from one processor to another"
        machine[key] = known
    monkeypatch.setattr(reference_runs, "machine_class", lambda: "unknown")
    assert main([*arguments, "--enforce-machine-claims"]) == 0, "nothing is promised for a class without a run"
