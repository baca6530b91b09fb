"""Following orders that an engine has taken: their news, and an end for those that it lost. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence

from ganbench.contract.executors import News, Order

LOOK_SECONDS = 0.5
"""How often news is looked for."""
LOOKS_A_SECOND = 200
"""So many orders are looked at in a second at most: each is a file on a disk that many machines share."""
LAG_SECONDS = 5.0
"""How long after a job has ended its last news is waited for, which a network disk may bring late."""


def follow(
    orders: Sequence[Order],
    fate: Callable[[Order], str | None],
    more: Callable[[], Iterable[News]] = tuple,
) -> Generator[News, None, None]:
    """Yield the news of orders as it comes, until each has ended.

    `fate`: asked of an order that has not ended: None while its job waits or runs, else how the job ended, in a few
    words. Where no last news comes after that, the run is lost, and this is why. `more`: asked at each look, for what
    else there is to say.
    """
    going, over = list(orders), dict[str, float]()
    while going:
        for order in list(going):
            why = fate(order)  # asked first: what is told before a job ends is there when it has ended
            news = list(order.news())
            if why is None:
                over.pop(order.run, None)
            elif time.monotonic() - over.setdefault(order.run, time.monotonic()) >= LAG_SECONDS:
                news += [] if any(each.ended for each in news) else [order.lost(why)]
            yield from news
            if any(each.ended for each in news):
                going.remove(order)
        yield from more()
        if going:
            time.sleep(max(LOOK_SECONDS, len(going) / LOOKS_A_SECOND))
