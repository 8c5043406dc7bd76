"""Programs of other projects that tests need: none is left out unnoticed."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import brotli
import pytest

from tests.support import chromium
from tests.support.real_parts import REAL_PARTS, RealPart, real_part


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    part = RealPart(program="qiaolian-no-such-program", debian=())
    monkeypatch.setitem(REAL_PARTS, "nothing", part)


@pytest.mark.usefixtures("missing")
def test_without_its_part_a_test_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="real part missing: nothing"):
        real_part("nothing")


@pytest.mark.usefixtures("missing")
def test_in_continuous_integration_a_missing_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="real part missing: nothing"):
        real_part("nothing")


def test_a_program_without_a_file_it_needs_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch(mode=0o755)
    needed = tmp_path / "module.so"
    part = RealPart(program="program", debian=(), folders=(str(tmp_path),), needs=(str(needed),))
    assert part.find() is None
    needed.touch()
    assert part.find() == program


def packed_browser(folder: Path) -> None:
    """A package as the registry has it, with a browser that says what it was given."""
    folder.mkdir()
    program = b'#!/bin/sh\necho "$LD_LIBRARY_PATH" "$@"\n'
    (folder / "chromium.br").write_bytes(brotli.compress(program))
    for name, member in (("al2023", "lib/a.so"), ("swiftshader", "b.so"), ("fonts", "fonts/c.ttf")):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(member))
        (folder / f"{name}.tar.br").write_bytes(brotli.compress(content.getvalue()))


def test_a_browser_of_the_registry_is_unpacked_whole_and_finds_its_libraries(
    tmp_path: Path,
) -> None:
    packed, target = tmp_path / "packed", tmp_path / "tools" / "chromium"
    packed_browser(packed)
    for _ in range(2):
        program = chromium.unpack(packed, target)
    printed = subprocess.run(
        [program, "--headless"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == [f"{target}/lib:{target}", "--headless"]
    assert {path.name for path in target.parent.iterdir()} == {"chromium"}
    (packed / "al2023.tar.br").write_bytes(b"cut off")
    with pytest.raises(brotli.error):
        chromium.unpack(packed, target)
    assert program.is_file()
