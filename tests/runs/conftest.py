"""What tests of plugins share: distributions, installed for the length of a test."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions as pip leaves them, modules and metadata, for the length of a test.

    `beside`: sources of further modules of the distribution, by name.
    """
    modules: list[str] = []

    def make(
        distribution: str, source: str, *, entry: str | None = None, target: str | None = None, **beside: str
    ) -> Path:
        folder, module = tmp_path / distribution, f"installed_{distribution.replace('-', '_')}"
        info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        file = folder / f"{module}.py"
        for name, text in {module: source, **beside}.items():
            (folder / f"{name}.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[ganbench]\n{entry or distribution} = {target or module}\n")
        monkeypatch.syspath_prepend(str(folder))
        modules.extend([module, *beside])
        return file

    yield make
    for name in list(sys.modules):
        if name.partition(".")[0] in modules:
            del sys.modules[name]
