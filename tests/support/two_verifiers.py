"""Both verifiers on the same bytes: the Python one, and the one of ``chain/bundle/browser``.

Tests that make or alter bundles import ``verify`` from here. A bundle on which the two differ, in
verdict, code, exit code or sentences, fails the test that made it: one of them is wrong. On a
machine without the second verifier's compiler the first is asked alone, unless ``CI`` is ``true``.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chain.bundle import verifier
from chain.bundle.claims import ProfileChecker, Report
from chain.bundle.form import MAX_BYTES
from chain.bundle.trust import Trust
from chain.core.errors import VerificationError
from chain.core.printable import printable
from nodes.cli.verify import CHECKERS

BROWSER = Path(verifier.__file__).parent / "browser"
RUNNER = Path(__file__).with_name("second_verifier.ts")

Answer = dict[str, Any]


def verify(
    data: bytes,
    trust: Trust,
    checkers: Mapping[str, ProfileChecker] = CHECKERS,
    *,
    max_bytes: int = MAX_BYTES,
) -> Report:
    """``chain.bundle.verifier.verify``, once the second verifier has come to the same result."""
    known = {**CHECKERS, **checkers}
    if not is_installed() and os.environ.get("CI") != "true":
        return verifier.verify(data, trust, known, max_bytes=max_bytes)
    second = second_answer(data, json.dumps(trust.to_json()).encode(), max_bytes=max_bytes)
    try:
        report = verifier.verify(data, trust, known, max_bytes=max_bytes)
    except VerificationError as error:
        require_same(refusal(error.code, error.exit_code), second)
        raise
    except Exception:
        # What ``qiaolian verify`` reports of an exception that no checker foresaw.
        require_same(refusal("bundle_malformed", 10), second)
        raise
    require_same(accepted(report), second)
    return report


def is_installed() -> bool:
    """Whether set-up has installed the second verifier's compiler and libraries."""
    return (BROWSER / "node_modules" / ".bin" / "esbuild").is_file()


def require_installed() -> None:
    """Skip the test without the second verifier; fail it where ``CI`` is ``true``."""
    if is_installed():
        return
    sentence = "real part missing: the browser verifier's compiler"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{sentence}; ./scripts/test installs it", pytrace=False)
    pytest.skip(sentence)


def accepted(report: Report) -> Answer:
    """The answer of ``qiaolian verify --json``."""
    return {
        "valid": True,
        "story": report.profile,
        "height": report.height,
        "time": report.time,
        "proved": [*map(printable, report.proved)],
        "limits": [*map(printable, report.limits)],
    }


def refusal(code: str, exit_code: int) -> Answer:
    """A refusal without its sentence, which each implementation words itself."""
    return {"valid": False, "code": code, "exit": exit_code}


def require_same(first: Answer, second: Answer) -> None:
    """Fail unless the second verifier's answer is the first's."""
    compared = {name: value for name, value in second.items() if name != "sentence"}
    assert compared == first, (
        f"The verifiers differ; the second reports {second.get('sentence')!r}."
    )


def second_answer(bundle: bytes, trust: bytes, *, max_bytes: int = MAX_BYTES) -> Answer:
    """The second verifier's answer on the bytes of a bundle and of a trust file."""
    return ask(
        {"kind": "bundle", "bundle": text(bundle), "trust": text(trust), "maxBytes": max_bytes}
    )


def ask(question: Mapping[str, Any]) -> Answer:
    """One question to the second verifier's process, which lives as long as this one."""
    process = _second_verifier()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(question).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, "The second verifier ended."
    answer: Answer = json.loads(line)
    return answer


def text(data: bytes) -> str:
    """Bytes as they are asked about."""
    return base64.b64encode(data).decode()


@functools.cache
def _second_verifier() -> subprocess.Popen[bytes]:
    folder = tempfile.mkdtemp()
    program = Path(folder) / "second_verifier.mjs"
    built = subprocess.run(
        [
            BROWSER / "node_modules" / ".bin" / "esbuild",
            RUNNER,
            "--bundle",
            "--platform=node",
            "--format=esm",
            "--log-level=warning",
            f"--outfile={program}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    process = subprocess.Popen(
        ["node", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
    )
    atexit.register(_end, process, folder)
    return process


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    shutil.rmtree(folder)
