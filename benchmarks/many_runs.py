"""What many runs cost beside their training: leases, news and orders. `python benchmarks/many_runs.py [FOLDER]`.

FOLDER: on the disk that results are to lie on, a temporary one by default.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ganbench.results.lease import Lease
from ganbench.runs.executors.news import Journal
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.executors.worker import Event
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training.budget import Meters, Tick

RUNS = 1000


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        results = Path(folder)
        begun = time.perf_counter()
        (job,) = plan(Request(("gan",), ("digits",), seeds=1), discover()).jobs
        print(f"planning one run, plugins imported: {time.perf_counter() - begun:.1f} s")
        jobs = [replace(job, spec=replace(job.spec, seed=seed)) for seed in range(RUNS)]
        orders = [RunOrder(each, results) for each in jobs]
        size = len(pickle.dumps(orders[0]))
        begun = time.perf_counter()
        for order in orders:
            order.news()
        print(f"an order: {size / 1000:.1f} kB; first look at one: {_each(begun)}")
        begun = time.perf_counter()
        for order in orders:
            order.news()
        print(f"looking for news where there is none: {_each(begun)}")
        tick = Tick(Meters(50, 3200, {"D": 50, "G": 50}, 1e9, 1.0, 10**9), {"D": 0.5, "G": 0.7})
        begun = time.perf_counter()
        for order in orders:
            Journal(order._path).write(Event(order.job, 0.1, tick))
        print(f"writing news: {_each(begun)}")
        begun = time.perf_counter()
        told = [news for order in orders for news in order.news()]
        print(f"reading {len(told)} news: {_each(begun)}")
        begun = time.perf_counter()
        for order in orders:
            lease = Lease(order._path.parent)
            assert lease.acquire()
            lease.release()
        print(f"getting a lease and giving it back: {_each(begun)}")


def _each(begun: float) -> str:
    return f"{(time.perf_counter() - begun) / RUNS * 1000:.2f} ms each"


if __name__ == "__main__":
    main()
