"""The container, the workflow, the hooks and the templates run the README's commands, and name what is there."""

import json
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from utils.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "course.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _commands(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_container_and_the_devcontainer_run_the_readmes_commands():
    said = [*re.findall(r"^RUN (make .*)$", DOCKERFILE, flags=re.MULTILINE)]
    said.append(" ".join(json.loads(re.search(r"^CMD (.*)$", DOCKERFILE, flags=re.MULTILINE)[1])))
    devcontainer = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert f"FROM debian:12 AS {devcontainer['build']['target']}" in DOCKERFILE
    said.append(devcontainer["postCreateCommand"])
    assert len(said) == 3
    for command in said:
        assert command in README, command


def test_the_workflow_covers_the_pythons_that_the_package_allows():
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    for job in WORKFLOW["jobs"].values():
        assert job["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(low), int(high))]
    assert _commands("test") == ["make test"]
    install, run = _commands("windows")
    assert install.removeprefix("python ") in README
    assert run in README


def test_the_hooks_call_what_is_there():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    for hook in repository["hooks"]:
        for word in hook["entry"].split():
            assert not word.startswith("tests/") or (ROOT / word).is_file(), word


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_an_issue_asks_for_the_stamp_of_the_environment(path):
    template = yaml.safe_load(path.read_text(encoding="utf-8"))
    (stamp,) = [field for field in template["body"] if field.get("id") == "stamp"]
    assert stamp["validations"]["required"]
    assert template["name"]
    assert template["description"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("script", ["run", "fresh-debian"])
def test_the_scripts_are_whole(script):
    subprocess.run(["bash", "-n", ROOT / ".ci" / script], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_ci_goes_on_without_a_browser_and_says_so(tmp_path):
    """On a machine whose apt-get fails: one sentence, and then the tests."""
    for name, what in {"apt-get": "exit 100", "make": 'echo "make $*"', "timeout": 'shift; exec "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{what}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "sh", "dirname", "id", "mktemp", "tail"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [tmp_path / "bash", ROOT / ".ci" / "run"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    assert "There is no Chromium here: the tests of the website in a browser will be skipped." in said
    assert "There is no Node here: the tests of the website's JavaScript outside a browser will be skipped." in said
    assert said[-1] == "make test"
