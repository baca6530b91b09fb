"""How the folder of prepared arrays lies on disk; `test_sources` says how it is built."""

import os
from pathlib import Path

import numpy as np
import pytest

from ganbench import prepared


@pytest.mark.skipif(os.name != "posix", reason="no permissions of this kind here")
@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_prepared_folder_has_the_permissions_that_the_umask_gives(
    mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    before = os.umask(mask)
    try:
        prepared({"mask": mask}, lambda folder: np.save(folder / "a.npy", np.arange(3)))
    finally:
        os.umask(before)
    (folder,) = [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
