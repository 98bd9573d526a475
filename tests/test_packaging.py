"""What a fresh clone is set up from: pins that fit the ranges, two commands, a README that knows every file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def pinned(python: str) -> dict[str, str]:
    """Return the pins that apply to a Python version."""
    found: dict[str, str] = {}
    for requirement in map(Requirement, PINS):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = str(requirement.specifier)[2:]
    return found


def ranges() -> list[Requirement]:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [r for lines in lists for r in map(Requirement, lines) if r.name != PROJECT["name"]]


def test_every_constraint_is_an_exact_version_and_nothing_of_one_machine():
    for line in PINS:
        assert re.fullmatch(r'[A-Za-z0-9._-]+==[A-Za-z0-9.]+( ; python_version (<|>=) "3\.\d+")?', line), line
    assert "torch==2.13.0" in PINS


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(python):
    pins = pinned(python)
    for requirement in ranges():
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} does not admit the tested {version}"


def test_jupyterlab_stays_out_of_the_environment_that_tests():
    extras = PROJECT["optional-dependencies"]
    assert [Requirement(line).name for line in extras["lab"]] == ["jupyterlab", "anywidget"]
    assert not any("jupyterlab" in line for name in ("book", "test") for line in extras[name])


def test_ci_calls_make_test_and_nothing_else():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert lines == ["make test"]


def test_set_up_installs_torch_first_and_by_itself():
    steps = subprocess.run(["make", "-n", "-B", "book"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    installs = [line for line in steps if "pip install" in line]
    assert "torch==" in installs[0] and "-e" not in installs[0].split()
    assert ".[book,test]" in installs[1] and "-c constraints.txt" in installs[1]


def test_readme_and_contributing_name_what_there_is():
    readme = (ROOT / "README.md").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    told = readme + (ROOT / "CONTRIBUTING.md").read_text()
    assert not [target for target in targets if f"`make {target}" not in told]
    package = ROOT / "src" / "finetunelab"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    unnamed = [
        str(path) for path in modules
        if path.parent.name != "experiments" and path != Path("__init__.py") and path != Path("worlds/__init__.py")
        and f"`{path}`" not in readme and f"`{path.name}`" not in readme
    ]
    assert not unnamed, "the README has a line for every file of the package"
    gone = [name for name in re.findall(r"`([a-z_]+\.py)`", readme.split("## The package")[1]) if not any(ROOT.glob(f"**/{name}"))]
    assert not gone


def test_data_files_of_the_package_are_shipped():
    import fnmatch

    package = ROOT / "src" / "finetunelab"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["finetunelab"]
    files = [path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    data = [name for name in files if not name.endswith(".py")]
    assert data
    assert not [name for name in data if not any(fnmatch.fnmatch(name, pattern.replace("**/*", "*")) for pattern in patterns)]


def test_no_file_names_a_registry_or_its_options():
    options = ("--index-" + "url", "--extra-index-" + "url", "--find-" + "links", "pythonhosted." + "org", "pypi." + "org")
    files = [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "constraints.txt", "pyproject.toml", ".ci/run")]
    files += [*ROOT.glob("book/*.md"), *ROOT.glob("labs/*.ipynb")]
    assert not [(path.name, option) for path in files for option in options if option in path.read_text(encoding="utf-8")]
