"""Which devices a run on several has, and what cannot be one."""

import os

import pytest
import torch

from ganbench.errors import UserError
from ganbench.training.connecting import (
    Parted,
    Processes,
    _by_loopback,
    connect,
    group_of,
    open_meeting,
    part,
    require_several,
)
from ganbench.training.devices import all_devices, default_jobs

CPU = torch.device("cpu")


@pytest.fixture
def four_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_run_has_devices_that_follow_one_another(four_cards):
    assert group_of(CPU, 3) == [CPU] * 3 and group_of(torch.device("mps"), 1) == [torch.device("mps")]
    assert [str(each) for each in group_of(torch.device("cuda", 1), 3)] == ["cuda:1", "cuda:2", "cuda:3"]
    for device, size, told in (
        ("cuda:0", 5, "--devices 5: this machine has 4 CUDA devices$"),
        ("cuda:3", 2, "this machine has 4 CUDA devices, and the first is to be cuda:3"),
        ("mps", 2, "--devices 2: several devices are CUDA devices, or processes on a CPU, not mps"),
    ):
        with pytest.raises(UserError, match=told):
            group_of(torch.device(device), size)


@pytest.mark.parametrize(
    ("each", "firsts"), [(1, ["0", "1", "2", "3"]), (2, ["0", "2"]), (3, ["0"]), (4, ["0"]), (5, ["0"])]
)
def test_runs_are_dealt_over_groups_of_devices(four_cards, each, firsts):
    assert all_devices("cuda", each) == [f"cuda:{first}" for first in firsts]
    assert all_devices("cuda:1", each) == ["cuda:1"]


def test_on_a_cpu_fewer_runs_of_more_processes_are_made_side_by_side(monkeypatch):
    monkeypatch.setattr("ganbench.training.devices.cores", lambda: 6)
    assert [default_jobs(CPU, each) for each in (1, 2, 4, 9)] == [6, 3, 1, 1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"batch": 63}, "--batch 63 cannot be shared out equally among 2 devices: give a multiple"),
        ({"batch": 64, "compiled": True}, "--compile is for one device, not for --devices 2"),
    ],
)
def test_what_no_variant_can_do_on_several_devices_is_refused(asked, told):
    with pytest.raises(UserError, match=told):
        require_several("cpu", 2, **{"compiled": False, **asked})
    require_several("cpu", 2, batch=64, compiled=False)


def test_processes_meet_by_the_loopback_and_sum(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with _by_loopback():
        assert os.environ.get("GLOO_SOCKET_IFNAME", "lo").startswith("lo")
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    place = open_meeting(1)
    group = connect(place, 0, 1, CPU)
    try:
        x = torch.arange(3)
        group.sum_(x)
        assert x.tolist() == [0, 1, 2] and (group.rank, group.size) == (0, 1)
    finally:
        part()
    with pytest.raises(Parted):
        Processes(0, 2).sum_(torch.ones(1))
    part()  # nobody is left to part from
