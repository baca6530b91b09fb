"""The command `ganbench`: its subcommands are imported when they are called, and a wrong request is one sentence."""

from __future__ import annotations

import atexit
import errno
import io
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from ganbench import __version__
from ganbench.contract.observers import THREAD
from ganbench.errors import UserError
from ganbench.files import settle_cache
from ganbench.streams import give_up, note_warnings, open_streams, output_kept, tell, visible

COMMANDS = (
    "run",
    "status",
    "report",
    "show",
    "plot",
    "explain",
    "sample",
    "score",
    "list",
    "check",
    "experiment",
    "probe",
    "doctor",
    "results",
    "cache",
)
"""Each is the `command` of the module of its name."""
STOPPING = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Requests to stop: a user's Ctrl-C, a scheduler's notice, a terminal that is closed."""
LONGEST = 3000
"""By so many characters a sentence is too long."""
ECHO_SECONDS = 1.0
"""A request that comes again so soon is the same one: `timeout` sends it to the process and to its group."""
_GIVEN = "ganbench.given"
"""Where a context keeps the words of a command."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a disk says that is no fault of ganbench's, wherever it says it."""


class Hinting(click.Command):
    """A command that says of words which it does not know what would be right."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for unknown options and stray words first: whatever else is missing may only be misspelt."""
        given = list(args)
        ctx.meta[_GIVEN] = given
        try:
            if isinstance(self, click.Group):
                return super().parse_args(ctx, args)
            _, rest, _ = self.make_parser(ctx).parse_args(list(args))
        except click.NoSuchOption as error:
            raise _wrong(_hints().unknown_option(ctx, error.option_name, given), ctx) from None
        if rest and not set(given) & set(self.get_help_option_names(ctx)) and not ctx.resilient_parsing:
            try:
                raise _wrong(_hints().stray(ctx, given, rest), ctx)
            except UserError as error:
                raise _wrong(str(error), ctx) from None
        return super().parse_args(ctx, args)


class Group(Hinting, click.Group):
    """A group of commands that says of a word which is none what would be right."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise _wrong(_hints().unknown_command(ctx, args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


def _wrong(sentence: str, context: click.Context) -> click.UsageError:
    return click.UsageError(visible(sentence), context)  # click itself would drop what steers a terminal


def command_line(context: click.Context, shown: Callable[[str], str] = str) -> str:
    """Return the command that is being carried out, as it can be given again to a shell, each word as it is shown."""
    words = ["ganbench", str(context.info_name), *context.meta.get(_GIVEN, [])]
    return shlex.join(map(shown, words[:-1] if words[-1] == "--" else words))


def _hints() -> Any:
    return import_module("ganbench.cli.hints")  # which nobody needs who writes what is right


class Command(Hinting):
    """A command whose standard output holds what it shows, and nothing that plugins print."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a `UserError`, and warnings of ganbench's own, into their sentences."""
        try:
            with output_kept(), heard(), warnings.catch_warnings():
                note_warnings(lambda message: tell(f"Note: {message}"))
                settle_cache()
                return super().invoke(ctx)
        except UserError as error:
            tell(f"Error: {_readable(str(error))}")
            ctx.exit(2)
        except KeyboardInterrupt:
            tell("Stopped; the same command continues where it was.")
            ctx.exit(130)
        except BrokenPipeError:
            ctx.exit(1)


class Commands(Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ganbench.cli.{cmd_name}").command
        return command

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run the command that the arguments name and end the process, whatever its streams can take."""
        open_streams()
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        try:
            result = super().main(args, standalone_mode=False, **extra)
        except SystemExit as ended:
            result = ended.code
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(file=shown)
            tell(_readable(shown.getvalue().rstrip("\n")))
            result = error.exit_code
        except (KeyboardInterrupt, click.Abort):
            tell("Stopped.")
            result = 130
        except UserError as error:  # of a group that was called without a command
            tell(f"Error: {error}")
            result = 2
        except OSError as error:
            if error.errno in _REFUSED and error.filename is not None:
                tell(f"Error: cannot use {error.filename}: {error.strerror}")
                result = 2
            elif error.errno in (errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO) and error.filename is None:
                give_up(sys.stdout)  # where the help could not be printed
                if not isinstance(error, BrokenPipeError):
                    tell(f"Error: cannot write standard output: {error.strerror or error}")
                result = 1 if isinstance(error, BrokenPipeError) else 2
            else:
                raise
        _end(result if isinstance(result, int) else 0)


def _readable(text: str) -> str:
    """Leave out the middle of what nobody reads to its end: a request may hold any text, and errors name it."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


def _end(code: int) -> NoReturn:
    if code == 130 and threading.current_thread() is threading.main_thread():
        for number in STOPPING:  # it ends anyway, and with this status
            signal.signal(number, signal.SIG_IGN)
    threads = threading.enumerate()
    left = [thread for thread in threads if not thread.daemon and thread is not threading.main_thread()]
    stuck = any(thread.name.startswith(THREAD) for thread in threads)  # it was given up, with its library
    if (left or stuck) and sys.stdout is sys.__stdout__:  # a plugin's; the interpreter would wait for them
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
        if not stuck:
            atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


@contextmanager
def heard() -> Iterator[None]:
    """Turn requests to stop into `KeyboardInterrupt` inside the block, each once; ignored ones (`nohup`) stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -ECHO_SECONDS

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > ECHO_SECONDS:
            raise KeyboardInterrupt

    former = {number: signal.getsignal(number) for number in STOPPING}
    try:
        for number, handler in former.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:
                signal.signal(number, handler)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Benchmark and evaluate GANs under identical, metered budgets."""
