"""Builds Kaia's ``kcn`` from the Go module in ``chain/kcn`` (pinned by its go.sum).

``python -m chain.engine.build [--to DIR]`` prints the path of the program; one already built from the same go.sum by the same Go is reused.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from chain.errors import QiaolianError, Unavailable

MODULE = Path(__file__).parent.parent / "kcn"
PACKAGE = "github.com/kaiachain/kaia/cmd/kcn"
DEFAULT_DIRECTORY = Path(os.environ.get("QIAOLIAN_TOOLS", ".tools"))
BUILD_SECONDS = 1_800


def kcn_path(directory: Path = DEFAULT_DIRECTORY) -> Path:
    """Where the built program is.

    Raises:
        Unavailable: ``engine_missing`` when it was not built yet.
    """
    given = os.environ.get("QIAOLIAN_KCN")
    path = Path(given) if given else directory.resolve() / "kcn" / "kcn"
    if not path.exists():
        raise Unavailable(
            "engine_missing",
            "The chain engine kcn is not built.",
            hint="Run ./scripts/demo, or: .venv/bin/python -m chain.engine.build",
        )
    return path


def build(directory: Path = DEFAULT_DIRECTORY) -> Path:
    """Build ``kcn`` into ``directory/kcn`` unless it is there; its path."""
    target = directory.resolve() / "kcn"
    program, stamp = target / "kcn", target / "stamp"
    go = _go()
    wanted = hashlib.sha256((MODULE / "go.sum").read_bytes() + _output([go, "version"]).encode()).hexdigest()
    if program.exists() and stamp.exists() and stamp.read_text() == wanted:
        return program
    if shutil.which(os.environ.get("CC", "gcc")) is None:
        raise Unavailable(
            "compiler_missing",
            "Building kcn needs a C compiler and there is no gcc.",
            hint="Install gcc (Debian: gcc).",
        )
    source = target / "module"
    source.mkdir(parents=True, exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULE / name, source / name)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "1"}
    command = [go, "build", "-ldflags=-checklinkname=0", "-o", str(program), PACKAGE]
    log = target / "build.log"
    with log.open("wb") as output:
        _run_with_progress(command, source, environment, output, log)
    stamp.write_text(wanted)
    return program


def _run_with_progress(
    command: list[str], directory: Path, environment: dict[str, str], output: object, log: Path
) -> None:
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)  # type: ignore[call-overload]
    try:
        while process.poll() is None:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - started
                print(
                    f"  … building kcn, {seconds:.0f} s (about 3 minutes the first time)", file=sys.stderr, flush=True
                )
                if seconds > BUILD_SECONDS:
                    raise Unavailable(
                        "engine_build_failed", "Building kcn took too long.", hint=f"See {log}."
                    ) from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=10)
    if process.returncode != 0:
        text = log.read_text(errors="replace")
        if "no space left" in text:
            raise Unavailable("disk_full", "The disk is full; kcn could not be built.", hint="Free about 3 GB.")
        raise Unavailable("engine_build_failed", "Building kcn failed.", hint=f"See {log}.")


def _go() -> str:
    given = os.environ.get("QIAOLIAN_GO") or shutil.which("go")
    if not given:
        raise Unavailable(
            "go_missing", "Building kcn needs Go and there is none.", hint="Run ./scripts/demo, which installs it."
        )
    return given


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def main() -> int:
    """Build and print the path."""
    parser = argparse.ArgumentParser(description="Build the chain engine kcn.")
    parser.add_argument("--to", type=Path, default=DEFAULT_DIRECTORY, help="tools directory (default .tools)")
    arguments = parser.parse_args()
    try:
        print(build(arguments.to))
    except QiaolianError as error:
        print(f"error[{error.code}]: {error.sentence} {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
