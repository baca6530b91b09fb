"""What the figures of a page are told of runs."""

import json
import re
from dataclasses import replace

from page_records import page_of, run, value

from ganbench.results.store import ResultStore


def test_where_a_run_collapsed_is_told(record, tmp_path):
    store = ResultStore(tmp_path)
    for seed, levels in enumerate([(8.0, 2.0, 5.0), (8.0, 4.0, 3.0)]):
        whole = run(record, "gan", seed, 1.0)
        curve = [replace(mark, values={"fid": value(level)}) for mark, level in zip(whole.curve, levels, strict=True)]
        store.add(replace(whole, curve=curve, values={"fid": [value(levels[-1])]}))
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page_of(store), re.DOTALL)
    assert text is not None
    curves = json.loads(text[1])["t1"]["curves"]["fid"]
    assert {over: [(seed, fell) for _, seed, *_, fell in of["runs"]] for over, of in curves.items()} == {
        over: [(0, 2), (1, None)] for over in ("images", "updates", "seconds")
    }
