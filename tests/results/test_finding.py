"""Runs by what people call them, whatever has become of them, and the files of each."""

from pathlib import Path

import pytest

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.finding import files_of, found_in, names
from ganbench.results.store import ResultStore


@pytest.fixture
def store(tmp_path, record):
    store = ResultStore(tmp_path / "results")
    for made in (
        record("gan", 0),
        record("gan", 1, status="diverged"),
        record("gan", 0, spec={"options": {"lr": 0.1}}),
        record("wgan-gp", 0, status="killed"),
    ):
        store.add(made, {})
    return store


def called(store, text):
    found, problems = found_in(store, text)
    assert problems == [] and all(path.is_file() for path in found)
    return sorted((of.spec.variant, of.spec.seed, len(of.spec.options)) for of in found.values())


def test_a_run_has_four_kinds_of_names(store):
    whole = [("gan", 0, 0), ("gan", 0, 1), ("gan", 1, 0), ("wgan-gp", 0, 0)]
    assert called(store, None) == whole
    assert called(store, "gan") == whole[:3] and called(store, "wgan-gp") == whole[3:]
    assert called(store, "gan lr=0.1") == [whole[1]]
    for path, of in found_in(store, None)[0].items():
        expected = [(of.spec.variant, of.spec.seed, len(of.spec.options))]
        assert (
            called(store, of.spec.id) == called(store, of.spec.id[:5].upper()) == called(store, str(path)) == expected
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gna", "is called 'gna': did you mean 'gan'?"),
        ("wgan-gb", "is called 'wgan-gb': did you mean 'wgan-gp'?"),
        ("gan lr=0.2", "did you mean 'gan lr=0.1'?"),
        ("0", "is called '0'; there are runs of gan, wgan-gp"),
        ("nothing.json", "there is no record nothing.json"),
    ],
)
def test_an_unknown_name_is_told_with_one_that_is_near(text, told, store):
    with pytest.raises(UserError, match=r"\A[^\n]*\Z") as error:
        found_in(store, text)
    assert told in str(error.value)


def test_a_record_that_cannot_be_read_is_told_and_the_others_are_found(store):
    path = next(iter(found_in(store, "wgan-gp")[0]))
    path.write_text("{")
    found, (problem,) = found_in(store, None)
    assert len(found) == 3 and problem.startswith(str(path))
    with pytest.raises(UserError, match="is damaged"):
        found_in(store, str(path))


def test_names_are_those_of_the_table(record):
    value = [Value(1.0, weights="ema")]
    both = [Value(1.0, weights="ema"), Value(2.0, weights="raw")]
    of = [record("gan", 0, {"fid": value}), record("wgan", 0, {"fid": both}), record("r1", 0)]
    assert list(names(of).values()) and names(of) == {
        of[0].spec.id: "gan (ema)", of[1].spec.id: "wgan", of[2].spec.id: "r1"
    }  # fmt: skip


def test_files_are_told_where_they_are(store):
    ((path, record),) = found_in(store, "wgan-gp")[0].items()
    files = files_of(store, path, record)
    assert (files.samples, files.weights, files.error, files.pictures, files.left_out) == (None, None, None, {}, {})
    assert files.record == path and files.traces == store.traces_path(record.spec)

    work = store.work(record.spec)
    (work / "samples").mkdir()
    for name in ("samples/100.png", "final.pt", "error.txt"):
        (work / name).write_text("x")
    files = files_of(store, path, record)
    assert (files.samples, files.weights, files.error) == (work / "samples", work / "final.pt", work / "error.txt")

    folder = store.make_samples(record.spec)
    for name in ("nearest.png", "100.png", "020.png"):
        (folder / name).write_text("x")
    (folder / "left-out.txt").write_text("arithmetic.png: it has: no classes\nwhat nobody wrote\n")
    files = files_of(store, path, record)
    assert files.samples == folder and list(files.pictures) == ["020", "100", "nearest"]
    assert files.left_out == {"arithmetic": "it has: no classes"}


def test_a_record_of_another_folder_has_its_files_there(store, tmp_path):
    ((path, record),) = found_in(store, "wgan-gp")[0].items()
    (store.work(record.spec) / "final.pt").write_text("x")
    other = ResultStore(tmp_path / "other")
    found, _ = found_in(other, str(path))
    assert files_of(other, path, found[path]).weights == store.work(record.spec) / "final.pt"
    assert Path("relative") not in found
