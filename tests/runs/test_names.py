"""Names are remembered for what is installed, and for nothing else."""

from ganbench.runs import names
from ganbench.runs.names import names_of, remember, remembered
from ganbench.runs.registry import discover


def test_names_are_those_of_the_registry():
    registry = discover()
    found = names_of(registry)
    assert found["variant"] == sorted(registry.entries["variant"]) and "ring" in found["dataset"]
    assert {"wasserstein", "control"} <= set(found["family"])


def test_what_is_remembered_comes_back_until_something_else_is_installed(tmp_path, monkeypatch, install):
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    assert remembered() is None
    remember({"variant": ["a", "b"]})
    assert remembered() == {"variant": ["a", "b"]}
    names._path().write_text("{half")
    assert remembered() is None
    remember({"variant": ["a"]})
    install("another", "")
    assert remembered() is None


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "file"))
    remember({"variant": ["a"]})
    assert remembered() is None
