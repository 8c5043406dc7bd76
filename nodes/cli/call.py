"""``qiaolian call``: metered calls through the own node, for one subject or a file of subjects.

Each row of a file has an idempotency key derived from its request, so an interrupted run continues
where it stopped: rows whose outcome is in the output file are skipped, and a row that was answered
but not yet written is answered again from the node's own database.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from chain.core.errors import BadInput
from nodes.cli.command_group import (
    COLUMNS_HELP,
    IDEMPOTENCY_OPTIONS,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    listed,
    read,
    read_pages,
)
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession

FINAL = ("served", "refused", "void")
MAX_BATCH_CALLS = 1000
OUTCOMES = ("outstanding", "served", "refused", "void", "conflict")
AGREEMENT = arg("--agreement", required=True, metavar="AGREEMENT")
CALL_OPTIONS = (
    AGREEMENT,
    arg("--columns", required=True, help=COLUMNS_HELP),
    arg("--purpose", required=True, help="as granted, a code"),
    arg(
        "--operation",
        default="use",
        choices=("view", "export", "use", "copy", "train", "compute"),
        help="as granted (default use)",
    ),
)


def _one(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(
        session.post_once("/v1/calls", _body(arguments, arguments.subject, arguments.consent))
    )


def _file(session: CommandSession, arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.batch <= MAX_BATCH_CALLS:
        raise BadInput("batch_size", f"A batch has 1 to {MAX_BATCH_CALLS} calls.")
    wanted = [
        _batch_call(arguments, subject, consent) for subject, consent in rows_of(arguments.file)
    ]
    out: Path = arguments.out or arguments.file.with_name(arguments.file.name + ".results.jsonl")
    done = outcomes_of(out)
    left = [
        entry
        for entry in {item["key"]: item for item in wanted}.values()
        if entry["key"] not in done
    ]
    with open_private(out) as file:
        for start in range(0, len(left), arguments.batch):
            batch = left[start : start + arguments.batch]
            for asked, answer in zip(
                batch,
                session.client.post("/v1/calls/batch", {"calls": batch})["results"],
                strict=True,
            ):
                written = {"key": asked["key"], "subject": asked["subject"], **answer}
                file.write(json.dumps(written, ensure_ascii=False) + "\n")
                done[asked["key"]] = written
            file.flush()
            os.fsync(file.fileno())
            _progress(min(len(left), start + arguments.batch), len(left))
    return _summary(
        session,
        [done[entry["key"]] for entry in {item["key"]: item for item in wanted}.values()],
        out,
    )


def _upload(session: CommandSession, arguments: argparse.Namespace) -> None:
    path: Path = arguments.file
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("file_unreadable", f"{path} cannot be read as UTF-8 text.") from error
    body = {
        "name": arguments.name or path.name,
        "agreementId": arguments.agreement,
        "columns": listed(arguments.columns),
        "csv": text,
    }
    session.show(session.client.post("/v1/call-files", body))


def _summary(session: CommandSession, answers: Sequence[dict[str, Any]], out: Path) -> int:
    """Print the rows' outcomes; 1 when some were not answered and the run is worth repeating."""
    outcomes = Counter(answer["outcome"] for answer in answers)
    reasons = Counter(answer["reason"] for answer in answers if answer.get("reason"))
    amount = sum(int(answer.get("amount") or 0) for answer in answers)
    summary = {
        "rows": len(answers),
        "outcomes": dict(outcomes),
        "reasons": dict(reasons),
        "amountFen": amount,
        "file": str(out),
    }
    session.show(summary)
    failed = sum(count for outcome, count in outcomes.items() if outcome not in FINAL)
    if failed:
        stored = [
            answer["idempotencyKey"]
            for answer in answers
            if answer.get("reason") == "call_outstanding"
        ]
        if stored:
            text = (
                f"{len(stored)} of them are stored and unanswered: `qiaolian call list "
                "--outcome outstanding` shows their keys."
            )
            print(text, file=sys.stderr)
        print(f"{failed} rows have no outcome yet: run the same command again.", file=sys.stderr)
    return 1 if failed else 0


def _body(arguments: argparse.Namespace, subject: str, consent: str | None) -> dict[str, Any]:
    return {
        "agreementId": arguments.agreement,
        "subject": subject,
        "columns": listed(arguments.columns),
        "purpose": arguments.purpose,
        "operation": arguments.operation,
        "consentId": consent or None,
    }


def _batch_call(arguments: argparse.Namespace, subject: str, consent: str | None) -> dict[str, Any]:
    body = _body(arguments, subject, consent)
    named = json.dumps([arguments.run_name, body], sort_keys=True, ensure_ascii=False)
    return {"key": hashlib.sha256(named.encode()).hexdigest(), **body}


def rows_of(path: Path) -> Iterator[tuple[str, str | None]]:
    """Subjects with their consents: CSV with a heading line (``subject``, perhaps ``consent``), or
    a JSON object a line.

    Raises:
        BadInput: ``file_unreadable``; ``row_malformed`` names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("file_unreadable", f"{path} cannot be read as UTF-8 text.") from error
    rows: Iterator[Any] = (
        _objects(text)
        if path.suffix in (".jsonl", ".ndjson")
        else csv.DictReader(io.StringIO(text))
    )
    for number, row in enumerate(rows, 1):
        subject = row.get("subject") if isinstance(row, dict) else None
        consent = row.get("consent") if isinstance(row, dict) else None
        if (
            not isinstance(subject, str)
            or not subject.strip()
            or not isinstance(consent, str | None)
        ):
            raise BadInput(
                "row_malformed",
                f"Row {number} of {path.name} has no subject.",
                hint="Columns are subject and, where needed, consent.",
            )
        yield subject.strip(), (consent or "").strip() or None


def _objects(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def outcomes_of(path: Path) -> dict[str, dict[str, Any]]:
    """The rows an earlier run has ended, by key. A line that was cut off when it died does not
    count.
    """
    if not path.exists():
        return {}
    try:
        outcomes = [
            item for item in _objects(path.read_text(encoding="utf-8")) if isinstance(item, dict)
        ]
        return {str(item["key"]): item for item in outcomes if item["outcome"] in FINAL}
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise BadInput(
            "results_malformed", f"{path} is not a file of results.", hint="Give another --out."
        ) from error


def open_private(path: Path) -> TextIO:
    """Open a file of records (0600) for appending at the start of a line."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    size = os.fstat(descriptor).st_size
    cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    file = os.fdopen(descriptor, "a", encoding="utf-8")
    if cut_off:
        file.write("\n")
    return file


def _progress(done: int, of: int) -> None:
    """A line that is written over on a terminal, and one line a batch elsewhere."""
    print(
        f"  {done:,} of {of:,} calls",
        end="\r" if sys.stderr.isatty() and done < of else "\n",
        file=sys.stderr,
        flush=True,
    )


def _withdraw(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = session.client.post(filled_path("/v1/calls/{key}/withdraw", arguments), {})
    if answer["outcome"] != "refused":
        session.say("The provider had answered before the withdrawal: this is the answer.")
    session.show(answer)


KEY = arg("key", metavar="KEY", help="the idempotency key, as the error or `call list` names it")
LISTED: Columns = {
    "key": "idempotencyKey",
    "agreement": "agreementId",
    "lane/position": lambda row: f"{row['lane']}/{row['seq']}",
    "outcome": "outcome",
    "reason": "reason",
    "asked": lambda row: when(row["askedAt"]),
}


FILE_ID = arg("file_id", metavar="FILE", help="the file's id, as `call files` lists it")
FILES: Columns = {
    "file": "fileId",
    "name": "name",
    "state": "state",
    "rows": lambda row: sum(row["rows"].values()),
    "served": lambda row: row["rows"].get("served", 0),
    "fen": "amount",
    "made": lambda row: when(row["madeAt"]),
}
FILE_ROWS: Columns = {
    "line": "line",
    "subject": "subject",
    "state": "state",
    "code": "code",
    "fen": "amount",
}
SPENDING: Columns = {
    "agreement": "agreementId",
    "provider": "provider",
    "spent (fen)": "amount",
    "cap (fen)": "cap",
    "cap reached": lambda row: (
        when(row["forecast"]["capAt"]) if row["forecast"]["capAt"] is not None else ""
    ),
    "alarms": lambda row: ",".join(row["alarms"]),
}


GROUP = CommandGroup(
    (
        Command(
            "one",
            "make one metered call",
            _one,
            (
                *CALL_OPTIONS,
                arg("--subject", required=True, help="whose record"),
                arg(
                    "--consent",
                    metavar="CONSENT",
                    help="the subject's consent, where the purpose needs one",
                ),
                IDEMPOTENCY_OPTIONS,
            ),
            "system",
        ),
        Command(
            "fetch",
            "show the result of a call; an unanswered one is asked again",
            read("/v1/calls/{key}"),
            (KEY,),
            "system",
        ),
        Command(
            "withdraw",
            "end an unanswered call unbilled, or get its answer if it was served before",
            _withdraw,
            (KEY,),
            "system",
        ),
        Command(
            "list",
            "list stored calls with their keys, the newest first",
            read_pages(
                "/v1/calls", within="calls", columns=LISTED, query=("agreementId", "outcome")
            ),
            (
                arg(
                    "--agreement", dest="agreementId", metavar="AGREEMENT", help="of one agreement"
                ),
                arg("--outcome", choices=OUTCOMES, help="with one outcome"),
                *PAGE,
            ),
            "system",
        ),
        Command(
            "upload",
            "upload a CSV file of subjects; the node checks and prices it and calls nothing",
            _upload,
            (
                arg("file", type=Path, help="CSV with the columns subject and, perhaps, consent"),
                AGREEMENT,
                arg("--columns", required=True, help=COLUMNS_HELP),
                arg("--name", default="", help="what the file is called (default its name)"),
            ),
            "system",
        ),
        Command(
            "files",
            "list the uploaded files, the newest first",
            read_pages("/v1/call-files", within="files", columns=FILES),
            PAGE,
            "system",
        ),
        Command(
            "file-show",
            "show a file with its progress and the cost of what is left",
            read("/v1/call-files/{file_id}"),
            (FILE_ID,),
            "system",
        ),
        Command(
            "file-start",
            "start an uploaded file, or resume a stopped one",
            change("/v1/call-files/{file_id}/start"),
            (FILE_ID,),
            "system",
        ),
        Command(
            "file-stop",
            "stop a running file; the calls under way still end",
            change("/v1/call-files/{file_id}/stop"),
            (FILE_ID,),
            "system",
        ),
        Command(
            "file-rows",
            "the rows of a file with their records, receipts and codes",
            read_pages("/v1/call-files/{file_id}/rows", within="rows", columns=FILE_ROWS),
            (FILE_ID, *PAGE),
            "system",
        ),
        Command(
            "file-remove",
            "delete a file with its subjects; its calls stay",
            change("/v1/call-files/{file_id}/remove"),
            (FILE_ID,),
            "system",
        ),
        Command(
            "spending",
            "what was spent under each agreement, by month, with alarms near the caps",
            read_pages("/v1/spending", within="agreements", columns=SPENDING),
            PAGE,
        ),
        Command(
            "file",
            "make a call for each row of a CSV or JSONL file; repeat it to continue after a stop",
            _file,
            (
                arg(
                    "file",
                    type=Path,
                    help="CSV with a heading line, or .jsonl: subject and, where needed, consent",
                ),
                *CALL_OPTIONS,
                arg(
                    "--out",
                    type=Path,
                    metavar="FILE",
                    help="the answers, a JSON line each (default FILE.results.jsonl)",
                ),
                arg(
                    "--run-name",
                    default="",
                    help="the same rows under another name are new calls, billed again",
                ),
                arg("--batch", type=int, default=100, help="calls in one request (default 100)"),
            ),
            "system",
        ),
    )
)
