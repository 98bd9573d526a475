"""The command line is thin and quick. Its refusals are tested in test_bad_input."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from finetunelab import cli

COMMAND = [sys.executable, "-c", "import sys; from finetunelab.cli import main; sys.exit(main())"]


def test_help_answers_in_under_a_second():
    subprocess.run([*COMMAND, "--help"], capture_output=True)  # compiles the bytecode
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0 and min(seconds) < 1
    assert all(name in done.stdout for name in ("evidence", "base", "world", "data", "sft", "adapt", "compare", "assignment", "grade", "index", "ask", "profile"))


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom finetunelab.cli import main\ntry:\n    main(['evidence', 'run', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'datasets', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_every_command_has_help(capsys):
    commands = (
        "evidence run", "evidence check", "evidence render", "evidence list", "base report", "base build", "world show", "world list",
        "world hash", "data check", "sft", "adapt", "compare", "classify fit", "classify predict", "bench sft", "bench rl", "assignment make", "grade", "profile", "ratings export",
        "ratings import", "ratings agreement", "index", "ask", "bench index",
    )
    for command in commands:
        with pytest.raises(SystemExit) as left:
            cli.main([*command.split(), "--help"])
        assert left.value.code == 0 and "usage: finetunelab" in capsys.readouterr().out


def test_profile_prints_device_and_reason(capsys):
    assert cli.main(["profile"]) == 0
    out = capsys.readouterr().out
    assert "profile  nano" in out and "device" in out and "used." in out


def test_evidence_list_and_render(registry, capsys, tmp_path):
    from finetunelab.experiments import Claim, measures

    assert cli.main(["evidence", "list"]) == 0 and "no claim" in capsys.readouterr().out
    measures(Claim("A1", "It fails", "m", "", "t", "c", "log_ratio", ">=", 3), id="A1")(lambda seed, data_seed: None)
    assert cli.main(["evidence", "list"]) == 0
    assert "A1" in (out := capsys.readouterr().out) and "at least 3×" in out and "It fails" in out
    page, numbers = tmp_path / "evidence.md", tmp_path / "numbers.json"
    assert cli.main(["evidence", "render", "--folder", str(tmp_path), "--page", str(page), "--numbers", str(numbers)]) == 0
    assert "# Evidence" in page.read_text() and json.loads(numbers.read_text())["A1_effect"] == "not measured yet"
    assert cli.main(["evidence", "render", "--folder", str(tmp_path)]) == 0 and "# Evidence" in capsys.readouterr().out


def test_world_show_and_list(monkeypatch, capsys):
    import finetunelab.worlds

    asked = []

    def rows(*args, **knobs):
        asked.append((args, knobs))
        return [{"text": "Dear all,", "label": 1}]

    world = SimpleNamespace(rows=rows, pretrained=True, summary="mail of the town", columns={"text": "", "label": ""}, knobs={"slang": ""})
    monkeypatch.setattr(finetunelab.worlds, "generators", lambda: {"mail": world})
    argv = ["world", "show", "mail", "-n", "1", "--split", "test", "--data-seed", "3", "--knob", "slang=0.5", "--knob", "style=loud"]
    assert cli.main(argv) == 0
    assert asked == [((1, "test", 3), {"slang": 0.5, "style": "loud"})]
    assert capsys.readouterr().out.startswith('Dear all,\n  {"label": 1}')
    assert cli.main(["world", "list"]) == 0
    assert "mail" in (out := capsys.readouterr().out) and "pretrained" in out and "knobs: slang" in out


def test_base_commands_call_the_package(monkeypatch, capsys, tmp_path):
    asked = []
    pretraining = SimpleNamespace(build=lambda size, out: asked.append((size, out)) or out, ship=lambda directory: asked.append(directory))
    skills = SimpleNamespace(report=lambda data_seed, name, say: {"seed": data_seed, "model": name})
    assistant = SimpleNamespace(build=lambda name, out: asked.append((name, out)) or out, ship=lambda directory: asked.append(directory))
    monkeypatch.setitem(sys.modules, "finetunelab.pretraining", pretraining)
    monkeypatch.setitem(sys.modules, "finetunelab.assistant", assistant)
    for kind, module in (("reward", "reward_base"), ("panel", "panel_reward"), ("embedder", "embedder_base"), ("reader", "reading")):
        recipe = SimpleNamespace(build=lambda out, kind=kind: asked.append((kind, out)) or out, ship=lambda given, kind=kind: asked.append((kind, given)))
        monkeypatch.setitem(sys.modules, f"finetunelab.{module}", recipe)
    monkeypatch.setitem(sys.modules, "finetunelab.skills", skills)
    assert cli.main(["base", "report", "--data-seed", "7", "--json", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == {"seed": 7, "model": "nano"}
    threads = torch.get_num_threads()
    try:
        assert cli.main(["base", "build", "--out", "x", "--size", "small", "--threads", "1"]) == 0
        assert torch.get_num_threads() == 1
        assert cli.main(["base", "build", "--out", "x", "--size", "sft"]) == 0
        assert cli.main(["base", "build", "--out", "x", "--size", "chat"]) == 0
        assert cli.main(["base", "build", "--out", "x", "--size", "reward"]) == 0
        assert cli.main(["base", "build", "--out", "x", "--size", "panel"]) == 0
        assert cli.main(["base", "build", "--out", "x", "--size", "embedder"]) == 0
        assert cli.main(["base", "build", "--out", "x", "--size", "reader"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert cli.main(["base", "ship", "x"]) == 0
    assistant.ship = lambda directory: asked.append(("assistant", directory))
    assert cli.main(["base", "ship", "runs/nano-sft/"]) == 0
    assert cli.main(["base", "ship", "runs/nano-chat"]) == 0
    assert cli.main(["base", "ship", "runs/nano-reward"]) == 0
    assert cli.main(["base", "ship", "runs/nano-panel"]) == 0
    assert cli.main(["base", "ship", "runs/nano-embedder"]) == 0
    assert cli.main(["base", "ship", "runs/nano-reader"]) == 0
    shipped = [("assistant", "runs/nano-sft/"), ("assistant", "runs/nano-chat"), *((kind, f"runs/nano-{kind}") for kind in ("reward", "panel", "embedder", "reader"))]
    assert asked == [("small", "x"), ("nano-sft", "x"), ("nano-chat", "x"), *((kind, "x") for kind in ("reward", "panel", "embedder", "reader")), "x", *shipped]


def test_stopping_by_keyboard_is_no_traceback(monkeypatch, capsys):
    def stop(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_evidence_list", stop)
    assert cli.main(["evidence", "list"]) == 130 and "goes on" in capsys.readouterr().err


def test_debug_shows_where_an_error_came_from(monkeypatch):
    monkeypatch.setenv("FINETUNELAB_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown profile"):
        cli.main(["profile", "colabb"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_no_error(unbuffered):
    command = f"set -o pipefail; {sys.executable} -m finetunelab.cli evidence render | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert (done.returncode, done.stderr) == (0, "")
