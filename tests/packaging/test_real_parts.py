"""Programs of other projects that tests need: none is left out unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

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
