"""Requests for small runs, unless the user says otherwise."""

from ganbench import modest_runs


def test_what_is_asked_for_is_kept_and_data_that_are_named_bring_no_size_or_width():
    assert modest_runs({}, dataset="d", size=32) == {
        **{"seeds": 3, "metrics": ("grad-norm-g",), "marks": 1, "dataset": "d", "size": 32},
        "set": ["dcgan.width=32"],
    }
    asked = {"dataset": ["e"], "seeds": [7], "set": ["lr=1"]}
    assert modest_runs(asked, dataset="d", size=32) == {"metrics": ("grad-norm-g",), "marks": 1, **asked}
    assert modest_runs({"backbone": ["mlp"], "size": 8}, size=32)["set"] == []
    assert modest_runs({"size": 8}, size=32)["size"] == 8
    assert asked["set"] == ["lr=1"], "what was asked stays as it was"
