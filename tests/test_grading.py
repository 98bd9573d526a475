"""The reference gets everything, the empty hand-in nothing, a mistake costs its own exercise, and a hostile hand-in harms only itself."""

from __future__ import annotations

import ast
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from finetunelab import cli
from finetunelab.grading import assignments, checks, examiner, wire
from finetunelab.grading import grade as grading

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTOR = ROOT / "labs" / "instructor"
EXERCISES = {
    "01a": 8, "01b": 8, "02a": 5, "02b": 5, "03a": 5, "03b": 5, "03c": 5, "04a": 5, "04b": 5, "04c": 5, "05a": 5, "05b": 5, "05c": 5,
    "06": 5,
}
NAMES = tuple(EXERCISES)
ASSIGNMENTS = {name: assignments.assignment(name, INSTRUCTOR) for name in NAMES}
WRONG = [(name, path.stem) for name in NAMES for path in sorted((INSTRUCTOR / name / "wrong").glob("*.py"))]
# The last exercise of each, which takes the longest to mark.
OPEN = {
    "01a": "detect_spam", "01b": "learn_and_keep", "02a": "name_topics", "02b": "adapt", "03a": "teach", "03b": "train_assistant", "03c": "choose",
    "04a": "settle", "04b": "improve", "04c": "pick", "05a": "crossing", "05b": "fuse", "05c": "leaks",
    "06": "choose",
}
POINTS = 30


def quiet(line):
    pass


def cells(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "handin.ipynb"
    path.write_text(text)
    return assignments.code_cells(path)


# What students get ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
class TestAssignment:
    def test_committed_notebook_is_what_is_generated(self, name, tmp_path):
        path = assignments.make(name, INSTRUCTOR, tmp_path)
        committed = ROOT / "labs" / "assignments" / path.name
        assert committed.read_text() == path.read_text(), f"run: finetunelab assignment make {name}"

    def test_is_a_notebook_with_stubs_and_checks_and_no_solution(self, name):
        import nbformat

        text = ASSIGNMENTS[name].notebook()
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
        assert tags.count("exercise") == tags.count("check") == len(ASSIGNMENTS[name].exercises) == EXERCISES[name]
        assert text.count("raise NotImplementedError(\\\"") == EXERCISES[name] and "SOLUTION" not in text
        for source in ASSIGNMENTS[name].exercises.values():
            solution = source.split(assignments.BEGIN)[1].split(assignments.END)[0]
            assert not [line for line in solution.splitlines() if len(line.strip()) > 20 and line.strip() in text]
        assert not any(cell.get("outputs") for cell in notebook.cells)
        assert "%pip install" in next(cell.source for cell in notebook.cells if cell.cell_type == "code")

    def test_visible_checks_pass_with_the_solution_and_fail_with_the_stub(self, name, capsys):
        given, space = ASSIGNMENTS[name], {}
        for cell in given.cells:
            if cell.kind != "markdown":
                exec(cell.source, space)
        for cell in given.cells:
            if cell.kind == "exercise":
                exec(assignments._stubbed(cell.source), space)
            elif cell.kind == "check":
                with pytest.raises(NotImplementedError):
                    exec(cell.source, space)

    def test_titles_give_the_points(self, name):
        told = [int(cell.source.split(" points)")[0].rsplit("(", 1)[1]) for cell in ASSIGNMENTS[name].cells if "points)" in cell.source]
        hidden = checks.load(INSTRUCTOR / name)
        assert told == [sum(check.points for check in hidden if check.exercise == exercise) for exercise in ASSIGNMENTS[name].exercises]
        assert sum(told) == POINTS

    def test_feedback_names_no_numbers_of_the_hidden_checks(self, name):
        for check in checks.load(INSTRUCTOR / name):
            assert not [word for word in f"{check.tests} {check.hint}".split() if len(word.strip(".,%;:")) > 2 and word[0].isdigit()]
            assert check.tests.endswith(".") and check.hint[-1] in ".?"


# Right, empty and wrong -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker():
    with examiner.Worker([INSTRUCTOR]) as started:
        yield started


@pytest.fixture(scope="module")
def marks(worker, tmp_path_factory):
    """Every reference, stub and wrong hand-in, marked once. The open exercise, which takes long, is asked only of those about it."""
    found = {}
    tmp_path = tmp_path_factory.mktemp("marks")
    for name, given in ASSIGNMENTS.items():
        whole, short = {"reference": cells(given.notebook(True), tmp_path), "stub": cells(given.notebook(), tmp_path)}, {}
        for stem in (stem for owner, stem in WRONG if owner == name):
            source = (INSTRUCTOR / name / "wrong" / f"{stem}.py").read_text()
            function = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)][-1]
            (whole if function == OPEN[name] else short)[stem] = cells(given.notebook(True, {function: source}), tmp_path)
            found[name, stem, "replaced"] = function
        hidden = checks.load(INSTRUCTOR / name)
        for asked, handins in ((hidden, whole), ([check for check in hidden if check.exercise != OPEN[name]], short)):
            found |= {(name, mark.name): mark for mark in grading.examine(worker, asked, handins, quiet)}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_reference_gets_everything_and_stub_nothing(marks, name):
    assert (marks[name, "reference"].points, marks[name, "reference"].of) == (POINTS, POINTS), marks[name, "reference"].lost()
    assert marks[name, "reference"].remark == "" and not marks[name, "reference"].errors
    assert (marks[name, "stub"].points, marks[name, "stub"].of) == (0, POINTS)
    assert {outcome.failure for outcome in marks[name, "stub"].outcomes} == {"it is not written yet"}


def test_there_are_enough_mistakes():
    assert all(sum(owner == name for owner, _ in WRONG) >= 8 for name in NAMES)


@pytest.mark.parametrize(("name", "stem"), WRONG)
def test_a_mistake_costs_points_on_its_own_exercise_alone(marks, name, stem):
    assert marks[name, stem].lost() == {marks[name, stem, "replaced"]}


# Hostile hand-ins -------------------------------------------------------------------------------------------------------------

# One hand-in, the reference of 01a, has a cell for each of these. An attack that succeeds says so by an error that the mark lists.
ATTACK = "try:\n    {}\nexcept (PermissionError, ModuleNotFoundError):\n    pass\nelse:\n    raise RuntimeError('{} succeeded')"
REFUSED = {
    "reads_hidden_checks": f"open({str(INSTRUCTOR / '01a' / 'hidden.py')!r}).read()",
    "reads_by_descriptor": f"import os; os.open({str(INSTRUCTOR / '01a' / 'hidden.py')!r}, os.O_RDONLY)",
    "reads_with_numpy": f"np.fromfile({str(INSTRUCTOR / '01a' / 'hidden.py')!r}, dtype='u1')",
    "lists_the_teachers_folder": f"import os; os.listdir({str(INSTRUCTOR)!r})",
    "reads_around_by_dots": f"open('/'.join([*['..'] * 12, {str(INSTRUCTOR / '01a' / 'hidden.py')[1:]!r}])).read()",
    "imports_hidden_checks": f"import sys; sys.path.insert(0, {str(INSTRUCTOR / '01a')!r}); import hidden",
    "reads_another_handin": "open({folder!r} + '/a_reference.ipynb').read()",
    "overwrites_another_handin": "open({folder!r} + '/z_reference.ipynb', 'w').write('')",
    "writes_elsewhere": "open({folder!r} + '/grades.csv', 'w').write('100')",
    "links_out": "import os; os.symlink({folder!r}, 'way'); open('way/a_reference.ipynb').read()",
    "reads_memory_of_the_worker": "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
    "kills_the_worker": "import os, signal; os.kill(os.getppid(), signal.SIGTERM)",
    "opens_a_socket": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "forks": "import os; os.fork() or os._exit(0)",
    "runs_a_program": "import subprocess; subprocess.run(['true'])",
    "calls_the_system": "import ctypes; ctypes.CDLL(None)",
    "looks_for_the_hook": "import gc; gc.get_objects()",
    "raises_its_limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (9999, 9999))",
    "starts_an_interpreter": "import _xxsubinterpreters as other; other.create()",
    "changes_folder": "import os; os.chdir('/')",
    "nothing": "pass",
}
# Each of these is the reference and one cell that does harm, with the exercises that lose points by it. A full stop stands for all.
HARM = {
    "syntax_error": ("def broken(:", set()),
    "error_in_a_cell": ("1 / 0", set()),
    "exit_in_a_cell": ("exit()", set()),
    "exit_in_a_function": ("def mmd2(*_):\n    exit()", {"mmd2"}),
    "leaves_in_a_cell": ("import os\nos._exit(0)", "."),
    "leaves_in_a_function": ("import os\ndef mmd2(*_):\n    os._exit(0)", {"mmd2"}),
    "crashes": ("import faulthandler\ndef mmd2(*_):\n    faulthandler._read_null()", {"mmd2"}),
    "loops_in_a_cell": ("while True:\n    pass", "."),
    "loops_in_a_function": ("def mmd2(*_):\n    while True:\n        pass", {"mmd2"}),
    "holds_on": (
        "import time\ndef mmd2(*_):\n    while True:\n        try:\n            time.sleep(99)\n"
        "        except BaseException:\n            pass", {"mmd2"},
    ),
    "prints_three_million_lines": ("for i in range(3_000_000):\n    print(i)", set()),
    "memory_bomb": ("def mmd2(*_):\n    hoard = []\n    while True:\n        hoard.append(bytearray(2**26))", {"mmd2"}),
    "memory_bomb_of_small_things": ("def mmd2(*_):\n    hoard = []\n    while True:\n        hoard.append([0] * 10_000)", {"mmd2"}),
    "many_files": ("for i in range(3_000):\n    open(str(i), 'w').close()\nimport time\ntime.sleep(1)", "."),
    "many_bytes": ("for i in range(8):\n    open(str(i), 'wb').write(b'0' * 9_000_000)\nimport time\ntime.sleep(1)", "."),
    "huge_file": ("def mmd2(*_):\n    open('huge', 'wb').write(b'0' * 30_000_000)", {"mmd2"}),
    "deep_recursion": ("def mmd2(*_):\n    return mmd2()", {"mmd2"}),
    "returns_something_huge": ("def mmd2(*_):\n    return np.zeros(30_000_000)", {"mmd2"}),
    "returns_something_deep": ("def mmd2(*_):\n    x = []\n    for _ in range(100_000):\n        x = [x]\n    return x", {"mmd2"}),
    "equals_everything": (
        "class Same(float):\n    __eq__ = __ge__ = __le__ = __lt__ = __gt__ = lambda *_: True\ndef mmd2(*_):\n    return Same(7)", {"mmd2"},
    ),
    "malicious_reduce": (
        "class Bomb:\n    def __reduce__(self):\n        return eval, ('1/0',)\ndef mmd2(*_):\n    return Bomb()", {"mmd2"},
    ),
    "objects_in_an_array": ("def mmd2(*_):\n    return np.array([lambda: 1], dtype=object)", {"mmd2"}),
    "patches_abs": ("import builtins\nbuiltins.abs = lambda x: 0\ndef mmd2(*_):\n    return 7.0", {"mmd2"}),
    "patches_comparisons": (
        "import builtins, math\nnp.allclose = np.array_equal = math.isclose = lambda *a, **k: True\nbuiltins.isinstance = lambda *a: True\n"
        "def mmd2(*_):\n    return 7.0", ".",
    ),
    "speaks_for_the_grader": (
        "import sys, struct\ndef mmd2(*_):\n    frame = sys._getframe()\n"
        "    while 'channel' not in frame.f_locals:\n        frame = frame.f_back\n"
        "    body = b'{\"result\": [{\"array\": [\"object\", [1], \"AAAA\"]}]}'\n"
        "    frame.f_locals['channel'].sendall(struct.pack('>Q', len(body)) + body)", {"mmd2"},
    ),
    "sends_an_endless_message": (
        "import sys\ndef mmd2(*_):\n    frame = sys._getframe()\n    while 'channel' not in frame.f_locals:\n        frame = frame.f_back\n"
        "    while True:\n        frame.f_locals['channel'].sendall(b'\\0\\0\\0\\0\\3' + b' ' * 2**20)", {"mmd2"},
    ),
    "tells_what_it_was_asked": (
        "def new_word_share(source, target):\n    print(source, target)\n"
        "    raise type('Z' + ''.join(c for c in str(target) if c.isalpha()), (Exception,), {})(target)",
        {"new_word_share"},
    ),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """One class with all of them, graded by the command's own function, between two honest hand-ins."""
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out")
    given = ASSIGNMENTS["01a"]
    honest = given.notebook(True)

    def hand_in(name, *sources):
        notebook = json.loads(honest)
        notebook["cells"] += [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))

    for name in ("a_reference", "z_reference"):
        hand_in(name)
    hand_in("attacks", *(ATTACK.format(attack.replace("{folder!r}", repr(str(folder))), name) for name, attack in REFUSED.items()))
    for name, (source, _) in HARM.items():
        hand_in(name, source)
    (folder / "corrupt.ipynb").write_text(honest[:2000])
    (folder / "no_notebook.ipynb").write_text("[1, 2]")
    (folder / "deep.ipynb").write_text("[" * 200_000)
    edited = json.loads(given.notebook())
    for cell in edited["cells"]:
        if "check" in cell["metadata"].get("tags", []):
            cell["source"] = "assert True"
    (folder / "edits_visible_checks.ipynb").write_text(json.dumps(edited))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examiner, "CALL", 3.0)
        patch.setattr(examiner, "CELLS", 8.0)
        patch.setattr(grading, "grade", lambda *arguments, run=grading.grade: found.extend(run(*arguments)) or found)
        assert cli.main(["grade", "01a", str(folder), "--out", str(out), "--instructor", str(INSTRUCTOR)]) == 0
    return {mark.name: mark for mark in found}, folder, out


@pytest.mark.parametrize("name", ["a_reference", "z_reference"])
def test_the_honest_are_not_disturbed(hostile, name):
    found, folder, _ = hostile
    assert found[name].points == POINTS and not found[name].remark
    assert json.loads((folder / f"{name}.ipynb").read_text()) == json.loads(ASSIGNMENTS["01a"].notebook(True))


def test_attacks_are_refused(hostile):
    mark = hostile[0]["attacks"]
    assert [error.split(": ", 1)[1] for error in mark.errors] == ["RuntimeError: nothing succeeded"]
    assert mark.points == POINTS


@pytest.mark.parametrize("name", HARM)
def test_harm_is_to_oneself(hostile, name):
    mark, lost = hostile[0][name], HARM[name][1]
    if lost == ".":
        assert mark.points == 0 and mark.of == POINTS and mark.remark
    else:
        assert mark.lost() == lost, mark.remark


@pytest.mark.parametrize("name", ["corrupt", "no_notebook", "deep"])
def test_what_cannot_be_read_gets_its_own_zero(hostile, name):
    assert hostile[0][name].points == 0 and "not a notebook" in hostile[0][name].remark


def test_edited_visible_checks_gain_nothing(hostile):
    assert hostile[0]["edits_visible_checks"].points == 0


def test_output_is_dropped_and_noted(hostile):
    assert "prints a lot" in hostile[0]["prints_three_million_lines"].remark


def test_marks_are_a_table_and_every_handin_has_its_page(hostile):
    found, folder, out = hostile
    rows = list(csv.DictReader((out / "grades.csv").open()))
    assert list(rows[0]) == ["hand-in", "points", "of", "percent", "seconds", "remark"]
    assert {row["hand-in"] for row in rows} == {path.stem for path in folder.glob("*.ipynb")} == {path.stem for path in out.glob("*.md")}
    by_name = {row["hand-in"]: row for row in rows}
    assert (by_name["a_reference"]["percent"], by_name["corrupt"]["percent"]) == ("100", "0")
    reasons = {"leaves_in_a_function": "it left its process", "crashes": "its process crashed", "many_bytes": "more files than it may"}
    assert all(reason in by_name[name]["remark"] for name, reason in reasons.items())
    page = (out / "loops_in_a_function.md").read_text()
    assert "## `mmd2`: 0 of 4" in page and "longer than 3 seconds" in page and "Hint:" in page and "## `mix_replay`: 3 of 3" in page
    assert "cell 11: ZeroDivisionError" in (out / "error_in_a_cell.md").read_text()


def test_nothing_of_what_was_asked_comes_out(hostile):
    _, _, out = hostile
    page = (out / "tells_what_it_was_asked.md").read_text() + (out / "grades.csv").read_text()
    assert "an error of its own" in page and "Zaddd" not in page and "a d d d" not in page


# The layers, each by itself ---------------------------------------------------------------------------------------------------

ALONE = """
import os, sys, tempfile
import numpy, torch
torch.set_num_threads(1)
from finetunelab.grading import confine
for name in {off}:
    setattr(confine, name, lambda *_: {value})
folder, roots = os.path.realpath(tempfile.mkdtemp()), confine.readable()
os.chdir(folder)
layers = confine.confine(folder, roots, 20)
if not {needed} <= set(layers):
    os._exit(0)
def refused(attempt):
    try:
        attempt()
    except (OSError, RuntimeError, MemoryError):
        return True
    return False
import socket
attempts = [
    lambda: open({secret!r}).read(), lambda: os.listdir({folder!r}), lambda: open({folder!r} + "/x", "w"), lambda: os.fork() or os._exit(0),
    lambda: socket.socket(), lambda: os.kill(os.getppid(), 0), lambda: os.execv("/bin/true", ["true"]), lambda: os.mkdir({folder!r} + "/y"),
] + {more}
allowed = [i for i, attempt in enumerate(attempts) if not refused(attempt)]
open("mine", "w").write("1")
a = torch.ones(20, 20, requires_grad=True)
(a @ a).sum().backward()
import colorsys
os.write(1, repr((layers, allowed)).encode())
os._exit(0)
"""


def alone(tmp_path, off, value, needed, more):
    """Attack with some layers switched off; return those in force and the attempts that succeeded. Skips where a needed one lacks."""
    secret = tmp_path / "secret"
    secret.write_text("42")
    code = ALONE.format(off=off, value=value, secret=str(secret), folder=str(tmp_path), needed=needed, more=more)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    if not done.stdout:
        pytest.skip(f"this kernel lacks one of {needed}")
    assert not (tmp_path / "x").exists() and not (tmp_path / "y").exists()
    return ast.literal_eval(done.stdout)


def test_the_audit_hook_alone_refuses_what_python_can_do(tmp_path):
    as_bytes = "[lambda: open(os.fsencode({!r}))]".format(str(tmp_path / "secret"))
    layers, allowed = alone(tmp_path, ("_landlock", "_seccomp"), "False", {"audit hook"}, as_bytes)
    assert layers == ["limits", "audit hook"] and not allowed


def test_the_kernel_alone_refuses_it_too_and_native_readers_with_it(tmp_path):
    native = "[lambda: torch.from_file({!r}, dtype=torch.uint8, size=2)]".format(str(tmp_path / "secret"))
    assert not alone(tmp_path, ("_audit",), "lambda *_: None", {"Landlock", "seccomp"}, native)[1]


def test_memory_is_limited(tmp_path):
    if sys.platform != "linux":
        pytest.skip("macOS does not enforce limits on memory")
    assert not alone(tmp_path, (), "None", {"limits"}, "[lambda: bytearray(3 * 2**30)]")[1]


def test_the_worker_has_one_thread_when_it_forks(worker):
    tasks = Path(f"/proc/{worker.process.pid}/task")
    if not tasks.is_dir():
        pytest.skip("there is no such folder elsewhere")
    assert len(list(tasks.iterdir())) == 1


def test_the_examiner_closes_its_memory_and_opens_it_again():
    if sys.platform != "linux":
        pytest.skip("there is no such switch elsewhere")
    import ctypes

    state = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # noqa: E731
    before = state()
    with examiner.closed_to_others():
        assert state() == 0
    assert state() == before


# The wire ---------------------------------------------------------------------------------------------------------------------


def through(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value), allow_nan=False)))


def test_values_pass_unchanged():
    containers = [[1, [2]], (1, "a"), {1, 2}, {1: (2, 3), "a": None}, wire.Ref("model", {"name": "x"})]
    for value in [None, True, 3, 2**80, -0.1, "crème", float("inf"), *containers]:
        assert through(value) == value and type(through(value)) is type(value)
    assert np.isnan(through(float("nan"))) and through(np.float32(0.5)) == 0.5
    for array in (np.arange(6.0).reshape(2, 3)[:, ::2], np.array(3), np.zeros((0, 4), dtype=bool)):
        assert np.array_equal(through(array), array) and through(array).dtype == array.dtype and through(array).shape == array.shape
    tensor = torch.randn(3, 4).T
    assert torch.equal(through(tensor), tensor) and through(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert through(torch.nn.Linear(2, 1)).keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, np.array([object()]), np.array(["a"]), b"x", 1j, torch.ones(1, dtype=torch.complex64)]
)
def test_other_kinds_are_not_sent(value):
    with pytest.raises(wire.WireError):
        wire.encode(value)


@pytest.mark.parametrize(
    "message",
    [
        {"array": ["object", [1], "AAAAAAAAAAA="]}, {"array": ["float64", [2], "AAAAAAAAAAA="]},
        {"array": ["float64", [-1], "AAAAAAAAAAA="]}, {"tensor": ["float32"]}, {"array": ["float64", [1], "!"]},
        {"pickle": "x"}, {"int": 3, "float": "1"}, {"int": "x"}, {"set": [[1]]},
        {"dict": [1]}, {"ref": []}, {"tuple": 5},
    ],
)
def test_messages_that_nobody_wrote_are_refused(message):
    with pytest.raises(wire.WireError):
        wire.decode(message)
    with pytest.raises(wire.WireError):
        deep = message
        for _ in range(100):
            deep = [deep]
        wire.decode(deep)


def test_messages_arrive_whole_or_not_yet():
    buffer = bytearray(wire.pack([1, 2]) + wire.pack({"a": 3})[:9])
    assert wire.unpack(buffer) == [1, 2] and wire.unpack(buffer) is None
    with pytest.raises(wire.WireError):
        wire.unpack(bytearray(b"\xff" * 16))


# Cells and commands -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", ["%pip install x", "if True:\n    %pip install x", "!ls", "%%time\nx = 1", "%%bash\necho $x", "?print", "x = 5 \\\n% 3"]
)
def test_lines_for_notebooks_are_passed_over(source):
    from finetunelab.grading.child import compiled

    exec(compiled(source, "cell"), {})


def test_command_writes_the_notebook_and_says_where(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.main(["assignment", "make", "01a", "--out", str(tmp_path)]) == 0
    path = tmp_path / "01a_distribution_shift.ipynb"
    assert capsys.readouterr().out.strip() == str(path) and path.exists()


class TestBadInput:
    @pytest.fixture
    def refused(self, capsys, monkeypatch, tmp_path):
        """Run the command, which must fail in one line before it writes anything, and return the line."""
        monkeypatch.chdir(ROOT)
        (tmp_path / "good.ipynb").write_text(ASSIGNMENTS["01a"].notebook())
        (tmp_path / "grades.csv").write_text("of last year")

        def run(*argv):
            assert cli.main([*map(str, argv)]) == 2
            out, err = capsys.readouterr()
            assert out == "" and err.count("\n") == 1 and "; " in err and err.startswith("finetunelab: error: ")
            assert (tmp_path / "grades.csv").read_text() == "of last year" and not list(tmp_path.glob("*.md"))
            return err

        return run

    def test_handins(self, refused, tmp_path):
        out = ("--out", tmp_path)
        assert "there is no hand-in" in refused("grade", "01a", tmp_path / "none.ipynb", *out)
        (tmp_path / "essay.txt").write_text("x")
        assert "not a notebook by its name" in refused("grade", "01a", tmp_path / "good.ipynb", tmp_path / "essay.txt", *out)
        (tmp_path / "broken.ipynb").write_text("{")
        assert "not a notebook that can be read" in refused("grade", "01a", tmp_path / "broken.ipynb", *out)
        (tmp_path / "large.ipynb").write_text(" " * (assignments.LONGEST + 1))
        assert "clear its outputs" in refused("grade", "01a", tmp_path / "large.ipynb", *out)
        (tmp_path / "empty").mkdir()
        assert "there are no hand-ins" in refused("grade", "01a", tmp_path / "empty", *out)

    def test_assignments(self, refused, tmp_path):
        assert "did you mean 01a" in refused("grade", "01", tmp_path / "good.ipynb", "--out", tmp_path)
        assert "name the teacher's folder" in refused("grade", "01a", tmp_path / "good.ipynb", "--out", tmp_path, "--instructor", tmp_path)
        assert "unknown assignment" in refused("assignment", "make", "99z")
        (tmp_path / "01a").mkdir()
        (tmp_path / "01a" / "solution.py").write_text("# %% title [markdown]\n# # x\n")
        assert "no hidden checks" in refused("grade", "01a", tmp_path / "good.ipynb", "--out", tmp_path, "--instructor", tmp_path)
        (tmp_path / "01a" / "solution.py").write_text("# %%\n1\n")
        assert "a cell that begins" in refused("assignment", "make", "01a", "--instructor", tmp_path)

    def test_places(self, refused, tmp_path, monkeypatch):
        assert "cannot write in" in refused("grade", "01a", tmp_path / "good.ipynb", "--out", tmp_path / "grades.csv")
        monkeypatch.setattr(grading, "_writable", lambda out: Path(torch.__file__).parent / "out")
        assert "every hand-in may read" in refused("grade", "01a", tmp_path / "good.ipynb", "--out", tmp_path)

    def test_windows(self, refused, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "fork")
        assert "Linux or macOS" in refused("grade", "01a", tmp_path / "good.ipynb", "--out", tmp_path)


def test_names_of_handins_are_their_own(tmp_path):
    for folder in ("ada", "bob"):
        (tmp_path / folder / ".ipynb_checkpoints").mkdir(parents=True)
        (tmp_path / folder / "01a.ipynb").write_text("{}")
        (tmp_path / folder / ".ipynb_checkpoints" / "01a.ipynb").write_text("{}")
    assert list(grading.find([tmp_path])) == ["ada-01a", "bob-01a"]
    assert list(grading.find([tmp_path / "ada" / "01a.ipynb", tmp_path / "bob"])) == ["01a", "01a-2"]


def test_a_name_is_no_formula():
    passed = grading.Outcome(checks.Check("f", "Tests.", "Hint.", 1, lambda call: True), "")
    assert grading.table([grading.Mark("=1+1", (passed,), 0.0, "")]).splitlines()[1] == "'=1+1,1,1,100,0.0,"
