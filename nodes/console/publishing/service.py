"""Drafts of assets, and their registration in the background.

A registration reads the whole source, so it runs in a thread of its own. Its state is the draft's:
the page follows it, survives a reload, and shows one that the node's end broke off as broken off.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, NotFound, QiaolianError, Unavailable
from chain.ethereum.deployment import CloseWindow
from chain.statements.trade import MeteredUnit, Share
from exchange.agreements import offers
from exchange.agreements.model import Offer
from exchange.agreements.rules import FULL_SHARE, default_window
from nodes.console.publishing import store
from nodes.console.publishing.model import Draft, DraftContent, DraftState, SaleTerms
from nodes.console.publishing.store import ConsoleDraft
from nodes.process_token import process_token
from registry.assets import preview as previews
from registry.assets import publication, serving
from registry.assets.model import OwnVersion, Publication
from registry.assets.rules import asset_id_of, require_description
from registry.pages import Page, PageRequest
from registry.purposes import require_purposes
from registry.source_files import FileSettings, UploadedFile, unused
from registry.sources import SourceSchema

log = logging.getLogger("qiaolian.console")

DRAFT_SECONDS = 30 * 86_400
"""A draft that nobody changes is deleted after this time."""
_MAX_LANES = 16


def listing(context: Context, page: PageRequest) -> Page[Draft]:
    """Drafts, the newest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.draft_page(session, page).map(_shown)


def find(context: Context, draft_id: str) -> Draft:
    """One draft; ``draft_unknown``."""
    with context.database.read() as session:
        return _shown(_row(session, draft_id))


def file_of(context: Context, draft: Draft) -> UploadedFile | None:
    """The draft's uploaded file; None where it uses a configured source."""
    return serving.source_files(context).find(draft.source)


def create(context: Context, source: str) -> Draft:
    """A new draft that publishes from a source; ``source_missing``."""
    if source not in serving.source_names(context):
        serving.source_of(context, source)
    now = context.now()
    row = ConsoleDraft(
        draft_id=secrets.token_hex(16),
        source=source,
        content=DraftContent().to_json(),
        state=DraftState.OPEN,
        process="",
        asset_id=None,
        operation="",
        failure="",
        created_at=now,
        changed_at=now,
    )

    def change(session: Session) -> Draft:
        store.add(session, row)
        return store.draft_of(row)

    return context.database.write(change)


def save_columns(
    context: Context, draft_id: str, *, types: dict[str, str], masking: dict[str, str]
) -> None:
    """Store types and masking rules that the source's first rows fit.

    Raises:
        NotFound: ``draft_unknown``; Conflict: ``draft_closed``, ``file_faulty``; BadInput: as
            ``previews.preview``.
    """
    draft = _open(context, draft_id)
    _require_publishable(context, draft)
    previews.preview(context, draft.source, masking=masking, types=types)
    content = replace(draft.content, types=types, masking=masking)
    _save(context, draft_id, content)


def save_description(context: Context, draft_id: str, entered: DraftContent) -> None:
    """Store what people read of the asset, its purposes and its terms.

    Raises:
        NotFound: ``draft_unknown``; Conflict: ``draft_closed``; BadInput: as publishing and
            offering it would raise.
    """
    draft = _open(context, draft_id)
    if entered.description is not None:
        require_description(entered.description)
    require_purposes(entered.purposes)
    asset_id_of(context.member, entered.name)
    if entered.terms is not None:
        offers.require_offer(context, offer_of(context, entered.name, entered.terms))
    content = replace(entered, types=draft.content.types, masking=draft.content.masking)
    _save(context, draft_id, content)


def schema(context: Context, draft: Draft) -> SourceSchema:
    """The columns of a draft's source; ``file_faulty``, and why the source cannot be read."""
    _require_publishable(context, draft)
    return serving.source_of(context, draft.source).schema()


def fingerprint(context: Context, draft: Draft) -> str:
    """Names exactly what a draft registers; see ``Draft.fingerprint``."""
    file = file_of(context, draft)
    return draft.fingerprint("" if file is None else file.digest)


def replace_file(context: Context, draft_id: str, file_name: str, content: BinaryIO) -> None:
    """Upload a corrected file in place of the draft's; ``draft_unknown``, ``draft_closed``,
    ``upload_unknown``, and as ``SourceFiles.store``.
    """
    draft = _open(context, draft_id)
    before = file_of(context, draft)
    settings = FileSettings() if before is None else FileSettings(before.report.settings.key)
    serving.source_files(context).store(file_name, content, settings, source=draft.source)
    _save(context, draft_id, draft.content)


def replace_published_file(
    context: Context, source: str, file_name: str, content: BinaryIO
) -> None:
    """Upload the next file of a registered asset. One with faults is refused and changes nothing.

    Raises:
        NotFound: ``upload_unknown``; Conflict: ``file_faulty``; and as ``SourceFiles.store``.
    """
    files = serving.source_files(context)
    before = files.find(source)
    settings = FileSettings("" if before is None else before.report.settings.key)
    probe = files.store(file_name, content, settings)
    try:
        _require_faultless(probe)
        content.seek(0)
        files.store(file_name, content, settings, source=source)
    finally:
        files.remove(probe.source)


def read_file_as(context: Context, draft_id: str, settings: FileSettings) -> None:
    """Read the draft's file in another way; ``draft_unknown``, ``draft_closed``,
    ``upload_unknown``.
    """
    draft = _open(context, draft_id)
    serving.source_files(context).configure(draft.source, settings)
    _save(context, draft_id, replace(draft.content, types={}, masking={}))


def discard(context: Context, draft_id: str) -> None:
    """Delete a draft with its file; ``draft_unknown``, ``draft_closed``."""
    draft = _open(context, draft_id)
    context.database.write(lambda session: store.delete(session, draft_id))
    if draft.source not in publication.sources_in_use(context):
        serving.source_files(context).remove(draft.source)


def preview(context: Context, draft: Draft) -> previews.Preview:
    """The first rows before and after masking; raises as ``previews.preview``."""
    content = draft.content
    return previews.preview(context, draft.source, masking=content.masking, types=content.types)


def offer_of(context: Context, name: str, terms: SaleTerms) -> Offer:
    """The offer of an asset's first version."""
    window: CloseWindow = default_window(context.ledger.deployment.min_close_window)
    return Offer(
        asset_id=asset_id_of(context.member, name),
        asset_version=1,
        unit=MeteredUnit[terms.unit.upper()],
        price=terms.price,
        max_cap=terms.max_cap,
        max_units=terms.max_units,
        max_per_call=terms.max_per_call,
        max_lanes=_MAX_LANES,
        max_seconds=terms.max_days * 86_400,
        close_window_blocks=window.blocks,
        close_window_seconds=window.seconds,
        shares=(Share(context.member, FULL_SHARE),),
        buyers=terms.buyers,
    )


# --- Registration ---------------------------------------------------------------------------------


def register(
    context: Context, draft_id: str, *, start: Callable[[Callable[[], None]], None] | None = None
) -> None:
    """Begin to publish a draft in the background.

    Args:
        start: runs the work elsewhere; a thread of its own by default.

    Raises:
        NotFound: ``draft_unknown``; Conflict: ``draft_incomplete``, ``draft_closed``,
            ``file_faulty``.
    """
    draft = _open(context, draft_id)
    draft.publication()
    _require_publishable(context, draft)

    def change(session: Session) -> None:
        row = _row(session, draft_id)
        _require_open(_shown(row))
        row.state, row.process, row.failure = DraftState.REGISTERING, process_token(), ""
        row.changed_at = context.now()

    context.database.write(change)
    (start or _in_thread)(lambda: _run(context, draft))


def rows_committed(context: Context, draft: Draft) -> int:
    """The number of rows committed so far of a draft that is being registered."""
    asset_id = asset_id_of(context.member, draft.content.name)
    page = publication.own_versions(context, PageRequest(1), asset_id=asset_id)
    return page.rows[0].rows if page.rows else 0


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="publish", daemon=True).start()


def _run(context: Context, draft: Draft) -> None:
    try:
        own = _published(context, draft)
        if draft.content.terms is not None:
            offers.offer(context, offer_of(context, draft.content.name, draft.content.terms))
        _finish(context, draft.id, DraftState.REGISTERED, own=own)
    except QiaolianError as error:
        _finish(context, draft.id, DraftState.FAILED, failure=error.code)
    except Exception as error:  # whatever it is, the page must not wait for ever
        log.error("a publication failed unexpectedly", exc_info=error)
        _finish(context, draft.id, DraftState.FAILED, failure="internal_error")


def _published(context: Context, draft: Draft) -> OwnVersion:
    """The draft's version, which may have been published before the node ended; raises as
    ``publication.publish``.
    """
    wanted = draft.publication()
    try:
        return publication.publish(context, wanted)
    except Conflict as error:
        own = serving.own_version(context, asset_id_of(context.member, wanted.name), 1)
        if error.code != "asset_known" or own is None or not _is_of(own, wanted):
            raise
        return own


def _is_of(own: OwnVersion, wanted: Publication) -> bool:
    """Whether a version was published from exactly this draft."""
    return (
        own.source == wanted.source
        and dict(own.masking) == dict(wanted.masking)
        and own.metadata.description == wanted.description
    )


def _finish(
    context: Context,
    draft_id: str,
    state: DraftState,
    *,
    own: OwnVersion | None = None,
    failure: str = "",
) -> None:
    def change(session: Session) -> None:
        row = _row(session, draft_id)
        row.state, row.failure, row.changed_at = state, failure, context.now()
        if own is not None:
            row.asset_id, row.operation = own.asset_id, own.operation

    context.database.write(change)


# --- Files ----------------------------------------------------------------------------------------


def remove_unused(context: Context) -> None:
    """Delete drafts that nobody continues with, and files that nothing uses any more."""
    now = context.now()
    context.database.write(lambda session: store.delete_idle(session, before=now - DRAFT_SECONDS))
    files = serving.source_files(context)
    found = [file for file in map(files.find, files.names()) if file is not None]
    with context.database.read() as session:
        used = store.sources(session) | publication.sources_in_use(context)
    for file in unused(found, used=used, now=now):
        files.remove(file.source)


def _require_publishable(context: Context, draft: Draft) -> None:
    file = file_of(context, draft)
    if file is not None:
        _require_faultless(file)


def _require_faultless(file: UploadedFile) -> None:
    if not file.report.publishable:
        raise Conflict(
            "file_faulty",
            "The file has faults that keep it from being published.",
            hint="Mend the file and upload it again.",
        )


# --- Rows -----------------------------------------------------------------------------------------


def _row(session: Session, draft_id: str) -> ConsoleDraft:
    row = store.find(session, draft_id)
    if row is None:
        raise NotFound("draft_unknown", "There is no such draft.", hint="See the list of drafts.")
    return row


def _shown(row: ConsoleDraft) -> Draft:
    """The draft; a registration of an earlier process was broken off."""
    draft = store.draft_of(row)
    if draft.state is DraftState.REGISTERING and row.process != process_token():
        return replace(draft, state=DraftState.FAILED, failure=broken_off().code)
    return draft


def broken_off() -> Unavailable:
    """Why a registration that was under way when the node ended does not continue."""
    return Unavailable(
        "registration_broken_off",
        "The node ended while the registration was under way.",
        hint="Register it again; nothing is registered twice.",
    )


def _open(context: Context, draft_id: str) -> Draft:
    draft = find(context, draft_id)
    _require_open(draft)
    return draft


def _require_open(draft: Draft) -> None:
    if draft.state not in (DraftState.OPEN, DraftState.FAILED):
        raise Conflict(
            "draft_closed",
            "The draft is being registered or is registered; it does not change any more.",
            hint="Look at its page; a registered asset is changed by a new version.",
        )


def _save(context: Context, draft_id: str, content: DraftContent) -> None:
    def change(session: Session) -> None:
        row = _row(session, draft_id)
        _require_open(_shown(row))
        row.content, row.changed_at = content.to_json(), context.now()
        row.state, row.failure = DraftState.OPEN, ""

    context.database.write(change)
