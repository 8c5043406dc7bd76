"""Builds Kaia's ``kcn`` from the Go module in ``chain/kcn``, whose go.sum pins every byte of its
sources.

``python -m chain.engine.build [--to DIR]`` builds ``DIR/kcn/VERSION/kcn`` and prints that path. A
program already built from the same go.sum by the same Go is reused. The program appears whole or
not at all, and two builds at once wait for each other. The module is copied out of the package
first, because an installed package may be read-only.

Errors: ``go_missing``, ``go_unusable``, ``compiler_missing``, ``disk_full``,
    ``engine_build_failed``; ``engine_missing`` for a program not built yet.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from chain.core.errors import QiaolianError, Unavailable
from chain.engine.files import disk_full, disk_full_translated, exclusive_lock

Progress = Callable[[str], None]

MODULE = Path(__file__).resolve().parent.parent / "kcn"
KAIA = "github.com/kaiachain/kaia"
PACKAGE = f"{KAIA}/cmd/kcn"
BUILD_SECONDS = 1_800
PROGRESS_SECONDS = 10
_COMPILING = "building the chain engine"


def engine_version() -> str:
    """Kaia's version as go.mod pins it, such as ``v1.0.3``."""
    found = re.search(
        rf"^\s*{re.escape(KAIA)} (v\S+)",
        (MODULE / "go.mod").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert found is not None, "chain/kcn/go.mod names no version of Kaia"
    return found.group(1)


def tools_directory() -> Path:
    """Where tools are built: ``QIAOLIAN_TOOLS``, else ``.tools`` in the checkout.

    An installed wheel has no checkout and takes the working directory.
    """
    given = os.environ.get("QIAOLIAN_TOOLS")
    if given:
        return Path(given).resolve()
    checkout = MODULE.parents[1]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / ".tools"


def kcn_path(directory: Path | None = None) -> Path:
    """The built program: the one ``QIAOLIAN_KCN`` names (an operator's own), else the one in the
    tools directory.

    Raises:
        Unavailable: ``engine_missing`` when it is not there.
    """
    given = os.environ.get("QIAOLIAN_KCN")
    path = Path(given).resolve() if given else _target(directory) / "kcn"
    if not path.exists():
        raise Unavailable(
            "engine_missing",
            f"The chain engine is not at {path}.",
            hint="Correct QIAOLIAN_KCN."
            if given
            else "Run ./scripts/demo, or: .venv/bin/python -m chain.engine.build",
        )
    return path


def build(directory: Path | None = None, *, say: Progress | None = None) -> Path:
    """Build the program into the tools directory unless it is there; its path. ``say`` gets a
    sentence now and then.

    Raises:
        Unavailable: see the module's text.
    """
    report = say or (lambda _text: None)
    go = _go()
    wanted = hashlib.sha256((MODULE / "go.sum").read_bytes() + _go_version(go).encode()).hexdigest()
    target = _target(directory)
    program, stamp = target / "kcn", target / "stamp"
    with disk_full_translated(_COMPILING):
        target.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(target / "lock"):
            if program.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
                return program
            _require_compiler()
            partial = target / "kcn.partial"
            _compile(go, target, partial, report)
            stamp.unlink(missing_ok=True)
            partial.replace(program)
            stamp.write_text(wanted, encoding="utf-8")
    return program


def _target(directory: Path | None) -> Path:
    return (directory.resolve() if directory else tools_directory()) / "kcn" / engine_version()


def _compile(go: str, target: Path, program: Path, report: Progress) -> None:
    source, log = target / "module", target / "build.log"
    source.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULE / name, source / name)
    # Kaia reaches into Go's runtime, which the linker refuses unless told not to check.
    command = [go, "build", "-ldflags=-checklinkname=0", "-o", str(program), PACKAGE]
    settings = {
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
        "CGO_ENABLED": "1",
    }
    report(f"building the chain engine kcn {engine_version()} (2 to 4 minutes the first time)")
    with log.open("wb") as output:
        code = _run(command, source, {**os.environ, **settings}, output, report)
    if code != 0:
        raise _failure(log)


def _run(
    command: list[str],
    directory: Path,
    environment: dict[str, str],
    output: BinaryIO,
    report: Progress,
) -> int:
    """The command's exit code. It is ended, with the compilers it started, when this process gives
    up.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=PROGRESS_SECONDS)
            seconds = time.monotonic() - started
            if seconds > BUILD_SECONDS:
                raise Unavailable(
                    "engine_build_failed",
                    f"Building kcn took more than {BUILD_SECONDS // 60} minutes.",
                    hint="Retry.",
                )
            report(f"building kcn, {seconds:.0f} s")
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
            process.wait()


def _failure(log: Path) -> Unavailable:
    text = log.read_text(encoding="utf-8", errors="replace")
    if "no space left" in text.lower():
        return disk_full(_COMPILING)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any("go.mod requires go" in line for line in lines):
        return _go_unusable(lines[-1])
    if any(
        word in text for word in ("dial tcp", "i/o timeout", "connection refused", "TLS handshake")
    ):
        return Unavailable(
            "engine_build_failed",
            "Building kcn failed because Go's module proxy could not be reached.",
            hint=f"Check the network and GOPROXY, then run it again; see {log}.",
        )
    last = f" ({lines[-1]})" if lines else ""
    return Unavailable("engine_build_failed", f"Building kcn failed{last}.", hint=f"See {log}.")


def _go() -> str:
    given = os.environ.get("QIAOLIAN_GO") or shutil.which("go")
    if not given or not os.access(given, os.X_OK):
        raise Unavailable(
            "go_missing",
            "Building the chain engine needs Go, and there is none.",
            hint="Run ./scripts/demo, which gets one, or install Go 1.24 or later.",
        )
    return given


def _go_version(go: str) -> str:
    try:
        done = subprocess.run([go, "version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _go_unusable(str(error)) from error
    if done.returncode != 0:
        raise _go_unusable(done.stderr.strip() or f"`go version` ended with {done.returncode}.")
    return done.stdout


def _go_unusable(reason: str) -> Unavailable:
    return Unavailable(
        "go_unusable",
        f"The Go found cannot build the chain engine: {reason.rstrip('.')}.",
        hint="Install Go 1.24 or later, or name one in QIAOLIAN_GO.",
    )


def _require_compiler() -> None:
    # Go takes an empty CC for none.
    compiler = (os.environ.get("CC", "").split() or ["gcc"])[0]
    if shutil.which(compiler) is None:
        raise Unavailable(
            "compiler_missing",
            f"Building the chain engine needs a C compiler, and there is no {compiler}.",
            hint="Install gcc (Debian and Ubuntu: apt install gcc "
            "libc6-dev; Fedora: dnf install gcc).",
        )


def main() -> int:
    """Build, report progress on standard error, and print the path."""
    parser = argparse.ArgumentParser(
        description="Build the chain engine kcn from the pinned Go module."
    )
    parser.add_argument(
        "--to", type=Path, help="tools directory (default: .tools in the project folder)"
    )
    arguments = parser.parse_args()
    try:
        print(
            build(arguments.to, say=lambda text: print(f"  … {text}", file=sys.stderr, flush=True))
        )
    except QiaolianError as error:
        print(f"error[{error.code}]: {error.sentence} {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
