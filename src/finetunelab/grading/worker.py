"""The warm worker: it loads the libraries once and forks a process for each hand-in. It never sees a hand-in or a hidden check itself.

What a hand-in reads in the memory that it was forked with is therefore nobody's secret. ``python -m finetunelab.grading.worker FD`` is
started by the examiner, FD a socket to it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from typing import Any

import torch

from . import child


def serve(control: socket.socket) -> None:
    """Answer the examiner: fork a process for a hand-in, or end one and say how it ended. Returns when the examiner hangs up."""
    torch.set_num_threads(1)  # before any operation: a pool of threads does not live on in a forked process
    child.warm()
    gc.collect()
    gc.freeze()  # what is here now is shared by all; the collector would touch, and so copy, it in every process
    control.sendall(b"{}")
    while True:
        message, handles, _, _ = socket.recv_fds(control, 2**16, 2)
        if not message:
            return
        request = json.loads(message)
        control.sendall(json.dumps(_fork(control, handles, **request) if handles else _end(request["end"])).encode())


def _fork(control: socket.socket, handles: list[int], folder: str, seconds: int, roots: list[str]) -> dict[str, Any]:
    process = os.fork()
    if not process:
        control.close()
        child.serve(socket.socket(fileno=handles[0]), handles[1], folder, roots, seconds)
    for handle in handles:
        os.close(handle)
    return {"process": process}


def _end(process: int) -> dict[str, Any]:
    # Only here is it waited for, so until now its number cannot have become another's.
    os.kill(process, signal.SIGKILL)
    return {"status": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
