"""The examiner's side: it holds the hidden checks, asks each hand-in over a socket, and does all comparing."""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import wire

CALL = 10.0  # seconds that a call may take, unless a check says otherwise
CELLS = 20.0  # seconds that all cells of a notebook may take
HANDIN = 120.0  # seconds that a hand-in may take in all
DISK = 50 * 2**20  # bytes that a hand-in may have in its folder, and at most ...
FILES = 1_000  # ... so many files
OUTPUT = 2**16  # bytes of output that a hand-in may print before the rest is dropped with a remark


# Checks of several hand-ins run one at a time, but for the while that one waits for its answer: then those who write checks need not think
# of threads, and models can be loaded in one.
thinking = threading.Lock()


class Failed(Exception):
    """A call that brought no answer. The message says why, for the hand-in's author; ``final`` if the process is gone with it."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final


class Worker:
    """The warm worker, as seen by the examiner; safe to share between threads."""

    def __init__(self, hidden: Sequence[Path]):
        """Start it. UserError if hand-ins could read one of the ``hidden`` paths."""
        if not hasattr(os, "fork"):
            raise UserError("grading forks a process for each hand-in, which this system cannot", "grade on Linux or macOS")
        from .confine import readable  # not on Windows

        self.roots = readable()
        for path in hidden:
            over = [root for root in self.roots if Path(root) in [real := Path(path).resolve(), *real.parents]]
            if over:
                raise UserError(f"{path} lies in {over[0]}, which every hand-in may read", "move it out of there")
        self.lock = threading.Lock()
        self.control, theirs = socket.socketpair()
        # From a folder of its own, because Python looks for modules where it starts: relative paths are made absolute.
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="grading-"))
        places = [str(Path(__file__).parents[2]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ} | {
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, places)), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
            "TRANSFORMERS_VERBOSITY": "error",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's thread would not live on in a forked process
        }
        command = [sys.executable, "-m", "finetunelab.grading.worker", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        try:
            self._heard()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _heard(self) -> dict[str, Any]:
        received = self.control.recv(2**16)
        if not received:
            said = (self.process.stderr.read() or b"").decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise UserError(f"the grading worker ended: {said[-1]}", "see whether `python -m finetunelab.cli profile` works")
        return json.loads(received)

    def fork(self, channel: socket.socket, output: int, folder: str, seconds: int) -> int:
        """Fork a process for a hand-in and return its number."""
        with self.lock:
            message = json.dumps({"folder": folder, "seconds": seconds, "roots": self.roots}).encode()
            socket.send_fds(self.control, [message], [channel.fileno(), output])
            return self._heard()["process"]

    def end(self, process: int) -> int:
        """Kill a process, if it still runs, and return how it ended: an exit code, or a signal's number below zero."""
        with self.lock:
            self.control.sendall(json.dumps({"end": process}).encode())
            return self._heard()["status"]

    def close(self) -> None:
        """Let the worker go."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Session:
    """One hand-in under examination: its process is forked at the first call, and again after a call that ended it."""

    def __init__(self, worker: Worker, cells: list[str]):
        self.worker, self.cells = worker, cells
        self.until = time.monotonic() + HANDIN
        self.errors: list[dict[str, Any]] = []  # of the cells: [{"cell", "error"}]
        self.layers: list[str] = []
        self.printed = 0
        self.process: int | None = None
        self.memory: dict[str, Any] = {}  # for checks that judge one dear answer in several ways

    def __call__(self, name: str, *arguments: Any, after: bool = False, seconds: float | None = None) -> Any:
        """Call a function of the hand-in and return its answer; with ``after`` also what became of the arguments. Failed if there is none.

        ``seconds`` is what it may take, if not CALL. To be called from a check, with ``thinking`` held.
        """
        seconds = seconds or CALL
        # Named by chance, so that an answer that a hand-in sends unasked is nobody's.
        request = {"id": secrets.token_hex(8), "call": name, "arguments": [wire.encode(value) for value in arguments], "after": after}
        thinking.release()
        try:
            self.start()
            reply = self._exchange(request, seconds, f"it took longer than {seconds:g} seconds")
        finally:
            thinking.acquire()
        try:
            if "missing" in reply:
                raise Failed("there is no such function")
            if "raised" in reply:
                stub = reply["raised"] == "NotImplementedError"
                raise Failed("it is not written yet" if stub else f"it stopped with {_word(reply['raised'])}")
            if "unreadable" in reply:
                raise Failed("it returned a kind of thing that is not asked for")
            result = wire.decode(reply["result"])
            return (result, wire.decode(reply["after"])) if after else result
        except (wire.WireError, KeyError, TypeError):
            raise Failed("it gave no proper answer") from None

    def start(self) -> None:
        """Fork the process and run the cells, unless that is done. Failed if the cells end it."""
        if self.process is not None:
            return
        if time.monotonic() > self.until:
            raise Failed("the time for the whole notebook was used up", final=True)
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="handin-"))
        self.channel, theirs = socket.socketpair()
        self.output, writes = os.pipe()
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        self.received = bytearray()
        self.process = self.worker.fork(theirs, writes, self.folder, int(HANDIN))
        theirs.close()
        os.close(writes)
        late = f"its cells took longer than {CELLS:g} seconds"
        self.layers = self._exchange(None, CELLS, late).get("layers", [])
        self.errors = self._exchange({"id": secrets.token_hex(8), "cells": self.cells}, CELLS, late).get("errors", [])

    def stop(self) -> int:
        """End the process and remove its folder; return how it ended."""
        status = self.worker.end(self.process)
        self.process = None
        self.channel.close()
        os.close(self.output)
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def _exchange(self, message: Any, seconds: float, late: str) -> dict[str, Any]:
        """Send a message, if any, and return the reply. Output is taken off all the while, so that who prints a lot need not wait."""
        until, sending = min(time.monotonic() + seconds, self.until), memoryview(wire.pack(message) if message is not None else b"")
        reason = late
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if sending else 0))
            selector.register(self.output, selectors.EVENT_READ)
            looked = time.monotonic()
            while time.monotonic() < until:
                try:
                    while (reply := wire.unpack(self.received)) is not None:
                        if isinstance(reply, dict) and (message is None or reply.get("id") == message["id"]):
                            return reply
                    for key, events in selector.select(0.1):
                        if key.fileobj is self.channel and events & selectors.EVENT_WRITE:
                            sending = sending[self.channel.send(sending) :]
                            if not sending:
                                selector.modify(self.channel, selectors.EVENT_READ)
                        if key.fileobj is self.channel and events & selectors.EVENT_READ:
                            received = self.channel.recv(2**20)
                            if not received:
                                raise ConnectionError
                            self.received += received
                        if key.fileobj == self.output:
                            printed = len(os.read(self.output, 2**16))
                            self.printed += printed
                            if not printed:
                                selector.unregister(self.output)
                except wire.WireError:
                    reason = "it gave no proper answer"
                    break
                except ConnectionError:
                    reason = ""
                    break
                if time.monotonic() - looked > 0.2:
                    looked = time.monotonic()
                    if _too_much(self.folder):
                        reason = "it wrote more files than it may"
                        break
        status = self.stop()
        raise Failed(reason or _ending(status), final=True)


def _word(text: Any) -> str:
    # It comes from the hand-in's process: nothing but the name of an error of Python's may pass, or it could tell what was asked.
    known = getattr(builtins, text, None) if isinstance(text, str) else None
    return text if isinstance(known, type) and issubclass(known, BaseException) else "an error of its own"


def _ending(status: int) -> str:
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        return "its process was ended by the system, for memory or computing time"
    return "its process crashed" if status < 0 else "it left its process"


def _too_much(folder: str) -> bool:
    size = files = 0
    for where, _, names in os.walk(folder):
        for name in names:
            files += 1
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_size
            if size > DISK or files > FILES:
                return True
    return False


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """Forbid, on Linux, that other processes of the same user read this one's memory."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    before = libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
    libc.prctl(4, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(4, before, 0, 0, 0)
