"""The process of one hand-in: it runs the notebook's cells and answers calls. What the hand-in breaks, it breaks for itself alone."""

from __future__ import annotations

import copy
import os
import random
import re
import socket
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..models import load_model, load_tokenizer
from . import wire
from .confine import confine

_MAGIC = re.compile(r"^([ \t]*)[%!].*$|^([ \t]*)\?{1,2}\w.*$", re.MULTILINE)


# The things that an examiner can name in place of an argument -----------------------------------------------------------------


@lru_cache
def _loaded(name: str) -> Any:
    return load_model(name)


def _model(name: str, frozen: Sequence[str] = ()) -> torch.nn.Module:
    """A shipped model, fresh for every call; the weights whose names begin as ``frozen`` says are not trained."""
    model = copy.deepcopy(_loaded(name))
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(not key.startswith(tuple(frozen)))
    return model


@lru_cache
def _tokenizer(name: str) -> Any:
    return load_tokenizer(name)


def mean_gap(x: np.ndarray, y: np.ndarray) -> float:
    """The squared distance between the means of two samples, each of shape (n, width)."""
    return float(((x.mean(0) - y.mean(0)) ** 2).sum())


THINGS: dict[str, Callable[..., Any]] = {"model": _model, "tokenizer": _tokenizer, "mean_gap": lambda: mean_gap}


def warm() -> None:
    """Make what hand-ins ask for before any is forked, and let libraries load what they load at first use."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    from .. import adaptation, lora, repurposing  # noqa: F401 - what exercises import; the trainer behind them takes seconds

    texts, labels = ["a b", "b c", "c d", "d e"], [0, 1, 0, 1]
    for classifier in (LogisticRegression(), KNeighborsClassifier(1)):
        classifier.fit(TfidfVectorizer(token_pattern=r"\w").fit_transform(texts), labels).predict_proba(np.zeros((1, 5)))
    _loaded("nano-small")
    _tokenizer("nano-small")


def _resolved(value: Any) -> Any:
    if isinstance(value, wire.Ref):
        return THINGS[value.name](**value.options)
    return value


# The hand-in ------------------------------------------------------------------------------------------------------------------


def serve(channel: socket.socket, output: int, folder: str, roots: Sequence[str], seconds: int) -> None:
    """Confine this process, run the cells that come over ``channel``, then answer calls until it closes. Never returns."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, place in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(handle, place)
        # Among what is closed is the way to the worker.
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder)
        tempfile.tempdir = folder
        # Written to a pipe, text would wait in a buffer that a killed process takes with it.
        sys.stdout, sys.stderr = (os.fdopen(place, "w", 8192, encoding="utf-8", errors="replace") for place in (1, 2))
        _send(channel, {"layers": confine(folder, roots, seconds)})
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        while True:
            request = _receive(channel)
            reply = {"errors": _run(request["cells"], vars(module))} if "cells" in request else _answer(request, vars(module))
            _send(channel, {**reply, "id": request["id"]})
    finally:
        os._exit(0)


def _run(cells: list[str], namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Run cells as a notebook does: an error ends its cell, not the notebook. Return the errors, one line each."""
    errors = []
    for number, source in enumerate(cells, 1):
        try:
            exec(compiled(source, f"<cell {number}>"), namespace)
        except BaseException as problem:
            line = " ".join(f"{type(problem).__name__}: {problem}".split())
            errors.append({"cell": number, "error": line[:200]})
    return errors


def compiled(source: str, name: str) -> types.CodeType:
    """Compile a cell; lines that only a notebook understands (``%pip``, ``!ls``) are passed over. SyntaxError if it is no Python."""
    if source.lstrip().startswith("%%") and not source.lstrip().startswith(("%%time", "%%capture")):
        source = ""  # another language
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:
        return compile(_MAGIC.sub(r"\1\2pass", source), name, "exec", dont_inherit=True)


def _answer(request: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    function = namespace.get(request["call"])
    if not callable(function):
        return {"missing": True}
    arguments = [_resolved(value) for value in wire.decode(request["arguments"])]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        result = function(*arguments)
    except BaseException as problem:
        # No more than the kind of error: its text could carry what the examiner asked.
        return {"raised": type(problem).__name__}
    try:
        reply = {"result": wire.encode(result)}
        if request["after"]:
            reply["after"] = [wire.encode(None if isinstance(value, types.FunctionType) else value) for value in arguments]
        wire.pack(reply)
        return reply
    except BaseException:
        return {"unreadable": True}


def _send(channel: socket.socket, message: Any) -> None:
    channel.sendall(wire.pack(message))


def _receive(channel: socket.socket) -> Any:
    buffer = bytearray()
    while (message := wire.unpack(buffer)) is None:
        received = channel.recv(2**20)
        if not received:
            os._exit(0)  # the examiner has heard enough
        buffer += received
    return message
