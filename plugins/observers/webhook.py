"""Each event as JSON, posted to an address: for chats, dashboards and scripts of one's own."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from ganbench import Happening, Observer, RunTicked, UserError, hookimpl, plain

TIMEOUT_SECONDS = 10.0
PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each further attempt."""
TICK_SECONDS = 10.0
"""Of each run one tick is sent in so many seconds: they come more often, and services limit how much they take."""
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which another attempt may succeed."""


class Webhook(Observer):
    """Posts each event as JSON: `event` names it, the other fields are its own; pictures are left out.

    `run` is complete in `sweep-started` and `run-started`, elsewhere its id and name. NaN and infinity are texts. A
    server that is slow or fails is asked four times; redirects are not followed, so nothing goes anywhere else.
    """

    name = "webhook"
    summary = "posts each event as JSON to an address"
    form = "webhook:URL"
    secret = True

    def check(self, argument: str) -> None:
        _address(argument)

    def open(self, argument: str) -> Callable[[Happening], object]:
        return _Posts(*_address(argument)).hear


class _Posts:
    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._last: dict[str, float] = {}
        self._opener = urllib.request.OpenerDirector()  # without handlers for files and redirects
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
        ):
            self._opener.add_handler(handler())

    def hear(self, event: Happening) -> None:
        if isinstance(event, RunTicked):
            now = time.monotonic()
            if now - self._last.get(event.run.id, -TICK_SECONDS) < TICK_SECONDS:
                return
            self._last[event.run.id] = now
        self._post(json.dumps(_content(event), allow_nan=False).encode())

    def _post(self, body: bytes) -> None:
        for pause in (*PAUSES, None):
            request = urllib.request.Request(self._url, body, self._headers, method="POST")
            try:
                with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                    answer.read(1)
                return
            except HTTPError as error:
                error.close()
                why = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
                if error.code not in AGAIN or pause is None:
                    raise UserError(why) from None
            except (OSError, http.client.HTTPException) as error:  # `URLError` is an `OSError`
                cause = error.reason if isinstance(error, URLError) else error
                why = f"the server cannot be reached: {type(cause).__name__}: {cause}"
                if pause is None:
                    raise UserError(why) from None
            time.sleep(pause)


def _content(event: Happening) -> dict[str, Any]:
    content: dict[str, Any] = plain(event)
    content.pop("pictures", None)
    if "run" in content and content["event"] != "run-started":
        content["run"] = {key: content["run"][key] for key in ("id", "name")}
    return content


def _address(text: str) -> tuple[str, dict[str, str]]:
    """Return where to post and the headers. Raises `UserError` that does not hold the address, which may be secret."""
    headers = {"Content-Type": "application/json", "User-Agent": "ganbench"}
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UserError("its address cannot be read: write webhook:https://HOST/PATH") from None
    if not text:
        raise UserError("it has no address: write webhook:https://HOST/PATH")
    if parts.scheme not in ("http", "https"):
        raise UserError(f"its address begins with {parts.scheme!r}: only http and https are written to")
    if not host or not text.isascii() or any(each <= " " or each == "\x7f" for each in text):
        raise UserError("its address has no host, or characters that none may hold: write webhook:https://HOST/PATH")
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    place = f"[{host}]" if ":" in host else host
    netloc = place if port is None else f"{place}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, "")), headers


@hookimpl
def ganbench_observers() -> list[Observer]:
    return [Webhook()]
