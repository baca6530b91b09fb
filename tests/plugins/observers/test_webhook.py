"""What is posted arrives whole; a server that fails is asked again, and an address is never told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ganbench_plugins.observers import webhook
from ganbench_plugins.observers.webhook import Webhook

from ganbench import UserError, plain


class Server:
    """Keeps what is posted, and answers with the next of `answers`, at the end with 200."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.posts: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.seconds = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posts.append(json.loads(body, parse_constant=pytest.fail))
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                time.sleep(outer.seconds)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Location", f"{outer.url}/elsewhere")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.02))
    found = Server()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_each_event_arrives_with_its_values(story, tell, server):
    tell(Webhook(), f"{server.url}/hook?token=abc", *story.whole())
    names = [post["event"] for post in server.posts]
    assert names == [
        *("sweep-started", "run-started", "run-ticked", "run-marked", "run-marked", "run-ended", "sweep-ended")
    ]  # of ticks one in ten seconds
    started, marked, ended = server.posts[1], server.posts[3], server.posts[5]
    assert started["run"] == plain(story.run) and started["command"] == story.begin()[1].command
    assert marked["run"] == {"id": story.run.id, "name": story.run.name}
    assert marked["values"]["fid@64"]["value"] == 512 and marked["values"]["fid@64"]["protocol_hash"] == "ab12cd34"
    assert "pictures" not in marked
    assert server.posts[2]["losses"] == {"D": -64, "G": "NaN"}
    assert ended["record"] == plain(story.end(512).record) and ended["status"] == "done"
    assert set(server.paths) == {"/hook?token=abc"}
    assert server.headers[0]["Content-Type"] == "application/json"


def test_ticks_are_sent_again_when_their_time_has_come(story, other, tell, server, monkeypatch):
    monkeypatch.setattr(webhook, "TICK_SECONDS", 0.0)
    tell(Webhook(), server.url, story.tick(64), story.tick(128), other.tick(64))
    assert [(post["run"]["id"][:2], post["spent"]["images"]) for post in server.posts] == [
        *(("01", 64), ("01", 128), ("fe", 64))
    ]


@pytest.mark.parametrize("answers", [[503], [429, 500]])
def test_a_server_that_fails_for_a_while_is_asked_again(answers, story, tell, server):
    server.answers = list(answers)
    tell(Webhook(), server.url, story.mark(256))
    assert len(server.posts) == len(answers) + 1
    assert all(post == server.posts[0] for post in server.posts)


@pytest.mark.parametrize(
    ("answers", "posts", "sentence"),
    [
        ([404], 1, "the server answered 404 Not Found"),
        ([401], 1, "the server answered 401 Unauthorized"),
        ([503] * 9, 3, "the server answered 503 Service Unavailable"),
        ([302], 1, "the server answered 302 Found"),
        ([307], 1, "the server answered 307 Temporary Redirect"),
    ],
)
def test_a_refusal_is_an_error_and_redirects_are_not_followed(answers, posts, sentence, story, tell, server):
    server.answers = list(answers)
    with pytest.raises(UserError, match=f"^{sentence}$"):
        tell(Webhook(), f"{server.url}/secret", story.mark(256))
    assert server.paths == ["/secret"] * posts


def test_a_slow_server_is_not_waited_for(story, tell, server, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.05)
    server.seconds = 0.3
    with pytest.raises(UserError, match=r"^the server cannot be reached: TimeoutError: timed out$"):
        tell(Webhook(), f"{server.url}/secret", story.mark(256))


def test_a_server_that_is_not_there_is_told_without_the_address(story, tell, server):
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(UserError, match="the server cannot be reached: ConnectionRefusedError") as caught:
        tell(Webhook(), f"{server.url}/secret", story.mark(256))
    assert "secret" not in str(caught.value) and server.url not in str(caught.value)


def test_name_and_password_are_sent_as_a_header(story, tell, server):
    tell(Webhook(), server.url.replace("//", "//me:p%40ss@"), story.mark(256))
    assert server.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="
    assert "@" not in server.headers[0]["Host"]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "it has no address: write webhook:https://HOST/PATH"),
        ("file:///etc/secret", "its address begins with 'file': only http and https are written to"),
        ("ftp://host/secret", "its address begins with 'ftp'"),
        ("host/secret", "its address begins with ''"),
        ("http:///secret", "its address has no host"),
        ("http://host:secret/", "its address cannot be read"),
        ("http://host/secret\r\nX-Header: 1", "characters that none may hold"),
        ("http://host/se cret", "characters that none may hold"),
        ("http://[secret", "its address cannot be read"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_told(address, sentence):
    with pytest.raises(UserError) as caught:
        Webhook().check(address)
    assert sentence in str(caught.value) and "secret" not in str(caught.value)
