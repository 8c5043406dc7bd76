"""Write ``chain/bundle/browser/verifier.html``: the bundle verifier as one HTML file.

``python -m scripts.verifier_page`` bundles the TypeScript sources with esbuild, puts script and
style into the page with a content security policy that names their hashes, and prints the file's
SHA-256. The same sources and lock file give the same bytes. ``--check`` compares with the committed
file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from chain.core.error_codes import Bilingual, error_codes

BROWSER = Path(__file__).parent.parent / "chain" / "bundle" / "browser"
PAGE = BROWSER / "verifier.html"
CODES = BROWSER / "src" / "page" / "codes.json"


def page() -> str:
    """The whole file."""
    template, style = (
        (BROWSER / "src" / "page" / name).read_text(encoding="utf-8")
        for name in ("page.html", "style.css")
    )
    script = _script()
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def codes() -> str:
    """The meaning of each code that the TypeScript sources name, as JSON."""
    sources = "".join(
        path.read_text(encoding="utf-8") for path in sorted((BROWSER / "src").rglob("*.ts"))
    )
    named = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', sources))
    meanings = {
        code: {"sentence": _languages(found.sentence), "next": _languages(found.next_step)}
        for code, found in sorted(error_codes().items())
        if code in named
    }
    return json.dumps(meanings, ensure_ascii=False, indent=1) + "\n"


def _languages(sentence: Bilingual) -> dict[str, str]:
    return {"en": sentence.en, "zh": sentence.zh}


def _script() -> str:
    """The bundled script, readable: whoever wants to can read what the page does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "page.js"
        command = [
            str(BROWSER / "node_modules" / ".bin" / "esbuild"),
            "src/page/page.ts",
            "--bundle",
            "--format=iife",
            "--target=es2022",
            "--charset=utf8",
            "--legal-comments=none",
            "--log-level=warning",
            f"--outfile={out}",
        ]
        subprocess.run(command, cwd=BROWSER, check=True)
        return "\n" + out.read_text(encoding="utf-8")


def _source(text: str) -> str:
    """The hash by which a content security policy allows an inline script or style."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def main() -> int:
    """Write the file, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description="Write the bundle verifier's HTML file.")
    parser.add_argument("--check", action="store_true", help="compare with the committed file")
    if parser.parse_args().check:
        same = CODES.read_text(encoding="utf-8") == codes() and PAGE.read_text("utf-8") == page()
        print("up to date" if same else f"{PAGE.name} is out of date: run this without --check")
        return 0 if same else 1
    CODES.write_text(codes(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{hashlib.sha256(PAGE.read_bytes()).hexdigest()}  {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
