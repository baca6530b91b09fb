"""A plugin of one file for the tests: observers that write down what they hear, and some that misbehave."""

import atexit
import json
import time
from pathlib import Path

from ganbench import Observer, UserError, hookimpl, plain


class Lines(Observer):
    name = "lines"
    summary = "writes each event into a file"
    form = "lines:FILE"

    def check(self, argument):
        if not argument:
            raise UserError("it has no file: write lines:FILE")

    def open(self, argument):
        def hear(event):
            with Path(argument).open("a") as file:
                file.write(json.dumps(plain(event)) + "\n")

        return hear


class Slow(Lines):
    name = "slow"

    def open(self, argument):
        hear = super().open(argument)

        def late(event):
            time.sleep(0.1)
            hear(event)

        return late


class Fails(Observer):
    """Raises at the event that the argument names, `open` for before the first."""

    name = "fails"

    def open(self, argument):
        if argument == "open":
            raise RuntimeError("no luck at all")

        def hear(event):
            if plain(event)["event"] == argument:
                raise RuntimeError("no luck")

        return hear


class Hangs(Observer):
    """Never comes back from the first event, and neither does what its library does at exit."""

    name = "hangs"

    def open(self, argument):
        atexit.register(time.sleep, 3600)
        return lambda event: time.sleep(3600)


class Meddles(Observer):
    """Tries to change whatever it is given, and what the whole process shares."""

    name = "meddles"

    def open(self, argument):
        return meddle


def meddle(event):
    for name in vars(event):
        try:
            setattr(event, name, None)
        except AttributeError:
            continue
        raise AssertionError(f"{name} could be changed")
    spec = getattr(event, "run", None) and event.run.spec
    if spec:
        for change in (lambda: spec.update(seed=7), lambda: spec["config"]["variant"].clear()):
            try:
                change()
            except AttributeError:
                continue
            raise AssertionError("a mapping could be changed")


class Needs(Observer):
    name = "needs"
    needs = ("json", "no_such_package", "nor_this_one")
    install = "ganbench[needs]"

    def open(self, argument):
        raise AssertionError("it cannot be opened")


class Secret(Fails):
    name = "secret"
    secret = True

    def check(self, argument):
        if argument == "wrong":
            raise UserError(f"{argument} is no address")

    def open(self, argument):
        def hear(event):
            raise RuntimeError(f"cannot reach {argument}")

        return hear


@hookimpl
def ganbench_observers():
    return [Lines(), Slow(), Fails(), Hangs(), Meddles(), Needs(), Secret()]
