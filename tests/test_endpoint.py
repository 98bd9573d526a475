"""The text-only endpoint: what is sent, what comes back, every way in which it can go wrong, and a real server on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from finetunelab import endpoint as module
from finetunelab.endpoint import Endpoint, endpoint, serve
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.skills import generate

SMALL = "nano-small"
KEY = "sk-secret-17"
PROMPTS = ["The town hall", "She cast her line and", "", "Text: He baked bread. Label: dax\nText: He cycled. Label:"]


class Stub:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self):
        stub, self.asked, self.status, self.headers, self.delay, self.cut = self, [], 200, {}, 0.0, 0
        self.answer = lambda body: json.dumps({"choices": [{"text": f" to {body['prompt']}"}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, dict(self.headers), body))
                time.sleep(stub.delay)
                answer = stub.answer(body)
                with contextlib.suppress(OSError):
                    self.send_response(stub.status)
                    for name, value in ({"Content-Length": str(len(answer) + stub.cut)} | stub.headers).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer)

            do_GET = lambda self: stub.asked.append((self.path, dict(self.headers), None))  # noqa: E731

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def said(there: Endpoint, prompts=("a",), **options) -> str:
    """Return what the user is told when a request fails: one line, without the key."""
    with pytest.raises(UserError) as told:
        there.complete(list(prompts), tokens=4, **options)
    line = str(told.value)
    assert "\n" not in line and KEY not in line
    return line


# What is sent and what comes back ---------------------------------------------------------------------------------------------------


def test_every_prompt_is_one_request_in_the_completions_format(stub):
    there = endpoint(stub.url + "/", "some-model", KEY)
    assert there.complete(["one", "two\nlines"], tokens=5, stop="\n") == [" to one", " to two"]
    assert [path for path, _, _ in stub.asked] == ["/v1/completions"] * 2
    assert [body for _, _, body in stub.asked] == [
        {"model": "some-model", "prompt": prompt, "max_tokens": 5, "temperature": 0.0, "stop": ["\n"]} for prompt in ("one", "two\nlines")
    ]
    headers = stub.asked[0][1]
    assert headers["Authorization"] == f"Bearer {KEY}" and headers["Content-Type"] == "application/json"


def test_without_a_key_or_a_stop_none_is_sent(stub):
    assert endpoint(stub.url, "m").complete(["a\nb"], tokens=1, temperature=0.7) == [" to a\nb"]
    (_, headers, body), = stub.asked
    assert "Authorization" not in headers and "stop" not in body and body["temperature"] == 0.7


def test_a_proxy_does_not_stand_between_this_machine_and_itself(stub, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert endpoint(stub.url, "m").complete(["a"], tokens=1) == [" to a"]


# What can go wrong ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_from_a_missing_one(stub, status):
    stub.status, stub.answer = status, lambda body: json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}}).encode()
    assert f"refuses the key (status {status}); set OPENAI_API_KEY" in said(endpoint(stub.url, "m", KEY))
    assert "asks for a key" in said(endpoint(stub.url, "m"))


@pytest.mark.parametrize("status, cause", [
    (404, "does not speak the completions format: it answered with status 404 no such page; give the base URL"),
    (429, "wants fewer requests or more credit (status 429); wait"),
    (400, "answered with status 400 no such page; check the model's name"),
    (500, "answered with status 500 no such page"),
])
def test_a_refusal_is_passed_on_in_one_line(stub, status, cause):
    stub.status, stub.answer = status, lambda body: b"no such\n page"
    assert cause in said(endpoint(stub.url, "m", KEY))


@pytest.mark.parametrize("answer", [
    b"<html>Welcome!</html>", b"", b"[]", b"\xff", b'{"choices": []}', b'{"choices": [{"message": {"content": "chat"}}]}',
    b'{"choices": [{"text": null}]}', b'{"choices": [{"text": 5}]}',
])
def test_an_answer_in_another_format_is_no_text(stub, answer):
    stub.answer = lambda body: answer
    assert "does not speak the completions format" in said(endpoint(stub.url, "m"))


def test_a_long_answer_in_another_format_is_cut(stub):
    stub.answer = lambda body: b"x" * 5_000
    assert len(said(endpoint(stub.url, "m"))) < 400


def test_the_key_goes_to_no_other_server(stub):
    other = Stub()
    try:
        stub.status, stub.headers = 302, {"Location": other.url}
        assert "status 302" in said(endpoint(stub.url, "m", KEY)) and not other.asked
    finally:
        other.close()


def test_a_slow_server_is_not_waited_for_for_ever(stub):
    stub.delay, began = 3.0, time.monotonic()
    assert f"{stub.url} did not answer within 0.2 s" in said(endpoint(stub.url, "m", timeout=0.2))
    assert time.monotonic() - began < 2


def test_a_server_that_hangs_up_in_the_middle_gives_no_text(stub):
    stub.cut = 10
    assert "no answer from" in said(endpoint(stub.url, "m"))


def test_no_server_is_said():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        line = said(endpoint(f"http://127.0.0.1:{closed.getsockname()[1]}/v1", "m"))
    assert "no answer from" in line and "refused" in line and "check the base URL" in line


def test_a_host_that_does_not_exist_is_said(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert "no answer from http://a..b/v1" in said(endpoint("http://a..b/v1", "m"))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "Name or service not known" in said(endpoint("http://nowhere.example/v1", "m"))


# Which endpoint ---------------------------------------------------------------------------------------------------------------------


def test_what_is_not_named_comes_from_the_environment(monkeypatch):
    for name, value in (("OPENAI_BASE_URL", "https://one.example/v1/"), ("OPENAI_API_KEY", f" {KEY}\n"), ("OPENAI_MODEL", "first")):
        monkeypatch.setenv(name, value)
    assert endpoint() == Endpoint("https://one.example/v1", "first", KEY)
    assert endpoint("http://two.example", "second", "other", 3) == Endpoint("http://two.example", "second", "other", 3)
    assert KEY not in repr(endpoint())


@pytest.mark.parametrize("url, model, key, cause", [
    (None, "m", None, "no endpoint is named; give its base URL or set OPENAI_BASE_URL"),
    ("http://127.0.0.1:1/v1", None, None, "no model of http://127.0.0.1:1/v1 is named"),
    ("http://127.0.0.1:1/v1", "m", "two\nlines", "the key has characters that no key has"),
    *((url, "m", None, "is no base URL") for url in ("file:///e", "127.0.0.1:8000", "http://", "http://[::1", "http://a:b", "http:// b")),
])
def test_an_endpoint_that_cannot_be_asked_is_refused_before_it_is(url, model, key, cause):
    with pytest.raises(UserError, match=cause):
        endpoint(url, model, key)


# A server on this machine -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served():
    with serve(SMALL) as there:
        yield there


@pytest.mark.slow
def test_the_server_writes_what_the_model_writes(served):
    here = generate(load_model(SMALL), load_tokenizer(SMALL), PROMPTS, tokens=12, stop="\n")
    assert served.complete(PROMPTS, tokens=12, stop="\n") == here and len(set(here)) == len(PROMPTS)
    assert served.complete(PROMPTS[:1], tokens=12) == served.complete(PROMPTS[:1], tokens=12) != served.complete(PROMPTS[:1], tokens=3)


@pytest.mark.slow
def test_the_server_has_one_model_and_is_found_on_this_machine_alone(served):
    assert served.base_url.startswith("http://127.0.0.1:") and served.key is None
    assert "status 400" in said(Endpoint(served.base_url, "another"))
    assert "status 404" in said(Endpoint(served.base_url + "/nowhere", served.model))


SLEEP = "import time\ntime.sleep(60)"


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started while a test runs."""
    started, popen = [], subprocess.Popen

    def look(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", look)
    return started


def stand_in(monkeypatch, code: str) -> None:
    """Let ``code`` run in place of the library's server, in the process that would run it."""
    monkeypatch.setattr(module, "_SERVE", module._SERVE.split("from transformers")[0] + code)


def test_a_server_ends_with_its_block_even_if_that_fails(monkeypatch, processes):
    stand_in(monkeypatch, SLEEP)
    monkeypatch.setattr(module, "_wait_until_ready", lambda *_: None)
    with pytest.raises(KeyError), serve(SMALL):
        assert processes[0].poll() is None
        raise KeyError
    assert processes[0].poll() == 0, "it ended by itself: it was not killed"


def test_a_server_that_does_not_heed_the_end_is_killed(monkeypatch, processes):
    monkeypatch.setattr(module, "_SERVE", SLEEP)
    monkeypatch.setattr(module, "_wait_until_ready", lambda *_: None)
    monkeypatch.setattr(module, "GRACE", 0.2)
    with serve(SMALL):
        pass
    assert processes[0].poll() not in (None, 0)


def test_a_server_ends_when_the_process_that_started_it_is_killed():
    """Nobody closes the pipe then but the system."""
    server = module._SERVE.split("from transformers")[0] + SLEEP
    code = f"import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', {server!r}], stdin=subprocess.PIPE).pid"
    code += ", flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        int(parent.stdout.readline())
        parent.kill()
        # The server has the same output: it is closed when both have ended.
        rest = threading.Thread(target=parent.stdout.read, daemon=True)
        rest.start()
        rest.join(15)
        assert not rest.is_alive()
    finally:
        parent.kill()
        parent.wait()


def test_a_server_that_ends_early_says_why(monkeypatch):
    stand_in(monkeypatch, "raise SystemExit('no room for weights')")
    with pytest.raises(UserError, match="ended before it was ready: no room for weights; check the checkpoint"), serve(SMALL):
        pass


def test_patience_with_a_server_ends(monkeypatch, processes):
    stand_in(monkeypatch, SLEEP)
    with pytest.raises(UserError, match="not ready after 0.3 s"), serve(SMALL, patience=0.3):
        pass
    assert processes[0].poll() is not None


def test_what_serving_needs_is_named(monkeypatch):
    monkeypatch.setattr(module, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(UserError, match=r'needs the package no_such_package; pip install "transformers\[serving\]"'), serve(SMALL):
        pass


def test_what_is_no_checkpoint_is_not_served(tmp_path):
    with pytest.raises(UserError, match="unknown model"), serve("nobody/nothing"):
        pass
    with pytest.raises(UserError), serve(str(tmp_path)):
        pass
