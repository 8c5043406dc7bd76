"""A source that cannot be read is reported and tried again, and the other sources are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.core.errors import QiaolianError, Unavailable
from nodes.config import parse
from nodes.sources import Sources
from nodes.sources.monitor import SourceMonitor, SourceStatus
from registry.uscc import with_check_character

MEMBER = with_check_character("11440700MB2N0D001")


def sources_in(home: Path, **urls: str) -> Sources:
    """Sources by URL; each that is no file names a table."""
    entries = {
        name: {
            "url": url,
            "key": "id",
            **({} if url.startswith(("csv", "parquet")) else {"table": "t"}),
        }
        for name, url in urls.items()
    }
    config = {
        "member": MEMBER,
        "name": "x",
        "roles": ["department"],
        "keys": {"passphrase_env": "P"},
        "chain": {"rpc": ["http://127.0.0.1:1"], "finality": "unsealed-test"},
        "sources": entries,
    }
    return Sources(parse(config, home=home))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nosuchengine://u:hidden@127.0.0.1/x", "source_url_wrong"),
        ("oracle+oracledb://u:hidden@127.0.0.1/x", "source_driver_missing"),
        ("postgresql://u:hidden@127.0.0.1:port/x", "source_url_wrong"),
        ("no url:hidden", "source_url_wrong"),
        ("sqlite:////nonexistent/folder/hidden.db", "source_unreachable"),
        ("csv:///nonexistent/rows.csv", "source_missing"),
        ("parquet:///nonexistent/rows.parquet", "source_missing"),
    ],
)
def test_a_bad_source_has_a_code_and_a_hint_and_leaves_the_others_alone(
    tmp_path: Path, url: str, code: str
) -> None:
    (tmp_path / "good.csv").write_text("id,x\nA,1\n")
    sources = sources_in(tmp_path, bad=url, good=f"csv://{tmp_path}/good.csv")
    monitor = SourceMonitor(sources, seconds=60)
    found = monitor.check("bad")
    assert (found.code, monitor.check("good")) == (code, SourceStatus("good"))
    assert found.hint
    assert "hidden" not in found.detail + found.hint
    assert sources["good"].lookup("A") == {"id": "A", "x": 1}
    with pytest.raises(QiaolianError, check=lambda error: error.code == code):
        sources["bad"].lookup("A")
    sources.close()


def test_a_source_that_is_repaired_is_served_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "qiaolian.sources")
    monitor = SourceMonitor(sources_in(tmp_path, people=f"csv://{tmp_path}/people.csv"), seconds=60)
    assert monitor.check("people").code == "source_missing"
    assert monitor.check("people").code == "source_missing"
    (tmp_path / "people.csv").write_text("id,x\nA,1\n")
    assert monitor.check("people").up
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"], (
        "one line for each change"
    )


def test_what_a_driver_raises_unexpectedly_is_reported_by_its_type_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sources_in(tmp_path, people=f"csv://{tmp_path}/people.csv")
    opened = sources.opened("people")

    def broken() -> None:
        raise ArithmeticError("the value 42 of a person")

    monkeypatch.setattr(opened, "schema", broken)
    with pytest.raises(
        Unavailable,
        check=lambda error: error.code == "source_failed" and "42" not in error.sentence,
    ):
        sources.check("people")
