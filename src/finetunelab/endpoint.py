"""A model behind a text-only HTTP endpoint: a prompt goes in, a text comes out, and nobody sees a weight.

``Endpoint`` speaks the completions format of OpenAI (POST ``BASE/completions``), which vLLM, llama.cpp, ``transformers serve`` and many
paid services speak too. ``serve`` starts such a server on this machine, so that nothing needs a network or a key.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from .errors import UserError
from .models import resolve
from .profiles import device_and_dtype

LOCAL = "127.0.0.1"
GRACE = 5.0  # seconds in which a server should have ended
NEEDED = ("fastapi", "uvicorn", "openai")
"""What ``transformers serve`` imports besides what the library needs itself."""

# The server ends when its standard input does, and so does not outlive this process, however that ends.
_SERVE = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
from transformers.cli.transformers import main
main()
"""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse to be sent elsewhere: the key would go along."""

    def redirect_request(self, *args, **kwargs):
        return None


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked: the base URL with its ``/v1``, the model's name there, the key if one is needed, and patience in seconds."""

    base_url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0

    def complete(self, prompts: Sequence[str], *, tokens: int, temperature: float = 0.0, stop: str | None = None) -> list[str]:
        """Continue each prompt by at most ``tokens`` tokens, one request each; return the continuations alone, as ``skills.generate`` does.

        Temperature zero asks for greedy decoding. ``stop`` ends a continuation at the first occurrence of that text, which is left out.

        Raises UserError where there is no server, the key is refused, the answer is not in the completions format, or it takes too long.
        """
        asked = {"model": self.model, "max_tokens": tokens, "temperature": temperature} | ({"stop": [stop]} if stop else {})
        texts = [self._text(asked | {"prompt": prompt}) for prompt in prompts]
        # Some servers keep the stop text, and with it whatever its last token brought along.
        return [text.split(stop)[0] if stop else text for text in texts]

    def _text(self, asked: dict) -> str:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.base_url}/completions", json.dumps(asked).encode(), headers)
        try:
            with _opener(self.base_url).open(request, timeout=self.timeout) as response:
                answer = response.read()
        except urllib.error.HTTPError as refusal:
            raise self._refused(refusal) from None
        except (OSError, http.client.HTTPException, UnicodeError) as problem:  # URLError and every timeout are OSErrors
            raise self._unreached(problem) from None
        try:
            text = json.loads(answer)["choices"][0]["text"]
        except (ValueError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._other(f"answered {_short(answer)!r}")
        return text

    def _unreached(self, problem: Exception) -> UserError:
        reason = getattr(problem, "reason", problem)
        if isinstance(reason, TimeoutError):
            return UserError(f"{self.base_url} did not answer within {self.timeout:g} s", "try again, or give a longer timeout")
        cause = f"no answer from {self.base_url}: {getattr(reason, 'strerror', None) or str(reason) or type(reason).__name__}"
        return UserError(cause, "check the base URL, and that the server runs")

    def _refused(self, refusal: urllib.error.HTTPError) -> UserError:
        """Return the error for a status other than 200. What a server says of a wrong key may quote it, so that is not passed on."""
        if refusal.code in (401, 403):
            cause = f"{self.base_url} {'refuses the key' if self.key else 'asks for a key'} (status {refusal.code})"
            return UserError(cause, "set OPENAI_API_KEY, or give another key")
        if refusal.code == 429:
            return UserError(f"{self.base_url} wants fewer requests or more credit (status 429)", "wait, or look at the account's limits")
        try:
            said = _short(refusal.read())
        except (OSError, http.client.HTTPException):
            said = ""
        if refusal.code == 404 or refusal.code < 400:
            return self._other(f"answered with status {refusal.code} {said}")
        return UserError(f"{self.base_url} answered with status {refusal.code} {said}", "check the model's name and what is asked of it")

    def _other(self, found: str) -> UserError:
        mend = "give the base URL of a server with /completions, which most often ends in /v1, and a model that it has"
        return UserError(f"{self.base_url} does not speak the completions format: it {found}", mend)


def _short(answer: bytes) -> str:
    """Return the beginning of what a server said, on one line."""
    text = " ".join(answer.decode("utf-8", "replace").split())
    return text if len(text) <= 120 else text[:117] + "..."


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens a URL: no redirects, and no proxy between this machine and itself."""
    own = urllib.parse.urlsplit(url).hostname in (LOCAL, "localhost", "::1")
    return urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if own else []))


def endpoint(base_url: str | None = None, model: str | None = None, key: str | None = None, timeout: float = 60.0) -> Endpoint:
    """Return the endpoint that is named, or that the environment names: OPENAI_BASE_URL, OPENAI_MODEL, OPENAI_API_KEY.

    Raises UserError for a missing or malformed base URL or model name, and for a key that no request can carry.
    """
    base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or "").strip().rstrip("/")
    model = (model or os.environ.get("OPENAI_MODEL") or "").strip()
    key = (key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not base_url:
        raise UserError("no endpoint is named", "give its base URL or set OPENAI_BASE_URL; serve() starts a server on this machine")
    try:
        parts = urllib.parse.urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", base_url)
    except ValueError:  # brackets that do not close, a port that is no number
        sound = False
    if not sound:
        raise UserError(f"{base_url!r} is no base URL", "give one like http://127.0.0.1:8000/v1")
    if not model:
        raise UserError(f"no model of {base_url} is named", "give its name or set OPENAI_MODEL")
    if key and not (key.isascii() and key.isprintable()):
        raise UserError("the key has characters that no key has", "copy it again")
    return Endpoint(base_url, model, key or None, timeout)


# A server on this machine --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serve(name: str = "nano", patience: float = 300.0) -> Iterator[Endpoint]:
    """Serve a model on this machine by ``transformers serve`` for as long as the block lasts, and give its endpoint.

    ``name`` is a shipped model or a checkpoint directory. Only this machine can reach the server. It computes in float32, on the device
    that ``device_and_dtype`` chooses, and answers one request after the other.

    Raises UserError as ``models.resolve`` does, where a package is missing, and if the server ends or is not ready after ``patience``
    seconds.
    """
    directory = os.path.abspath(resolve(name, offline=True))
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"a local server needs the package {missing[0]}", 'pip install "transformers[serving]"')
    port = _free_port()
    options = {"--host": LOCAL, "--port": str(port), "--device": device_and_dtype().device, "--dtype": "float32"}
    command = [sys.executable, "-c", _SERVE, "serve", directory, *(word for option in options.items() for word in option)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_until_ready(server, port, log, patience)
            yield Endpoint(f"http://{LOCAL}:{port}/v1", directory)
        finally:
            server.stdin.close()
            try:
                server.wait(GRACE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return probe.getsockname()[1]


def _wait_until_ready(server: subprocess.Popen, port: int, log: IO[bytes], patience: float) -> None:
    """Return when the server says that it is well; raise UserError if it ended or has not said so in time."""
    health, deadline = f"http://{LOCAL}:{port}/health", time.monotonic() + patience
    while time.monotonic() < deadline:
        if server.poll() is not None:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip(" \u2500\u2502\u2570\u256f")), "it said nothing")
            raise UserError(f"the local server ended before it was ready: {last}", "check the checkpoint directory, then try again")
        with contextlib.suppress(OSError, http.client.HTTPException), _opener(health).open(health, timeout=2):
            return
        time.sleep(0.1)
    raise UserError(f"the local server was not ready after {patience:g} s", "wait until the machine is less busy, or give it more patience")
