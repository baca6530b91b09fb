"""Whatever bytes stand where ganbench reads: made again, or refused in one sentence; never believed."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import (  # noqa: E402
    HealthCheck,
    given,
    settings,
    strategies as st,
)
from pydantic import TypeAdapter  # noqa: E402

from ganbench.archives import (  # noqa: E402
    Unusable as UnusableArchive,
    read_archive,
    write_archive,
)
from ganbench.contract.types import Value  # noqa: E402
from ganbench.errors import UserError  # noqa: E402
from ganbench.results.codec import _curve_shape, encode, is_plain, read, read_lean, text_of  # noqa: E402
from ganbench.results.record import Mark, RunRecord, RunSpec  # noqa: E402
from ganbench.results.sharing import Shared  # noqa: E402
from ganbench.runs.checkpoint import Unusable, load_state, save_state  # noqa: E402
from ganbench.runs.options import resolve  # noqa: E402
from ganbench.scoring.features import _load_features  # noqa: E402
from ganbench.scoring.references import parsed, written  # noqa: E402
from ganbench.toolbox import sources  # noqa: E402
from ganbench.toolbox.prepared import prepared  # noqa: E402
from ganbench.training.budget import Budget, Meters  # noqa: E402

CURVES = TypeAdapter(list[Mark])

often = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
wholes = st.integers(0, 2**60)
numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
positive = st.floats(0, 1e300)
plain = st.recursive(
    st.none() | st.booleans() | wholes | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
facts = st.dictionaries(words, plain, max_size=4)
meters = st.builds(
    Meters,
    steps=wholes,
    images=wholes,
    updates=st.dictionaries(words, wholes, max_size=2),
    flops=positive,
    seconds=positive,
    peak_bytes=wholes,
)
values = st.builds(
    Value, numbers, protocol=facts, reference=st.none() | numbers, higher_is_better=st.none() | st.booleans()
)
marks = st.builds(Mark, share=st.floats(0, 1), meters=meters, values=st.dictionaries(words, values, max_size=2))
specs = st.builds(
    RunSpec,
    variant=words,
    dataset=words,
    backbone=words,
    budget=st.builds(Budget, st.floats(1, 1e15), st.sampled_from(["images", "updates", "flops", "seconds"])),
    seed=wholes,
    size=wholes,
    batch=wholes,
    options=facts,
    config=facts,
    data=words,
    code=st.dictionaries(words, words, max_size=2),
    preset=words,
    numbers=st.integers(1, 5),
)
known = {"variant": {}, "backbone": {}, "dataset": {}}
records = st.builds(
    RunRecord,
    specs,
    st.sampled_from(["done", "diverged", "error", "killed"]),
    error=words,
    meters=meters,
    values=st.dictionaries(words, st.lists(values, max_size=2), max_size=2),
    unscored=st.dictionaries(words, words, max_size=2),
    curve=st.lists(marks, max_size=2),
    variant=facts.map(lambda found: {**found, "defaults": known}),
    provenance=facts,
    checksums=st.dictionaries(words, words, max_size=2),
)

garbage = st.binary(max_size=300) | plain.map(lambda value: json.dumps(value).encode())


@st.composite
def harmed(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Bytes that are not what was written: others, cut ones, changed or moved ones."""
    if draw(st.integers(0, 4)) == 0:
        found: bytes = draw(garbage)
    else:
        place = draw(st.integers(0, len(whole) - 1))
        end = draw(st.integers(place, min(len(whole), place + 40)))
        words_of_json = [b"1e999", b"NaN", b"-Infinity", b"[" * 2000, b"1" * 400, b"null", b"{}", b'"', b",", b""]
        found = whole[:place] + draw(st.binary(max_size=6) | st.sampled_from(words_of_json)) + whole[end:]
    hypothesis.assume(found != whole)
    return found


def a_record() -> RunRecord:
    spec = RunSpec("gan", "digits", "dcgan", Budget(1280, "images"), 0, 8, 64, data="d" * 64, config={"x": {"y": 1.5}})
    of = Value(1.25, {"n": 5, "of": "x"}, 2.0, False)
    mark = Mark(0.5, Meters(10, 640, {"D": 10, "G": 10}, 1e9, 1.0, 5), {"fid": of})
    return RunRecord(
        spec, "done", "", mark.meters, {"fid": [of]}, {"kid": "no"}, [mark, replace(mark, share=1.0)],
        {"defaults": known}, {"machine": {"cores": 2}}, {"traces": "0" * 64},
    )  # fmt: skip


# Records


@given(record=records)
@often
def test_every_valid_record_comes_back(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "seed0.json"
    path.write_bytes(encode(record))
    assert read(path) == record
    for curve in (False, True):
        lean, text = read_lean(path, Shared(), curve=curve)
        assert replace(lean, curve=record.curve) == record and lean.curve == []
        assert not curve or CURVES.validate_json(text) == record.curve


@given(data=st.data())
@often
def test_a_mutated_record_is_read_alike_or_one_line(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "seed0.json"
    path.write_bytes(data.draw(harmed(encode(a_record()))))
    found: list[Any] = []
    for reader in (read, lambda path: read_lean(path, Shared(), curve=True)):
        try:
            found.append(reader(path))
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            found.append(None)
    whole, lean = found
    assert (whole is None) == (lean is None)
    if whole is not None:
        json.loads(lean[1], parse_constant=pytest.fail)
        assert lean[0] == replace(whole, curve=[]) and CURVES.validate_json(lean[1]) == whole.curve


@given(data=st.data())
@often
def test_a_curve_that_is_passed_on_is_one(data: Any) -> None:
    text = data.draw(harmed(text_of(a_record().curve)))

    def accepts(adapter: Any) -> bool:
        try:
            adapter.validate_json(text, strict=True)
        except (ValueError, RecursionError):
            return False
        return True

    assert accepts(_curve_shape()) == accepts(CURVES)
    if accepts(CURVES) and is_plain(text):
        json.loads(text, parse_constant=pytest.fail, parse_float=lambda number: float(number) - float(number) == 0)
        json.dumps(json.loads(text), allow_nan=False)


# Caches


@given(data=st.data())
@often
def test_no_reference_is_believed_that_was_not_written(data: Any) -> None:
    found = {"fid": (1.5, 2.5), "kid": (-2.0,)}
    content = written(found, "name")
    assert parsed(data.draw(harmed(content)), "name") is None
    assert parsed(content, "name") == found and parsed(content, "another") is None


@given(data=st.data())
@often
def test_no_features_are_believed_that_were_not_written(data: Any, tmp_path: Path) -> None:
    arrays = {"embedding": np.arange(12, dtype=np.float32).reshape(4, 3)}
    whole = io.BytesIO()
    write_archive(whole, arrays, "key", compress=False)
    path = tmp_path / "features.npz"
    path.write_bytes(data.draw(harmed(whole.getvalue())))
    if (found := _load_features(path, "key", 4)) is not None:  # a time or a comment of the archive was changed
        assert np.array_equal(found["embedding"], arrays["embedding"])
    try:
        read_archive(path)
    except UnusableArchive as error:
        assert "damaged" in str(error)


@given(data=st.data())
@often
def test_no_digest_is_believed_that_was_not_noted(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(sources, "_SETTLED", -(10**30))
    stamp = "5" * 64
    note = tmp_path / "digests" / stamp
    note.unlink(missing_ok=True)
    assert sources._remembered(stamp, 0, lambda: "a" * 64) == "a" * 64
    note.write_bytes(data.draw(harmed(note.read_bytes())))
    assert sources._remembered(stamp, 0, lambda: "b" * 64) in ("b" * 64, "a" * 64)
    value, _, check = note.read_bytes().decode("ascii", "replace").partition(":")
    assert check == sources._check(stamp, value)


@given(data=st.data())
@settings(often, max_examples=60)
def test_no_prepared_array_is_believed_that_was_not_written(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    built: list[Path] = []

    def build(folder: Path) -> Mapping[str, Any]:
        built.append(folder)
        np.save(folder / "train.npy", np.arange(20))
        return {"classes": ["a", "b"]}

    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    prepared({"source": "x"}, build)
    (folder,) = (tmp_path / "data").iterdir()
    path = folder / data.draw(st.sampled_from(["train.npy", "meta.json"]))
    before = path.read_bytes()
    path.unlink()  # what is mapped into memory is not to be cut
    path.write_bytes(data.draw(harmed(before)))
    again = prepared({"source": "x"}, build)
    assert again.arrays["train"].tolist() == list(range(20)) and again.notes == {"classes": ["a", "b"]}
    if path.name == "train.npy":
        assert len(built) == 2


# States


@given(data=st.data())
@often
def test_no_checkpoint_is_believed_that_was_not_written(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    state = {"trainer": {"w": torch.arange(6.0), "steps": 5}, "curve": "[]"}
    save_state(path, state, "run")
    path.write_bytes(data.draw(harmed(path.read_bytes())))
    try:
        found = load_state(path, "run")
    except Unusable as error:
        assert "\n" not in str(error)
        return
    assert found is not None and torch.equal(found["trainer"].pop("w"), torch.arange(6.0))
    assert found == {"trainer": {"steps": 5}, "curve": "[]"}


@given(data=st.data())
@often
def test_traces_that_were_not_written_are_refused(data: Any, tmp_path: Path) -> None:
    arrays = {"loss/G": np.linspace(0, 1, 50)}
    whole = io.BytesIO()
    write_archive(whole, arrays, "run")
    path = tmp_path / "traces.npz"
    path.write_bytes(data.draw(harmed(whole.getvalue())))
    try:
        found = read_archive(path)
    except UnusableArchive as error:
        assert str(error)
        return
    if found.owner == "run":
        assert np.array_equal(found.arrays["loss/G"], arrays["loss/G"])


# Settings


@given(key=st.sampled_from(["lr", "clip", "critic_steps", "none"]) | words, text=words | garbage.map(repr))
@often
def test_any_setting_is_an_option_or_one_sentence(key: str, text: str) -> None:
    from ganbench_plugins.variants.wgan import WGAN

    try:
        config = resolve(WGAN, "wgan", {key: text})
    except UserError as error:
        assert str(error).startswith("wgan")
        return
    again = resolve(WGAN, "wgan", {key: json.dumps(getattr(config, key))})
    assert again == config
