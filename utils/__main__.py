"""The command line: ``python -m utils COMMAND``, the same on every system; the Makefile only calls it."""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from utils.files import ROOT

BUILD = ROOT / "build"

HANDOUTS = {
    "student": "write a folder with the course to hand out: blank exercises, no outputs, no solutions",
    "solutions": "write a folder with the course, its exercises solved",
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, carry it out and return the exit status: 0, 1 if something failed, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m utils", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute the notebooks into build/, then write and print the report")
    run.add_argument("notebooks", nargs="*", help="numbers or names; all of them if none is given")
    run.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="such as SEED=1")
    run.add_argument("--output", type=Path, default=BUILD, help="another folder than build/")
    run.add_argument("--fail-fast", action="store_true", help="stop at the first notebook that fails")
    run.add_argument("--enforce-machine-claims", action="store_true", help="fail where the reference run's clock holds")
    run.add_argument("--force", action="store_true", help="execute also what has not changed")
    run.add_argument("--processes", type=int, default=1, help="notebooks side by side; their times are then too long")
    run.add_argument(
        "--within", type=float, metavar="MINUTES", help="begin none later; each day others come first, if side by side"
    )

    report = commands.add_parser("report", help="write and print the report of what was run")
    report.add_argument("--output", type=Path, default=BUILD, help="another folder than build/")
    report.add_argument("--project", metavar="NAME", help="of a project instead, by its name or folder")

    project = commands.add_parser("project", help="start a project of your own from notebook 22 (see: lesson 22)")
    project.add_argument("name", help="small letters, digits and underscores, such as bird_calls")
    project.add_argument("--folder", type=Path, help="another folder than projects/NAME; it must be empty")

    execute = commands.add_parser("execute", help="execute notebooks in place and store their new outputs")
    execute.add_argument(
        "notebooks", nargs="+", type=Path, help="files, such as notebooks/01_measuring_a_network.ipynb"
    )

    checkpoints = commands.add_parser(
        "checkpoints", help="list the networks in data/checkpoints/, or train those that are named again"
    )
    checkpoints.add_argument("names", nargs="*", help="names of networks to train; if none is given, all are listed")
    checkpoints.add_argument("--all", action="store_true", help="train all of them, which takes hours")

    experiments = commands.add_parser(
        "experiments", help="list the long experiments in data/experiments/, or run those that are named"
    )
    experiments.add_argument("names", nargs="*", help="names of experiments to run; if none is given, all are listed")

    gallery = commands.add_parser("gallery", help="try every tool on seven networks of others (see: lesson 22)")
    gallery.add_argument("names", nargs="*", help="names of networks; if none is given, all are tried")
    gallery.add_argument("--markdown", action="store_true", help="print the table as it stands in the lesson")

    reference = commands.add_parser("reference", help="make the last run this class of machine's reference run")
    reference.add_argument("--output", type=Path, default=BUILD, help="another folder than build/")

    platforms = commands.add_parser("platforms", help="see where the pins resolve, and write README's table (needs uv)")
    platforms.add_argument("--pin", action="store_true", help="write constraints.txt from requirements.txt first")

    site = commands.add_parser("site", help="build the website from the stored outputs (see: make site)")
    site.add_argument("--output", type=Path, default=BUILD / "site", help="another folder than build/site")

    for name, what in HANDOUTS.items():
        handout = commands.add_parser(name, help=what)
        handout.add_argument("--output", type=Path, default=BUILD / name, help=f"another folder than build/{name}")

    new_class = commands.add_parser("class", help="write the folder of a class for nbgrader (see: lessons/teaching.md)")
    new_class.add_argument("--output", type=Path, default=BUILD / "class", help="another folder than build/class")
    new_class.add_argument("--seed", type=int, help="of the cases that answers are graded with; drawn if not given")

    grade = commands.add_parser("grade", help="grade the submissions of a class, each in a sandbox")
    grade.add_argument("folder", type=Path, help="the class's folder, with submitted/STUDENT/ASSIGNMENT/")
    grade.add_argument("--workers", type=int, help="of a cluster on this machine; one for each core if not given")
    grade.add_argument("--scheduler", metavar="tcp://...", help="the address of a Dask scheduler, in place of these")
    grade.add_argument("--sandbox", choices=("bubblewrap", "namespaces", "none"), help="the strongest if not given")
    grade.add_argument("--seconds", type=float, help="for an exercise that is no challenge")
    grade.add_argument("--force", action="store_true", help="grade also what has a verdict")

    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without Unicode shows ? for a sign that it does not have
            stream.reconfigure(errors="replace")
    try:
        return _COMMANDS[options.command](options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from utils.course import notebook_runner as runner

    chosen = runner.find_notebooks(options.notebooks)
    parameters = dict(_parameter(text) for text in options.parameter)
    runner.require_parameters(chosen, parameters)
    if options.within is not None and not options.within > 0:
        raise ValueError(f"--within must be more than 0 minutes, got {options.within:g}")
    until = math.inf if options.within is None else time.time() + 60 * options.within
    how = {"parameters": parameters, "output": options.output, "fail_fast": options.fail_fast, "force": options.force}
    outcomes = runner.run(chosen, **how, processes=options.processes, until=until)
    broken, promised, tried = [], 0, set()
    if options.enforce_machine_claims:
        broken, promised = _broken_promises(options.output)
    if again := {row["notebook"] for row in broken}:
        print("Again, alone, since the clock promised more on this class of machine:", ", ".join(sorted(again)))
        repeated = [path for path in chosen if path.stem in again]
        tried = {outcome.notebook for outcome in runner.run(repeated, **(how | {"force": True}), until=until)}
        broken, promised = _broken_promises(options.output)
    _report(options)
    twice = [row for row in broken if row["notebook"] in tried]
    for row in broken:
        missed = "missed twice" if row in twice else "missed once, no time was left to try again"
        print(f"Held by the reference run, {missed}: {row['notebook']}: {row['statement']}", file=sys.stderr)
    too_many = len(twice) > _PROMISES_TO_MISS * promised
    if twice:
        verdict = "too many" if too_many else "one in twenty may be missed"
        print(f"Missed twice: {len(twice)} of {promised} promises about this machine ({verdict}).", file=sys.stderr)
    failed = [outcome.notebook for outcome in outcomes if outcome.failure]
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or too_many else 0


# a fault of ours (threads, a kernel not taken) breaks many promises at once, a busy neighbour one or two
_PROMISES_TO_MISS = 1 / 20


def _broken_promises(output: Path) -> tuple[list[dict], int]:
    """Return the claims about this machine that the last run missed, and the number promised."""
    from utils.claims import read_results
    from utils.course.write_reference_run import broken_promises
    from utils.environment import environment
    from utils.reference_runs import machine_class, reference_runs

    about, reference = reference_runs().get(machine_class(), ({}, []))
    here, there = environment(), about.get("machine", {})
    if any(there.get(key) != here[key] for key in ("processor", "instruction_sets")):
        return [], 0  # one class has several processors, some of one name; the clock promises nothing between them
    return broken_promises(read_results(output / "results"), reference)


def _parameter(text: str) -> tuple[str, object]:
    """Split NAME=VALUE; the value is JSON if it can be, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"a parameter is written NAME=VALUE, such as SEED=1; got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _report(options: argparse.Namespace) -> int:
    if getattr(options, "project", None):
        from utils.course.project_report import what_is_missing, write_project_report

        print(f"Written: {write_project_report(options.project)}")
        if unfinished := what_is_missing(options.project):
            print(unfinished)
        return 0
    from utils.course.run_report import write_report

    print(write_report(options.output))
    return 0


def _project(options: argparse.Namespace) -> int:
    from utils.course.projects import start_project

    notebook = start_project(options.name, options.folder)
    print(f"Started: {notebook}\nOpen it in JupyterLab, change what is marked, and run it; then:")
    print(f"python -m utils report --project {options.name if options.folder is None else options.folder}")
    return 0


def _execute(options: argparse.Namespace) -> int:
    from utils.course import notebook_runner

    for path in options.notebooks:
        print(f"{path.name} ...", flush=True)
        notebook_runner.execute_in_place(path)
    return 0


def _checkpoints(options: argparse.Namespace) -> int:
    from utils.recipes import registry

    names = registry.in_order(registry.CHECKPOINTS if options.all else options.names)
    if not names:
        print(registry.listing())
    for name in names:
        about = registry.train(name)
        print(f"{name}: validation {about['validation_accuracy']:.2%}, test {about['test_accuracy']:.2%}", flush=True)
    return 0


def _experiments(options: argparse.Namespace) -> int:
    from utils.recipes.registry import EXPERIMENTS

    if unknown := sorted(set(options.names) - EXPERIMENTS.keys()):
        raise ValueError(f"there is no experiment {unknown[0]!r}; there are: {', '.join(EXPERIMENTS)}")
    for name in options.names or EXPERIMENTS:
        print(EXPERIMENTS[name].run() if options.names else f"{name:<24}{EXPERIMENTS[name].MINUTES:>4} minutes")
    return 0


def _gallery(options: argparse.Namespace) -> int:
    from utils.experiment_files import read_experiment
    from utils.recipes import gallery

    if unknown := sorted(set(options.names) - gallery.NETWORKS.keys()):
        known = ", ".join(gallery.NETWORKS)
        raise ValueError(f"there is no network {unknown[0]!r} in the gallery; there are: {known}")
    text = gallery.run(options.names or list(gallery.NETWORKS))
    print(gallery.as_markdown(read_experiment(gallery.NAME)[1]) if options.markdown else text)
    return 0


def _reference(options: argparse.Namespace) -> int:
    from utils.course.write_reference_run import write_reference

    print(write_reference(options.output))
    return 0


def _platforms(options: argparse.Namespace) -> int:
    from utils.course.pin_resolution import write_constraints, write_table

    if options.pin:
        write_constraints()
    table, all_resolve = write_table()
    print(table)
    return 0 if all_resolve else 1


def _site(options: argparse.Namespace) -> int:
    from utils.course.site import build_site

    pages = build_site(options.output)
    print(f"Written: {pages}; to look at it: python -m http.server --bind 127.0.0.1 --directory {pages}")
    return 0


def _handout(options: argparse.Namespace) -> int:
    from utils.course.handouts import write_solutions_folder, write_student_folder

    write = {"student": write_student_folder, "solutions": write_solutions_folder}[options.command]
    print(f"Written: {write(options.output)}")
    return 0


def _class(options: argparse.Namespace) -> int:
    from utils.course.classroom_folder import write_class_folder

    print(f"Written: {write_class_folder(options.output, seed=options.seed)}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    from utils.course import classroom_grading, classroom_reports
    from utils.course.classroom_sandbox import Limits

    limits = Limits() if options.seconds is None else Limits(seconds=options.seconds)
    how = {name: getattr(options, name) for name in ("scheduler", "workers", "sandbox", "force")}
    outcome = classroom_grading.grade(options.folder, classroom_grading.Options(limits=limits, **how))
    page = classroom_reports.write_reports(options.folder)
    if classroom_reports.write_gradebook(options.folder):
        print("The points are in nbgrader's gradebook too.")
    print(classroom_reports.printed_summary(options.folder))
    print(f"{outcome.graded} graded now, {outcome.known} before. For you: {page}")
    for each in outcome.failed:
        print(f"Not graded: {each}", file=sys.stderr)
    return 1 if outcome.failed else 0


_COMMANDS = {
    "run": _run,
    "report": _report,
    "project": _project,
    "execute": _execute,
    "checkpoints": _checkpoints,
    "experiments": _experiments,
    "gallery": _gallery,
    "reference": _reference,
    "platforms": _platforms,
    "site": _site,
    "student": _handout,
    "solutions": _handout,
    "class": _class,
    "grade": _grade,
}


if __name__ == "__main__":
    sys.exit(main())
