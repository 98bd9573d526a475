"""The command line: it parses, calls one function and prints. Bad input is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from . import settings
from .errors import UserError, near, unknown

# Nothing else is imported here: torch and its kin take seconds, and --help must not wait for them.

RECIPES = {"reward": "reward_base", "panel": "panel_reward", "embedder": "embedder_base", "reader": "reading"}  # by size, the module of each


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line with a mend, like every other."""

    def error(self, message: str) -> NoReturn:
        """Raise a UserError in place of printing the usage."""
        cause, hint = message, ""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            close = near(choice[1], re.findall(r"\w+", choice[2]), most=1)
            cause, hint = f"unknown {choice[1]!r}", f"did you mean {close[0]}? " if close else f"choose from {choice[2]}, "
        if message.startswith("unrecognized arguments: "):
            wrong = message.split(": ", 1)[1].split()[0]
            close = near(wrong, _options(self), most=1)
            cause, hint = f"unknown argument {wrong}", f"did you mean {close[0]}? " if close else ""
        raise UserError(cause, f"{hint}see {self.prog} --help")


def _options(parser: argparse.ArgumentParser) -> set[str]:
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for child in action.choices.values() for option in _options(child)}
    return found


def build_parser() -> Parser:
    """Return the parser of all commands; each sets ``call`` to the function that it runs."""
    parser = Parser(prog="finetunelab", description="Fine-Tuning, Measured: labs on adapting language models, every claim an experiment.",
                    epilog="FINETUNELAB_PROFILE chooses nano (default), colab or gpu.", allow_abbrev=False)
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    _evidence(_group(groups, "evidence", "measure, check and show the book's claims"))
    _base(_group(groups, "base", "the small language model that the nano labs start from"))
    _world(_group(groups, "world", "look at the offline corpora"))
    _data(_group(groups, "data", "your own files"))
    _runs(groups)
    _grading(groups)
    _ratings(_group(groups, "ratings", "what reviewers said in the rating widget"))
    _retrieval(groups)
    profile = _command(groups, "profile", "print profile, device, number format and the reason for it", _profile)
    profile.add_argument("name", nargs="?", help="nano, colab or gpu (default: FINETUNELAB_PROFILE, or nano)")
    return parser


def _group(parent: Any, name: str, summary: str) -> Any:
    return parent.add_parser(name, help=summary, description=summary, allow_abbrev=False).add_subparsers(metavar="COMMAND", required=True)


def _command(parent: Any, name: str, summary: str, call: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
    parser = parent.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    parser.set_defaults(call=call)
    return parser


def _evidence(group: Any) -> None:
    run = _command(group, "run", "measure claims, seed after seed; goes on where a file stopped", _evidence_run)
    run.add_argument("--claim", action="append", help="such as A1; may be given several times (default: all that belong in FILE)")
    run.add_argument("--seeds", type=int, help="how many (default: as many as the book reports)")
    run.add_argument("--data-seed", type=int, default=0, help="another draw of all documents (default: 0)")
    run.add_argument("--out", metavar="FILE", default="book/evidence/nano.json", help="default: book/evidence/nano.json")
    run.add_argument("--replace", action="store_true", help="measure anew what FILE holds of these claims")
    check = _command(group, "check", "recompute every verdict; exit code 1 on a mismatch, stale worlds or a missing claim", _evidence_check)
    check.add_argument("file", metavar="FILE")
    render = _command(group, "render", "print or write the Evidence page, and the numbers that prose uses", _evidence_render)
    render.add_argument("--folder", default="book/evidence", help="where nano.json and real.json are (default: book/evidence)")
    render.add_argument("--page", metavar="FILE", help="write the page here instead of printing it")
    render.add_argument("--numbers", metavar="FILE", help="write the substitutions here, as JSON")
    _command(group, "list", "list the claims and when they hold", _evidence_list)


def _base(group: Any) -> None:
    report = _command(group, "report", "measure what the shipped base can do", _base_report)
    report.add_argument("--data-seed", type=int, default=1000, help="the draw of texts it is tested on (default: 1000)")
    report.add_argument("--json", metavar="FILE", help="write the report here too")
    report.add_argument("--model", metavar="NAME", default="nano", help="a shipped base or the directory of a built one (default: nano)")
    ship = _command(group, "ship", "measure a built base, write its model card, and put it into the package", _base_ship)
    ship.add_argument("directory", metavar="DIR")
    build = _command(group, "build", "pretrain it again; goes on where it stopped", _base_build)
    build.add_argument("--out", metavar="DIR", required=True)
    build.add_argument("--size", choices=("base", "small", "sft", "chat", *RECIPES), default="base", help="those after small start from shipped ones")
    build.add_argument("--threads", type=int, default=2)


def _world(group: Any) -> None:
    show = _command(group, "show", "print documents of a world", _world_show)
    show.add_argument("name", metavar="NAME", help="see finetunelab world list")
    show.add_argument("-n", type=int, default=10, help="how many (default: 10)")
    show.add_argument("--split", default="train", help="train, validation or test")
    show.add_argument("--data-seed", type=int, default=0)
    show.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="a setting of the generator; may be repeated")
    _command(group, "list", "list the worlds and their columns", _world_list)
    _command(group, "hash", "print the fingerprint of all generators", _world_hash)


def _data(group: Any) -> None:
    check = _command(group, "check", "say what is wrong with a CSV, JSONL or Parquet file, or that it is ready", _data_check)
    check.add_argument("file", metavar="FILE")
    check.add_argument("--text-column", default="text")
    check.add_argument("--label-column", help="default: label, if there is one")


def _runs(groups: Any) -> None:
    summary = "supervised fine-tuning of a model on your own conversations; goes on where it stopped"
    _told(groups, "sft", summary, settings.SftSettings, "runs", "run_sft")
    _told(groups, "adapt", "go on training a model on your own texts; goes on where it stopped", settings.AdaptSettings, "runs", "run_adapt")
    _told(groups, "compare", "compare ways to classify your own texts, and write a report", settings.CompareSettings, "comparison", "run_compare")
    classify = _group(groups, "classify", "train one way to classify your own texts and keep it, and label texts with it")
    _told(classify, "fit", "train one method with one setting, as a report of compare names them", settings.ClassifierSettings, "comparison.classify", "fit")
    _told(classify, "predict", "label texts with a finished classifier", settings.LabelSettings, "comparison.classify", "label", "DIR")
    bench = _group(groups, "bench", "how fast training and searching are")
    summary = "measure supervised fine-tuning beside a bare PyTorch loop and beside trl's defaults"
    _told(bench, "sft", summary, settings.BenchSettings, "bench", "run_bench")
    _told(bench, "rl", "measure our PPO beside trl's RLOO trainer", settings.RlBenchSettings, "bench.rl", "run_bench")
    summary = "measure the vector store, from a thousand vectors to a million"
    _told(bench, "index", summary, settings.IndexBenchSettings, "bench.index", "run_bench")


def _retrieval(groups: Any) -> None:
    summary = "make your own folder of Markdown, text and PDF files searchable; again: take in what changed"
    _told(groups, "index", summary, settings.IndexSettings, "retrieval.folder", "index_folder", "DIR")
    summary = "show the passages nearest to a question, with their sources"
    _told(groups, "ask", summary, settings.AskSettings, "retrieval.folder", "ask", "QUESTION")


def _told(parent: Any, name: str, summary: str, kind: type, module: str, function: str, *given: str) -> None:
    """Add a command that calls a function with what is given to it and with its settings, from flags and a recipe."""

    def call(args: argparse.Namespace) -> None:
        asked = settings.read(kind, vars(args), args.config)
        getattr(import_module(f".{module}", __package__), function)(*(getattr(args, word) for word in given), asked)

    parser = _command(parent, name, summary, call)
    for word in given:
        parser.add_argument(word)
    settings.add_flags(parser, kind)


def _grading(groups: Any) -> None:
    assignment = _group(groups, "assignment", "the graded exercises of the labs")
    make = _command(assignment, "make", "write the notebook that students get", _assignment_make)
    make.add_argument("--out", metavar="DIR", default="labs/assignments", help="default: labs/assignments")
    marks = _command(groups, "grade", "grade hand-ins: marks as grades.csv, and a page of feedback for each", _grade)
    marks.add_argument("--out", metavar="DIR", required=True, help="where marks and feedback go")
    for command in (make, marks):
        command.add_argument("name", metavar="NAME", help="such as 01a")
        where = "solutions and hidden checks (default: labs/instructor)"
        command.add_argument("--instructor", metavar="DIR", default="labs/instructor", help=where)
    marks.add_argument("handins", nargs="+", metavar="HANDIN", help="a notebook, or a folder that holds a class")


def _ratings(group: Any) -> None:
    export = _command(group, "export", "write what the raters prefer in trl's preference format, as JSONL", _ratings_export)
    export.add_argument("store", metavar="STORE", help="the SQLite file of the rating widget")
    export.add_argument("file", metavar="FILE", help="a new JSONL file")
    take = _command(group, "import", "take the choices of a file in that format as one rater's", _ratings_import)
    take.add_argument("file", metavar="FILE")
    take.add_argument("store", metavar="STORE", help="made if it is missing")
    take.add_argument("--rater", metavar="NAME", required=True)
    agree = _command(group, "agreement", "Krippendorff's alpha, each rater beside the others, signs of carelessness", _ratings_agreement)
    agree.add_argument("store", metavar="STORE")
    for command in (export, agree):
        command.add_argument("--rater", action="append", metavar="NAME", help="hear only these; may be given several times (default: all)")


def _evidence_run(args: argparse.Namespace) -> None:
    from .evidence import run

    run(args.claim, args.out, args.seeds, args.data_seed, args.replace)


def _evidence_check(args: argparse.Namespace) -> int:
    from .evidence import check, load

    problems = check(args.file)
    print("\n".join(problems) if problems else f"{args.file}: {len(load(args.file))} claims, every verdict follows from its numbers")
    return 1 if problems else 0


def _evidence_render(args: argparse.Namespace) -> None:
    from .evidence import render
    from .files import write_text

    page, numbers = render(args.folder)
    for path in filter(None, (args.numbers, args.page)):
        _spare_results(path)
    if args.numbers:
        write_text(args.numbers, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    if args.page:
        write_text(args.page, page)
    elif not args.numbers:
        print(page)


def _spare_results(path: str) -> None:
    """Raise UserError if a file to be written holds results, which took hours to measure."""
    from .evidence import load

    try:
        load(path)
    except UserError:
        return
    raise UserError(f"{path} holds results, which would be lost", "name another file to write to")


def _evidence_list(args: argparse.Namespace) -> None:
    from .evidence.render import threshold
    from .experiments import experiments

    claims = [(experiment, claim) for experiment in experiments().values() for claim in experiment.claims]
    for experiment, claim in claims:
        where = f" [{claim.dataset}]" if claim.dataset else ""
        print(f"{claim.id:<16} {threshold(claim):<18} {experiment.seeds:>2} seeds  {claim.claim}{where}")
    if not claims:
        print("no claim is registered yet")


def _base_report(args: argparse.Namespace) -> None:
    from .files import write_text
    from .skills import report

    text = json.dumps(report(args.data_seed, args.model, say=lambda line: print(line, file=sys.stderr)), indent=1)
    print(text)
    if args.json:
        write_text(args.json, text + "\n")


def _base_build(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    print(_recipe(args.size)[0](args.out))


def _base_ship(args: argparse.Namespace) -> None:
    print(_recipe(Path(args.directory).name.removeprefix("nano-"))[1](args.directory))


def _recipe(size: str) -> tuple[Callable[[str], Path], Callable[[str], Path]]:
    """Return what builds the model of this size into a folder, and what ships a finished one; of sizes without a recipe of their own, the base's."""
    if size in ("sft", "chat"):
        from .assistant import build, ship

        return partial(build, f"nano-{size}"), ship
    if size in RECIPES:
        recipe = import_module(f".{RECIPES[size]}", __package__)
        return recipe.build, recipe.ship
    from .pretraining import build, ship

    return partial(build, size), ship


def _world_show(args: argparse.Namespace) -> None:
    from .worlds import generators

    if args.n < 1:
        raise UserError(f"{args.n} documents were asked for", "ask for at least one")
    if args.name not in generators():
        raise unknown("world", args.name, sorted(generators()))
    for row in generators()[args.name].rows(args.n, args.split, args.data_seed, **dict(map(_knob, args.knob))):
        print(row.pop("text"))
        print("  " + json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _knob(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UserError(f"knob {text!r} has no value", "write it as name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _world_list(args: argparse.Namespace) -> None:
    from .worlds import generators

    for name, generator in sorted(generators().items()):
        print(f"{name:<16} {'pretrained' if generator.pretrained else 'held out':<11} {generator.summary}")
        knobs = f"; knobs: {', '.join(generator.knobs)}" if generator.knobs else ""
        print(f"{'':<28} columns: {', '.join(generator.columns)}{knobs}")


def _world_hash(args: argparse.Namespace) -> None:
    from .worlds import fingerprint, generators

    print(fingerprint(list(generators().values())))


def _data_check(args: argparse.Namespace) -> None:
    from .data import check_file

    label = args.label_column
    if label is None:
        columns = None if args.text_column == "text" else {"text": args.text_column}
    else:
        columns = {"text": args.text_column, "label": label}
    print(check_file(args.file, columns))


def _assignment_make(args: argparse.Namespace) -> None:
    from .grading.assignments import make

    print(make(args.name, args.instructor, args.out))


def _grade(args: argparse.Namespace) -> None:
    from .grading.grade import grade

    marks = grade(args.name, args.handins, args.out, args.instructor)
    layers = next((mark.layers for mark in marks if mark.layers), ())
    print(f"{args.out}: grades.csv and {len(marks)} pages of feedback; hand-ins were confined by {', '.join(layers) or 'nothing'}")


def _ratings_export(args: argparse.Namespace) -> None:
    from .preferences.exchange import export_preferences
    from .preferences.store import RatingStore

    done = export_preferences(RatingStore(args.store, existing=True), args.file, args.rater)
    print(f"{args.file}: {done.written} preferences; {done.tied} comparisons left out as tied, {done.unrated} as unrated")


def _ratings_import(args: argparse.Namespace) -> None:
    from .preferences.exchange import import_preferences
    from .preferences.store import RatingStore

    print(f"{args.store}: {import_preferences(RatingStore(args.store), args.file, args.rater)} choices of {args.rater} added")


def _ratings_agreement(args: argparse.Namespace) -> None:
    from .preferences.agreement import report
    from .preferences.store import RatingStore

    print(report(RatingStore(args.store, existing=True).ratings(args.rater)))


def _profile(args: argparse.Namespace) -> None:
    from .profiles import describe

    print(describe(args.name))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (a check failed), 2 (bad input) or 130 (stopped by the keyboard)."""
    try:
        args = build_parser().parse_args(argv)
        code = args.call(args) or 0
        sys.stdout.flush()  # here, where a closed pipe is dealt with, and not when Python ends
        return code
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough. Python would complain again when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        print(f"finetunelab: {str(stop) or 'stopped; the same command goes on where it can'}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as problem:
        if os.environ.get("FINETUNELAB_DEBUG"):
            raise
        # Of several processes that were given the same bad input, one tells of it.
        if isinstance(problem, UserError) and os.environ.get("RANK", "0") != "0":
            return 2
        print(f"finetunelab: error: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
