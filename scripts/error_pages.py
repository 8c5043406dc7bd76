"""Writes ``docs/errors.md``: every error code with its classes, meaning and advice in both
languages.

``python -m scripts.error_pages`` writes the page, ``--check`` says whether the committed one is
current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chain.core.error_codes import (
    PACKAGES,
    Bilingual,
    ErrorClass,
    ErrorCode,
    error_classes,
    error_codes,
)

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"

_HEAD = """\
# Error codes 错误代码

Written from the packages' `errors.toml` by `python -m scripts.error_pages`.

Every refusal carries a stable code: in the API, `code` of `application/problem+json` (RFC 9457),
whose `type` refers to the code's row here; on the command line, `error[CODE]`. `qiaolian error
CODE` prints a row of this page. A sentence may be reworded; a code never changes.

拒绝办理的应答均带有固定代码：接口应答中为 `code`，命令行中为 `error[代码]`。
`qiaolian error 代码` 可查询其含义和办理建议。

## Classes 类别

The class of an error determines its HTTP status and exit code. A code that is both a refusal and a
finding of `qiaolian verify` has two classes.
"""

_TITLES = {
    "chain": "Chain, keys, logs, contracts and bundles 链、密钥、日志、合约与证明包",
    "registry": "Assets, grants, credit and property 资产、授权、信用与房产",
    "exchange": "Offers, agreements, metered calls and settlement 要约、协议、计量调用与结算",
    "federated": "Joint models 联合建模",
    "nodes": "Nodes and the command line 节点与命令行",
}


def page() -> str:
    """The whole page."""
    classes = [
        "| class | HTTP | exit | meaning 含义 | next 下一步 |",
        "|---|---|---|---|---|",
        *(_class_row(error_class) for error_class in error_classes().values()),
    ]
    return "\n".join([_HEAD, *classes, *(_section(package) for package in PACKAGES)]) + "\n"


def _section(package: str) -> str:
    codes = [found for found in error_codes().values() if found.package == package]
    return "\n".join(
        [
            f"\n## {_TITLES[package]}\n",
            "| code 代码 | class 类别 | meaning 含义 | next 下一步 |",
            "|---|---|---|---|",
            *(_code_row(found) for found in codes),
        ]
    )


def _class_row(error_class: ErrorClass) -> str:
    numbers = f"{error_class.status} | {error_class.exit_code}"
    meaning, next_step = _cell(error_class.meaning), _cell(error_class.next_step)
    return f"| `{error_class.name}` | {numbers} | {meaning} | {next_step} |"


def _code_row(found: ErrorCode) -> str:
    classes = ", ".join(error_class.name for error_class in found.classes)
    anchor = f'<a id="{found.code}"></a>`{found.code}`'
    return f"| {anchor} | {classes} | {_cell(found.sentence)} | {_cell(found.next_step)} |"


def _cell(text: Bilingual) -> str:
    return f"{_escape(text.en)}<br>{_escape(text.zh)}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")


def main() -> int:
    """Write the page, or with ``--check`` compare it."""
    fresh = page()
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == fresh else 1
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
