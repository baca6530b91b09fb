"""A plugin of one file for the tests: executors that make no run, and misbehave."""

from dataclasses import dataclass

from ganbench import Executor, follow, hookimpl


class Needs(Executor):
    name = "needs"
    needs = ("json", "no_such_package")
    install = "x[needs]"

    def execute(self, orders, terms):
        raise AssertionError("it cannot be used")


@dataclass(frozen=True)
class Config:
    nodes: int = 1
    time_limit: int = 0


class HasOptions(Executor):
    name, config = "has-options", Config()

    def execute(self, orders, terms):
        raise AssertionError("it is not used")


class Forgets(Executor):
    name = "forgets"

    def execute(self, orders, terms):
        yield from ()


class Loses(Executor):
    name = "loses"

    def execute(self, orders, terms):
        yield from follow(orders, lambda order: "its node is gone")


class Fails(Executor):
    name = "fails"

    def execute(self, orders, terms):
        yield orders[0].note("so far so good")
        raise RuntimeError("no luck")


class Babbles(Executor):
    name = "babbles"

    def execute(self, orders, terms):
        yield "hello"


class Watches(Executor):
    name = "watches"

    def execute(self, orders, terms):
        try:
            yield orders[0].note("begun")
            yield from follow(orders, lambda order: None)
        finally:
            (terms.results / "closed").touch()


@hookimpl
def ganbench_executors():
    return [Needs(), HasOptions(), Forgets(), Loses(), Fails(), Babbles(), Watches()]
