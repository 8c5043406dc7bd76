"""What a node answers. Written by ``python -m scripts.client_models``; do not edit."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AccountStatementRow(BaseModel):
    """
    An entry of a statement; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    at: int
    day: str
    height: int
    log_index: Annotated[int, Field(alias="logIndex")]
    kind: Annotated[
        str, Field(description="`deposited`, `paid`, `refunded`, `withdrawn` or `penalty`")
    ]
    counterparty: str
    agreement_id: Annotated[str | None, Field(alias="agreementId")]
    amount: Annotated[str, Field(description="What came in; negative for what went out")]
    parts: Annotated[
        dict[str, str],
        Field(
            description="What a payment was for: `holding`, `processing`, `operating`, `platform`, `agreed`"
        ),
    ]


class AgreementBalance(BaseModel):
    """
    An agreement's money, in fen as text; ``…At`` are heights.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    opened: str
    paid: str
    refunded: str
    acknowledged: str
    locked: str
    opened_at: Annotated[int, Field(alias="openedAt")]
    closed_at: Annotated[int, Field(alias="closedAt")]


class AnchoredQueryRow(BaseModel):
    """
    A query of any bank that the chain has, as a supervisor sees it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    query_id: Annotated[str, Field(alias="queryId")]
    bank: str
    height: Annotated[int, Field(description="The block that anchored it")]


class AnchoredSize(BaseModel):
    """
    The size of the checkpoint; 0 if there was nothing new.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    size: int


class AnswerCheckAnswer(BaseModel):
    """
    The answer that the provider served again.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    matches: Annotated[bool, Field(description="Whether it is what the receipt commits to")]
    content: Any


class AnswerTaken(BaseModel):
    """
    The demand that was answered.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    demand_id: Annotated[str, Field(alias="demandId")]


class ApprovalBody(BaseModel):
    """
    An administrator's signature under the proposal's ``approval``, or under the
    ``ApprovalWithdrawal`` with the same fields.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    signature: str


class AssetRow(BaseModel):
    """
    An asset of any member according to the chain's events; heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    holder: str
    name: str
    asset_version: Annotated[int, Field(alias="assetVersion")]
    grade: int
    category: str
    data_item: Annotated[str, Field(alias="dataItem")]
    row_count: Annotated[int, Field(alias="rowCount")]
    registered_at: Annotated[int, Field(alias="registeredAt")]
    cancelled_at: Annotated[int | None, Field(alias="cancelledAt")]
    held: bool


class AssetWithMetadata(BaseModel):
    """
    An asset with the metadata that its holder publishes.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    holder: str
    name: str
    asset_version: Annotated[int, Field(alias="assetVersion")]
    grade: int
    category: str
    data_item: Annotated[str, Field(alias="dataItem")]
    row_count: Annotated[int, Field(alias="rowCount")]
    registered_at: Annotated[int, Field(alias="registeredAt")]
    cancelled_at: Annotated[int | None, Field(alias="cancelledAt")]
    held: bool
    metadata: dict[str, Any]


class BankEntryRow(BaseModel):
    """
    An entry of a statement with what is made of it; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    line: int
    direction: Annotated[str, Field(description="`credit` or `debit`")]
    amount: str
    reference: Annotated[str, Field(description="The bank's own")]
    end_to_end_id: Annotated[str, Field(alias="endToEndId")]
    day: str
    account: Annotated[str, Field(description="The other side's")]
    party: str
    text: str
    action: Annotated[str, Field(description="`deposit`, `payout`, `return` or `none`")]
    member: str
    payout: str
    problem: Annotated[str, Field(description="Code of what is not understood")]
    state: Annotated[str, Field(description="`understood`, `unclear`, `aside` or `booked`")]
    reason: Annotated[str, Field(description="Why a person set it aside")]
    operation: Annotated[str, Field(description="The contract call of a booked deposit")]


class BankFileAnswer(BaseModel):
    """
    A statement that was taken; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    file_id: Annotated[str, Field(alias="fileId", description="SHA-256 of the file")]
    name: str
    statement_id: Annotated[str, Field(alias="statementId")]
    account: str
    opening_balance: Annotated[str, Field(alias="openingBalance")]
    closing_balance: Annotated[str, Field(alias="closingBalance")]
    state: Annotated[str, Field(description="`open` or `booked`")]
    taken_at: Annotated[int, Field(alias="takenAt")]
    taken_by: Annotated[str, Field(alias="takenBy")]
    booked_at: Annotated[int | None, Field(alias="bookedAt")]


class BankFileApprovalBody(BaseModel):
    """
    What the person was shown: its digest.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    digest: Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]


class BankFileBody(BaseModel):
    """
    An account statement as the bank made it (ISO 20022 ``camt.053``).
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: Annotated[str, Field(max_length=200, min_length=1)]
    content: Annotated[
        str, Field(description="The file's bytes in base64", max_length=5333336, min_length=1)
    ]


class BankFileList(BaseModel):
    """
    A page of files.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    files: list[BankFileAnswer]


class BankFilePreview(BaseModel):
    """
    A statement with what booking it would do; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    file: BankFileAnswer
    entries: Annotated[
        dict[str, int],
        Field(description="How many are `understood`, `unclear`, `aside` and `booked`"),
    ]
    deposits: Annotated[str, Field(description="Would be confirmed for members")]
    payouts: Annotated[str, Field(description="Withdrawals that would be confirmed as paid out")]
    digest: Annotated[str, Field(description="What two persons approve")]
    approved_by: Annotated[
        str,
        Field(
            alias="approvedBy", description="The first person; empty while nobody has approved this"
        ),
    ]


class BatchCall(BaseModel):
    """
    One call of a batch, with its own idempotency key.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    subject: Annotated[str, Field(max_length=256, min_length=1)]
    columns: Annotated[list[str], Field(max_length=256, min_length=1)]
    purpose: str
    operation: str | None = "use"
    consent_id: Annotated[str | None, Field(alias="consentId")] = None
    key: str | None = None


class CallAnswer(BaseModel):
    """
    The result of a call; the amount in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    idempotency_key: Annotated[str | None, Field(alias="idempotencyKey")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    outcome: str
    reason: str
    record: dict[str, Any] | None
    units: int
    amount: int
    receipt: Annotated[str, Field(description="Struct hash of the receipt")]


class CallBody(BaseModel):
    """
    One metered call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    subject: Annotated[str, Field(max_length=256, min_length=1)]
    columns: Annotated[list[str], Field(max_length=256, min_length=1)]
    purpose: str
    operation: str | None = "use"
    consent_id: Annotated[str | None, Field(alias="consentId")] = None


class CallDisputeDetail(BaseModel):
    """
    One dispute with its deadline.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    receipt_id: Annotated[str, Field(alias="receiptId")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    amount: str
    provider: str
    buyer: str
    arbiter: str
    role: Annotated[
        str, Field(description="This organisation: `provider`, `buyer`, `arbiter`, `observer`")
    ]
    step: Annotated[str, Field(description="`claimed`, `contested`, `answered` or `ended`")]
    reason: str | None
    outcome: Annotated[str | None, Field(description="How it ended; null while it is open")]
    paid: str
    stake: str
    claimed_at: Annotated[int, Field(alias="claimedAt")]
    contested_at: Annotated[int | None, Field(alias="contestedAt")]
    answered_at: Annotated[int | None, Field(alias="answeredAt")]
    ended_at: Annotated[int | None, Field(alias="endedAt")]
    receipt: Annotated[dict[str, Any], Field(description="`UsageReceipt`; see docs/statements.md")]
    deadline_block: Annotated[
        int | None,
        Field(alias="deadlineBlock", description="The step is open up to this block or time"),
    ]
    deadline_time: Annotated[int | None, Field(alias="deadlineTime", description="Unix seconds")]
    over: Annotated[bool, Field(description="Whether anyone can end it now")]
    bond_held: Annotated[str, Field(alias="bondHeld")]
    opened: Annotated[bool, Field(description="Whether this buyer shows the answer to the arbiter")]
    wrong: Annotated[
        str | None, Field(description="The reason for a contest that this buyer's own records show")
    ]


class CallDisputeRow(BaseModel):
    """
    A dispute of a list.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    receipt_id: Annotated[str, Field(alias="receiptId")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    amount: str
    provider: str
    buyer: str
    arbiter: str
    role: Annotated[
        str, Field(description="This organisation: `provider`, `buyer`, `arbiter`, `observer`")
    ]
    step: Annotated[str, Field(description="`claimed`, `contested`, `answered` or `ended`")]
    reason: str | None
    outcome: Annotated[str | None, Field(description="How it ended; null while it is open")]
    paid: str
    stake: str
    claimed_at: Annotated[int, Field(alias="claimedAt")]
    contested_at: Annotated[int | None, Field(alias="contestedAt")]
    answered_at: Annotated[int | None, Field(alias="answeredAt")]
    ended_at: Annotated[int | None, Field(alias="endedAt")]


class CallError(BaseModel):
    """
    A request that was refused before a receipt; an error may add members of its own.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    code: str
    detail: str
    status: int
    hint: str


class CallErrorAnswer(BaseModel):
    """
    In place of a receipt.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    error: CallError


class CallFileAnswer(BaseModel):
    """
    A file of calls; times in Unix seconds, money in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    file_id: Annotated[str, Field(alias="fileId")]
    name: str
    agreement_id: Annotated[str, Field(alias="agreementId")]
    columns: list[str]
    unused_columns: Annotated[list[str], Field(alias="unusedColumns")]
    state: Annotated[str, Field(description="`ready`, `running`, `stopped`, `done`")]
    stop_code: Annotated[
        str, Field(alias="stopCode", description="Why it stopped; empty where a person stopped it")
    ]
    waiting_code: Annotated[
        str,
        Field(
            alias="waitingCode",
            description="Why the provider could not be asked; it is asked again",
        ),
    ]
    made_at: Annotated[int, Field(alias="madeAt")]
    started_at: Annotated[int | None, Field(alias="startedAt")]
    ended_at: Annotated[int | None, Field(alias="endedAt")]
    rows: Annotated[dict[str, int], Field(description="How many rows are in each state")]
    amount: int


class CallFileBody(BaseModel):
    """
    A file of subjects, each row one metered call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: Annotated[str, Field(max_length=100, min_length=1)]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    columns: Annotated[list[str], Field(max_length=256, min_length=1)]
    csv: Annotated[
        str,
        Field(
            description="CSV with a heading line: `subject` and, where needed, `consent`",
            max_length=8000000,
            min_length=1,
        ),
    ]


class CallFileList(BaseModel):
    """
    A page of files.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    files: list[CallFileAnswer]


class CallFileRemoved(BaseModel):
    """
    The file is deleted with its subjects.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    removed: bool


class CallFileRowAnswer(BaseModel):
    """
    A row with its record; the receipt is a struct hash in 0x hex.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    line: int
    subject: str
    state: Annotated[
        str, Field(description="`invalid`, `waiting`, `outstanding`, `served`, `refused`, …")
    ]
    code: str
    column: Annotated[str, Field(description="The column of a cell that is not what it must be")]
    units: int
    amount: int
    idempotency_key: Annotated[str, Field(alias="idempotencyKey")]
    record: dict[str, Any] | None
    receipt: str


class CallFileRows(BaseModel):
    """
    A page of rows, in the file's order.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    rows: list[CallFileRowAnswer]


class CallRow(BaseModel):
    """
    A stored call without its content; ``askedAt`` in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    idempotency_key: Annotated[str | None, Field(alias="idempotencyKey")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    outcome: str
    reason: str
    withdrawn: bool
    asked_at: Annotated[int, Field(alias="askedAt")]


class CancelBody(BaseModel):
    """
    Why an asset is cancelled or held, as a code.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    reason: str


class CatalogueRowAnswer(BaseModel):
    """
    An asset as a search finds it; the price in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    holder: str
    name: str
    title_zh: Annotated[str, Field(alias="titleZh")]
    title_en: Annotated[str, Field(alias="titleEn")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    category: str
    grade: int
    row_count: Annotated[int, Field(alias="rowCount")]
    state: str
    unit: Annotated[str, Field(description="Empty where no offer is known")]
    price: Annotated[int | None, Field(description="Null where no offer is known")]
    max_days: Annotated[int, Field(alias="maxDays")]
    columns: list[str]
    registered_at: Annotated[int, Field(alias="registeredAt")]


class CertificateAnswer(BaseModel):
    """
    A certificate of a subject's one-time key.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    certificate: Annotated[
        dict[str, Any], Field(description="`SubjectKeyCertificate`; see docs/statements.md")
    ]
    signature: str


class CertificateBody(BaseModel):
    """
    Whose key to certify for what. The salt is the subject's: it opens the identity commitment
    later.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    identity: dict[str, str]
    identity_salt: Annotated[str, Field(alias="identitySalt")]
    key: str
    purpose: str
    not_after: Annotated[int, Field(alias="notAfter")]


class CertificateStored(BaseModel):
    """
    The certificate is stored.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    stored: bool


class ClaimAnswer(BaseModel):
    """
    The contract calls that claim, and how many lanes they cover.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operations: list[str]
    lanes: int


class ClaimRow(BaseModel):
    """
    What is owed under one agreement; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    unclaimed: str
    due: Annotated[
        str | None, Field(description="Why it is to be claimed now; null while it is not")
    ]
    due_since: Annotated[int | None, Field(alias="dueSince")]
    window_ends_at: Annotated[int | None, Field(alias="windowEndsAt")]
    blocks_left: Annotated[int | None, Field(alias="blocksLeft")]
    refusal: Annotated[str | None, Field(description="The chain's code for the last claim")]
    at_risk: Annotated[bool, Field(alias="atRisk")]


class CloseAnswer(BaseModel):
    """
    The contract call; with the height of a closing that happened before.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str | None
    closed_at: Annotated[int | None, Field(alias="closedAt")] = 0


class ClosingBody(BaseModel):
    """
    Ways to end: cooperatively if the other side agrees, else by notice on the chain.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    cooperative: bool | None = True
    notice: bool | None = True


class ColumnAnswer(BaseModel):
    """
    A column of a source with its type and masking rule.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: str
    type: str
    masking: str


class ConfirmationRow(BaseModel):
    """
    A settlement bank's signed confirmation of a payment.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    id: str
    statement: Annotated[
        dict[str, Any], Field(description="`PayoutConfirmation`; see docs/clearing.md")
    ]
    signature: str


class ConsentName(BaseModel):
    """
    The consent's commitment.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    consent: str


class ConsentStatus(BaseModel):
    """
    A consent's heights.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    consent: str
    recorded_at: Annotated[int | None, Field(alias="recordedAt")]
    withdrawn_at: Annotated[int | None, Field(alias="withdrawnAt")]


class ConsistencyPath(BaseModel):
    """
    Hashes that prove that one head continues another (RFC 6962, 2.1.2).
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    path: list[str]


class ContestBody(BaseModel):
    """
    Why the buyer contests.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    reason: Annotated[
        str,
        Field(
            description="`no_answer`, `answer_differs`, `record_differs`, `not_requested`, `price_differs` or `right_revoked`"
        ),
    ]


class ContestOpening(BaseModel):
    """
    The key of a contest, for the arbiter.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    contest_secret: Annotated[str, Field(alias="contestSecret")]


class CopiedEntries(BaseModel):
    """
    The size of the copy, and leaves of it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    size: int
    entries: list[dict[str, Any]]


class CostAnswer(BaseModel):
    """
    What the rows that are left can cost, in fen, beside what the caps still allow.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    rows: int
    least: int
    most: int
    cap: int
    cap_left: Annotated[int, Field(alias="capLeft")]
    units_left: Annotated[int | None, Field(alias="unitsLeft")]
    calls_left: Annotated[int, Field(alias="callsLeft")]
    fits: bool


class Countersignature(BaseModel):
    """
    This member's signature of the final totals.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    signature: str


class CourseAnswer(BaseModel):
    """
    This organisation's access to an asset.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    done: Annotated[
        list[str], Field(description="`request`, `decision`, `offer`, `agreement`, `call`")
    ]
    current: Annotated[
        str | None, Field(description="The step that is next; null once a call was made")
    ]
    turn: Annotated[str, Field(description="`own`, `provider`, `chain` or `nobody`")]
    grant_id: Annotated[str | None, Field(alias="grantId")]
    agreement_id: Annotated[str | None, Field(alias="agreementId")]
    ended: Annotated[str, Field(description="How an earlier attempt ended; empty where none did")]


class CourseRow(BaseModel):
    """
    A step that the deal needs, and whose turn it is.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    step: str
    party: Annotated[
        str | None, Field(description="The member that signs it; null for seller and buyer")
    ]
    state: Annotated[str, Field(description="`done`, `sent`, `next`, `later` or `dropped`")]


class Coverage(BaseModel):
    """
    What was compared.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreements: int
    lanes: int
    positions: int


class DealAnswer(BaseModel):
    """
    The terms that were drawn up, and the salt of the content's commitment.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deal_id: Annotated[str, Field(alias="dealId")]
    terms: Annotated[dict[str, Any], Field(description="`DealTerms`; see docs/statements.md")]
    content_salt: Annotated[str, Field(alias="contentSalt")]


class DealName(BaseModel):
    """
    The deal's id.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deal_id: Annotated[str, Field(alias="dealId")]


class DeliveryAnswer(BaseModel):
    """
    A delivery; times in Unix seconds. ``status`` is the receiver's last HTTP status, ``error``
    the code of the last failure.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    id: int
    event: dict[str, Any]
    state: str
    attempts: int
    next_at: Annotated[int, Field(alias="nextAt")]
    status: int | None
    error: str
    changed_at: Annotated[int, Field(alias="changedAt")]


class DeliveryList(BaseModel):
    """
    A page of deliveries.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    deliveries: list[DeliveryAnswer]


class DemandAnswerRow(BaseModel):
    """
    A department's asset in answer to a demand.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    department: str
    asset_id: Annotated[str, Field(alias="assetId")]
    note: str
    answered_at: Annotated[int, Field(alias="answeredAt")]


class DemandBody(BaseModel):
    """
    This bank's demand for data.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    title: str
    text: str
    purpose: str
    columns: list[str] | None = []


class DemandFields(BaseModel):
    """
    A demand; Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    demand_id: Annotated[str, Field(alias="demandId")]
    title: str
    text: str
    purpose: str
    columns: list[str]
    posted_at: Annotated[int, Field(alias="postedAt")]


class DepositAnswer(BaseModel):
    """
    The confirmation as it was signed first, and its contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    confirmation: Annotated[
        dict[str, Any], Field(description="`DepositConfirmation`; see docs/statements.md")
    ]
    operation: str


class DepositBody(BaseModel):
    """
    Money the settlement bank received for a member, in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: Annotated[str, Field(pattern="^[0-9A-Z]{18}$")]
    amount: Annotated[int, Field(ge=1, le=9007199254740991)]
    reference: Annotated[str, Field(max_length=128, min_length=1)]


class Description(BaseModel):
    """
    The published text of an asset.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    title_zh: Annotated[str, Field(alias="titleZh")]
    title_en: Annotated[str, Field(alias="titleEn")]
    description: str
    grade: Annotated[int, Field(ge=1, le=5)]
    category: str | None = "other"


class DifferenceRow(BaseModel):
    """
    A sum on which book and contract differ; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: Annotated[str, Field(description="Empty for the sums of all")]
    sum: Annotated[str, Field(description="`deposited`, `earned`, `spent` or `withdrawn`")]
    book: str
    contract: str


class DirectoryProposalBody(BaseModel):
    """
    A directory action to be approved.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    function: str
    arguments: dict[str, Any]
    share_with: Annotated[
        list[str] | None,
        Field(
            alias="shareWith",
            description="Members that are handed it; else every governor whose node this one knows",
        ),
    ] = []


class DiscrepancyRow(BaseModel):
    """
    A sum that does not hold; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    line: Annotated[
        str,
        Field(
            description="`totals`, `earnings`, `account`, `members`, `agreement`, `locked` or `bonded`"
        ),
    ]
    subject: Annotated[
        str,
        Field(
            description="The member's code, the agreement's id, or for `members` the name of the sum"
        ),
    ]
    stated: Annotated[str, Field(description="What the chain states")]
    counted: Annotated[str, Field(description="What it should be, by the other records")]


class DisputeCallAnswer(BaseModel):
    """
    The dispute, and the contract call that was queued.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    receipt_id: Annotated[str, Field(alias="receiptId")]
    operation: str


class DisputeCase(StrEnum):
    """
    What a dispute's bundle shows of a call.
    """

    claim = "claim"
    equivocation = "equivocation"
    request = "request"
    amount = "amount"
    revoked = "revoked"
    answer = "answer"


class DisputeName(BaseModel):
    """
    The dispute's id.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    dispute_id: Annotated[str, Field(alias="disputeId")]


class DisputeRow(BaseModel):
    """
    A dispute at this department; heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    dispute_id: Annotated[str, Field(alias="disputeId")]
    subject: str
    asset_id: Annotated[str, Field(alias="assetId")]
    claim: dict[str, Any]
    old_record: Annotated[dict[str, Any], Field(alias="oldRecord")]
    new_record: Annotated[dict[str, Any] | None, Field(alias="newRecord")]
    state: Annotated[str, Field(description="`sent`, `open` or `answered`")]
    opened_at: Annotated[int | None, Field(alias="openedAt")]
    answered_at: Annotated[int | None, Field(alias="answeredAt")]


class EarningsRow(BaseModel):
    """
    An agreement that this organisation provides under; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    asset_id: Annotated[str, Field(alias="assetId")]
    buyer: str
    state: str
    served: int
    delivered: str
    claimed: Annotated[str, Field(description="Acknowledged and claimed, by the chain's events")]
    unclaimed: Annotated[str, Field(description="Acknowledged and not claimed yet")]
    unacknowledged: Annotated[str, Field(description="Delivered and not acknowledged yet")]


class EndBody(BaseModel):
    """
    Which key ends, and why. ``stolen`` ends it at once, whatever needs it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    reason: str
    stolen: bool | None = False


class Ending(BaseModel):
    """
    The queued contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str


class EntryAsideBody(BaseModel):
    """
    Why an entry is no money of a member.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    reason: Annotated[str, Field(max_length=200, min_length=1)]


class EntryMemberBody(BaseModel):
    """
    The member that an entry is of.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: Annotated[str, Field(pattern="^[0-9A-Z]{18}$")]


class EntryRow(BaseModel):
    """
    An entry of the book; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    height: int
    log_index: Annotated[int, Field(alias="logIndex")]
    at: int
    kind: Annotated[
        str, Field(description="`deposited`, `paid`, `refunded`, `withdrawn` or `penalty`")
    ]
    member: str
    payer: Annotated[str, Field(description="Of a payment or penalty; empty for any other entry")]
    agreement_id: Annotated[str | None, Field(alias="agreementId")]
    amount: str


class EquivocationRow(BaseModel):
    """
    A place for which a provider signed two receipts; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    provider: str
    lane: int
    seq: int
    taken: Annotated[str, Field(description="What went from the bond to the buyer")]
    height: int


class EvidenceBody(BaseModel):
    """
    An entry of a member's log.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    index: Annotated[int, Field(ge=0, le=9007199254740991)]


class FacetAnswer(BaseModel):
    """
    A value with the number of assets that have it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    value: str
    count: int


class FactRow(BaseModel):
    """
    One thing that a record says; times in Unix seconds, heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: str
    value: str | int


class FaultRow(BaseModel):
    """
    A fault of a file.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[str, Field(description="A value of `FaultKind`, such as `key_repeated`")]
    blocking: Annotated[bool, Field(description="Whether it keeps the file from being published")]
    line: Annotated[int | None, Field(description="From 1; in Parquet files the row")]
    column: str
    cell: Annotated[str, Field(description="The start of the cell's text")]
    detail: str
    place: Annotated[
        str, Field(description="The cell's name in a workbook, such as `B7`; else empty")
    ]


class FinalSettlementAnswer(BaseModel):
    """
    The totals as they were signed.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    state: str
    reason: str
    units: int
    amount: str
    hash: str
    at: int
    settlement: Annotated[
        dict[str, Any], Field(description="`FinalSettlement`; see docs/statements.md")
    ]
    buyer_signature: Annotated[str, Field(alias="buyerSignature")]
    provider_signature: Annotated[str | None, Field(alias="providerSignature")]


class FinalTotals(BaseModel):
    """
    The totals of a cooperative closing; fen as text, ``at`` in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    state: str
    reason: str
    units: int
    amount: str
    hash: str
    at: int


class FineBody(BaseModel):
    """
    A fine for two governors to approve; fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    amount: Annotated[
        int, Field(description="From 1 fen to what the bond holds", ge=0, le=9007199254740991)
    ]
    to: Annotated[str, Field(description="The active member that gets it; not the provider")]
    reason: Annotated[
        str, Field(description="The decision's number; it counts once for an agreement")
    ]
    share_with: Annotated[
        list[str] | None,
        Field(
            alias="shareWith",
            description="Members that are handed it; else every governor whose node this one knows",
        ),
    ] = []


class FineProposal(BaseModel):
    """
    The proposal that governors approve, and the members whose nodes it did not reach.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    proposal_id: Annotated[str, Field(alias="proposalId")]
    not_reached: Annotated[list[str], Field(alias="notReached")]


class FineRow(BaseModel):
    """
    A fine that was taken out of a provider's bond; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    provider: str
    reason: str
    taken: str
    height: int


class FlowRow(BaseModel):
    """
    What one member got of another's asset, as far as it was claimed; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    provider: str
    buyer: str
    asset_id: Annotated[str, Field(alias="assetId")]
    calls: int
    units: int
    amount: str


class ForecastAnswer(BaseModel):
    """
    Plain arithmetic: what is left, at the rate of the last days.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    days: Annotated[int, Field(description="Days that the rate was taken from")]
    spent: Annotated[int, Field(description="Fen spent in these days")]
    cap_at: Annotated[
        int | None,
        Field(
            alias="capAt",
            description="When a cap is reached at this rate, in Unix seconds; null if it is not",
        ),
    ]


class ForkRow(BaseModel):
    """
    Two signed heads of one log that cannot both be true; ``foundAt`` in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    origin: str
    first: str
    second: str
    found_at: Annotated[int, Field(alias="foundAt")]


class FreezeAnswer(BaseModel):
    """
    The agreement, and the contract call that was queued.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    operation: str


class FreezeBody(BaseModel):
    """
    By which decision an agreement is frozen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    reason: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]{0,30}$")]


class GrantDetail(BaseModel):
    """
    A grant with what its officer needs to decide.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    grant_id: Annotated[str, Field(alias="grantId")]
    state: Annotated[
        str, Field(description="`sent`, `requested`, `approved`, `refused` or `revoked`")
    ]
    reason: str
    terms: Annotated[dict[str, Any], Field(description="`GrantTerms`; see docs/statements.md")]
    scope: Annotated[
        dict[str, Any] | None, Field(description="null where this node has not received the scope")
    ]
    requested_at: Annotated[int | None, Field(alias="requestedAt")]
    approved_at: Annotated[int | None, Field(alias="approvedAt")]
    refused_at: Annotated[int | None, Field(alias="refusedAt")]
    revoked_at: Annotated[int | None, Field(alias="revokedAt")]
    scope_salt: Annotated[str | None, Field(alias="scopeSalt")]
    asset: Annotated[
        dict[str, Any] | None,
        Field(description="`record` and `metadata` where this node publishes the asset"),
    ]


class GrantName(BaseModel):
    """
    The grant's id.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    grant_id: Annotated[str, Field(alias="grantId")]


class GrantRow(BaseModel):
    """
    A grant; the heights are those the chain gave it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    grant_id: Annotated[str, Field(alias="grantId")]
    state: Annotated[
        str, Field(description="`sent`, `requested`, `approved`, `refused` or `revoked`")
    ]
    reason: str
    terms: Annotated[dict[str, Any], Field(description="`GrantTerms`; see docs/statements.md")]
    scope: Annotated[
        dict[str, Any] | None, Field(description="null where this node has not received the scope")
    ]
    requested_at: Annotated[int | None, Field(alias="requestedAt")]
    approved_at: Annotated[int | None, Field(alias="approvedAt")]
    refused_at: Annotated[int | None, Field(alias="refusedAt")]
    revoked_at: Annotated[int | None, Field(alias="revokedAt")]


class HoldAnswer(BaseModel):
    """
    A hold with its signature, the salt of its order, and its contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    hold: Annotated[dict[str, Any], Field(description="`UnitHold`; see docs/statements.md")]
    signature: str
    salt: str
    operation: str


class HoldBody(BaseModel):
    """
    A hold on a unit and the order it cites.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    unit: str
    order: dict[str, str]
    placed: bool
    ends_at: Annotated[int | None, Field(alias="endsAt")] = None


class HoldEndBody(BaseModel):
    """
    A hold whose order has ended.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    registrar: str
    unit: str


class HoldRow(BaseModel):
    """
    A hold in force; ``placedAt`` is a height, ``endsAt`` Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    number: str
    unit: str
    order: dict[str, Any]
    placed_at: Annotated[int, Field(alias="placedAt")]
    ends_at: Annotated[int, Field(alias="endsAt")]


class HourRow(BaseModel):
    """
    Activity in an hour; fen as text, ``hour`` in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    hour: int
    calls: Annotated[int, Field(description="Settled on the chain")]
    amount: str
    deposited: str
    paid: str
    withdrawn: str
    opened: int
    closed: int


class IncidentRow(BaseModel):
    """
    A way in which a source departs from a published version; times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    kind: str
    columns: Annotated[list[str], Field(description="What differs; empty where it is not known")]
    row: Annotated[int | None, Field(description="The record in the order of publication, from 1")]
    calls: Annotated[int, Field(description="Calls refused for it")]
    first_at: Annotated[int, Field(alias="firstAt")]
    last_at: Annotated[int, Field(alias="lastAt")]


class InspectionAnswer(BaseModel):
    """
    What an inspection of a file found.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: str
    key: str
    encoding: str
    delimiter: str
    rows: int
    sheet: Annotated[str, Field(description="The sheet of a workbook that was read; else empty")]
    faults: Annotated[list[FaultRow], Field(description="The first 100")]
    fault_count: Annotated[int, Field(alias="faultCount")]
    publishable: bool


class KeyRow(BaseModel):
    """
    A member's key; heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    fingerprint: str
    purpose: str
    algorithm: str
    from_height: Annotated[int, Field(alias="fromHeight")]
    ended_at: Annotated[int | None, Field(alias="endedAt", description="null while it is live")]


class LaneBody(BaseModel):
    """
    Which lane's last receipt is claimed.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    lane: Annotated[int | None, Field(ge=0, le=9007199254740991)] = 0


class LaneComparison(BaseModel):
    """
    A lane by gateway, buyer and chain; null for a node that did not answer.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    gateway: dict[str, Any] | None
    buyer: dict[str, Any] | None
    chain: dict[str, Any]


class LaneCounts(BaseModel):
    """
    A node's counts of a lane with its proofs, and how many calls ended in each
    status; in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    seq: int
    units: int
    amount: int
    outstanding: int
    request: dict[str, Any]


class LogEntries(BaseModel):
    """
    Leaves of the log, in order.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    entries: list[dict[str, Any]]


class LogHeads(BaseModel):
    """
    The newest checkpoint as a signed note, null before the first, and those to be cosigned.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    note: str | None
    cosignatures: str | None = ""
    size: int | None = 0
    anchored: list[str]


class LogPlaceAnswer(BaseModel):
    """
    Where this node's log has a statement; null until an anchor includes it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    digest: str
    index: int | None
    anchored_at: Annotated[int | None, Field(alias="anchoredAt")]


class LogState(BaseModel):
    """
    The log's origin and size, and its newest checkpoint as a signed note.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    origin: str
    size: int
    note: str | None
    cosignatures: str | None = ""


class LookRow(BaseModel):
    """
    A call that asked for the subject's record.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    columns: list[str]
    purpose: str
    operation: str
    consent: str | None
    outcome: Annotated[
        str, Field(description="`served`, `refused`, `void`; at a buyer also `asked`")
    ]
    reason: Annotated[str, Field(description="Code of a refusal; empty for an answer")]
    at: Annotated[int, Field(description="Unix seconds")]
    receipt: str | None


class MemberAccountAnswer(BaseModel):
    """
    Whether the account is registered, or waits for a second person to type the same.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    registered: bool


class MemberAccountBody(BaseModel):
    """
    The account that a member is paid to.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: Annotated[str, Field(pattern="^[0-9A-Z]{18}$")]
    account: Annotated[str, Field(pattern="^[0-9A-Z]{1,34}$")]
    name: Annotated[str, Field(max_length=70, min_length=1)]
    bank_code: Annotated[str, Field(alias="bankCode", pattern="^[0-9]{12}$")]


class MemberAccountRow(BaseModel):
    """
    The account that a member is paid to, and since when, in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    account: str
    name: str
    bank_code: Annotated[str, Field(alias="bankCode")]
    since: int


class MemberAnswer(BaseModel):
    """
    A member; heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    name: str
    roles: list[str]
    status: str
    admitted_at: Annotated[int, Field(alias="admittedAt")]
    suspended_at: Annotated[int | None, Field(alias="suspendedAt")]
    lifted_at: Annotated[int | None, Field(alias="liftedAt")]
    removed_at: Annotated[int | None, Field(alias="removedAt")]


class MemberList(BaseModel):
    """
    A page of members.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    members: list[MemberAnswer]


class MemberWithKeys(BaseModel):
    """
    A member with its keys: those in use first, then those that ended last.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    name: str
    roles: list[str]
    status: str
    admitted_at: Annotated[int, Field(alias="admittedAt")]
    suspended_at: Annotated[int | None, Field(alias="suspendedAt")]
    lifted_at: Annotated[int | None, Field(alias="liftedAt")]
    removed_at: Annotated[int | None, Field(alias="removedAt")]
    keys: list[KeyRow]


class MetadataAnswer(BaseModel):
    """
    The metadata of the latest version.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    metadata: dict[str, Any]


class Money(BaseModel):
    """
    An account in the contract; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deposited: str
    withdrawn: str
    free: str
    locked: str
    earned: str
    spent: str
    bonded: Annotated[str, Field(description="Bonds of agreements and stakes of disputes")]


class MonthRow(BaseModel):
    """
    What was earned in a month, by its first day in Unix seconds; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    month: int
    served: int
    delivered: str


class Need(BaseModel):
    """
    Something that a replaced key must stay live for.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    code: str
    sentence: str
    passes: bool


class NetPositionRow(BaseModel):
    """
    A member's money on a day; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    opening: str
    deposited: str
    earned: str
    spent: str
    withdrawn: str
    net: Annotated[str, Field(description="Earned less spent; negative for who owes")]
    closing: str


class NodeIdentity(BaseModel):
    """
    Who this node is, for anyone.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    name: str
    roles: list[str]
    version: str
    chain_id: int
    genesis_hash: str


class NoticeAnswer(BaseModel):
    """
    The contract call; with the height of a notice that was given before.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str | None
    notice_at: Annotated[int | None, Field(alias="noticeAt")] = 0


class OpenFindingRow(BaseModel):
    """
    A finding that is followed until it is settled; times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[
        str,
        Field(
            description="`gap`, `conflict`, `unreachable`, `price`, `revoked_use`, `unclaimed` or `lost`"
        ),
    ]
    sentence: str
    lane: int | None
    from_seq: Annotated[int | None, Field(alias="fromSeq")]
    to_seq: Annotated[int | None, Field(alias="toSeq")]
    id: int
    agreement_id: Annotated[str, Field(alias="agreementId")]
    responsible: Annotated[list[str], Field(description="The members that have to answer")]
    first_seen: Annotated[int, Field(alias="firstSeen")]
    last_seen: Annotated[int, Field(alias="lastSeen")]
    due_at: Annotated[int, Field(alias="dueAt")]
    settled_at: Annotated[int | None, Field(alias="settledAt")]


class OpenedAnswer(BaseModel):
    """
    That the arbiter may read the answer from now on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    receipt_id: Annotated[str, Field(alias="receiptId")]


class Opening(BaseModel):
    """
    Status of the contract call that opens an agreement.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    state: str
    code: str | None
    height: int | None


class OperationAnswer(BaseModel):
    """
    Status of a contract call; the code and its context are those of a refusal.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str
    state: str
    transaction: str | None
    height: int | None
    code: str | None
    context: dict[str, Any]


class OwnDemandRow(BaseModel):
    """
    A demand of this bank with its answers.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    demand_id: Annotated[str, Field(alias="demandId")]
    title: str
    text: str
    purpose: str
    columns: list[str]
    posted_at: Annotated[int, Field(alias="postedAt")]
    withdrawn_at: Annotated[int | None, Field(alias="withdrawnAt")]
    answers: list[DemandAnswerRow]


class Stage(StrEnum):
    in_use = "in_use"
    next = "next"
    replaced = "replaced"


class OwnKey(BaseModel):
    """
    One of the node's own keys.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: str
    purpose: str
    fingerprint: str
    stage: Stage
    loaded: bool
    since_block: Annotated[int | None, Field(alias="sinceBlock")]
    ended_at_block: Annotated[int | None, Field(alias="endedAtBlock")]
    needed_by: Annotated[list[Need], Field(alias="neededBy")]


class OwnKeys(BaseModel):
    """
    All of the node's own keys.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    keys: list[OwnKey]


class OwnQueryRow(BaseModel):
    """
    A query that this bank made.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    query_id: Annotated[str, Field(alias="queryId")]
    bank: str
    issued_at: Annotated[int, Field(alias="issuedAt", description="Unix seconds")]
    report: dict[str, Any]


class PartBody(BaseModel):
    """
    One department's share.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    columns: Annotated[list[str], Field(max_length=200, min_length=1)]


class PartEvidenceAnswer(BaseModel):
    """
    What proves one department's part.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    department: str
    asset_id: Annotated[str, Field(alias="assetId")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    receipt: str
    amount: int
    view_height: Annotated[int, Field(alias="viewHeight")]
    issued_at: Annotated[int, Field(alias="issuedAt")]
    request: LogPlaceAnswer


class PaymentOrderAnswer(BaseModel):
    """
    An order of payments; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    order_id: Annotated[str, Field(alias="orderId")]
    day: str
    payments: int
    total: str
    state: Annotated[str, Field(description="`proposed`, `released` or `dropped`")]
    digest: Annotated[str, Field(description="SHA-256 of the file")]
    made_at: Annotated[int, Field(alias="madeAt")]
    made_by: Annotated[str, Field(alias="madeBy")]
    released_at: Annotated[int | None, Field(alias="releasedAt")]
    released_by: Annotated[str, Field(alias="releasedBy")]


class PaymentOrderBody(BaseModel):
    """
    When the bank is to pay.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    day: Annotated[str | None, Field(description="Empty for today", max_length=10)] = ""


class PaymentOrderList(BaseModel):
    """
    A page of orders.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    orders: list[PaymentOrderAnswer]


class PaymentRow(BaseModel):
    """
    A payment, deposit or withdrawal; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[str, Field(description="`paid`, `deposited` or `withdrawn`")]
    member: str
    agreement_id: Annotated[str | None, Field(alias="agreementId")]
    amount: str
    height: int
    log_index: Annotated[int, Field(alias="logIndex")]


class PayoutRow(BaseModel):
    """
    A withdrawal and its payment; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    payout_id: Annotated[
        str, Field(alias="payoutId", description="Also the payment's end-to-end id at the bank")
    ]
    member: str
    amount: str
    operation_id: Annotated[
        str, Field(alias="operationId", description="The withdrawal's id on the chain")
    ]
    height: int
    at: int
    state: Annotated[
        str, Field(description="`ordered`, `proposed`, `instructed`, `paid` or `returned`")
    ]
    order_id: Annotated[str, Field(alias="orderId")]
    paid_at: Annotated[int | None, Field(alias="paidAt")]
    reason: Annotated[str, Field(description="Why the payment came back")]
    confirmed_by: Annotated[
        str,
        Field(alias="confirmedBy", description="The settlement bank that signed the confirmation"),
    ]


class PayoutState(StrEnum):
    """
    State of a withdrawal on its way to the member's account.
    """

    ordered = "ordered"
    proposed = "proposed"
    instructed = "instructed"
    paid = "paid"
    returned = "returned"


class PeerDemandList(BaseModel):
    """
    A page of this bank's open demands.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    demands: list[DemandFields]


class PeerDispute(BaseModel):
    """
    A dispute as a report shows it: masked records, and what proves it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    dispute_id: Annotated[str, Field(alias="disputeId")]
    department: str
    asset_id: Annotated[str, Field(alias="assetId")]
    answered: bool
    upheld: bool
    before: dict[str, Any]
    after: dict[str, Any] | None
    dispute: Annotated[dict[str, Any], Field(description="`CreditDispute`; see docs/statements.md")]
    dispute_signature: Annotated[str, Field(alias="disputeSignature")]
    certificate: dict[str, Any]
    certificate_signature: Annotated[str, Field(alias="certificateSignature")]
    repair: dict[str, Any] | None
    repair_signature: Annotated[str | None, Field(alias="repairSignature")]


class PeerDisputes(BaseModel):
    """
    A subject's disputes.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    disputes: list[PeerDispute]


class PersonBody(BaseModel):
    """
    A certificate of a person's one-time key, with its signature.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    certificate: dict[str, Any]
    signature: str


class PingAnswer(BaseModel):
    """
    The member that this node takes the caller for.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str


class PingBodyAnswer(BaseModel):
    """
    The same, and the size of the body.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    bytes: int


class PositionRow(BaseModel):
    """
    Status of a call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int


class PreviewBody(BaseModel):
    """
    What of a source is to be delivered; nothing is published.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    source: str
    masking: dict[str, str]
    types: dict[str, str] | None = {}


class PreviewRowAnswer(BaseModel):
    """
    A row as the source has it, and as a buyer would get it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    line: int
    held: dict[str, Any]
    delivered: dict[str, Any]


class ProposalAnswer(BaseModel):
    """
    A proposal as nodes exchange it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    proposal_id: Annotated[str, Field(alias="proposalId")]
    proposer: str
    function: str
    arguments: dict[str, Any]
    call_data: Annotated[str, Field(alias="callData")]
    approval: Annotated[
        dict[str, Any],
        Field(description="What administrators sign: `Approval` in docs/statements.md"),
    ]
    approvals: Annotated[dict[str, str], Field(description="Signature by governor")]
    withdrawals: Annotated[dict[str, str], Field(description="Signature by governor")]
    operation: str | None
    executed_at: Annotated[
        int | None, Field(alias="executedAt", description="The block that executed it")
    ]


class ProposalList(BaseModel):
    """
    A page of proposals.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    proposals: list[ProposalAnswer]


class ProposalRefusal(BaseModel):
    """
    Why a provider does not sign.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    code: str
    detail: str


class PublicationRow(BaseModel):
    """
    A version that this node has published or is publishing.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    title_zh: Annotated[str, Field(alias="titleZh")]
    title_en: Annotated[str, Field(alias="titleEn")]
    source: str
    state: Annotated[str, Field(description="`publishing` or `published`")]
    rows: Annotated[int, Field(description="Rows committed so far")]
    operation: str | None


class PublishedVersion(BaseModel):
    """
    The version to be registered, and its contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    row_count: Annotated[int, Field(alias="rowCount")]
    record: Annotated[dict[str, Any], Field(description="`AssetRecord`; see docs/statements.md")]
    metadata: dict[str, Any]
    operation: str


class PurposeDemands(BaseModel):
    """
    What a use for one purpose demands.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    consent: bool | None = True


class QueryList(BaseModel):
    """
    A page of credit queries.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    queries: list[OwnQueryRow | AnchoredQueryRow]


class QueuedCall(BaseModel):
    """
    A contract call that is queued; `GET /v1/operations/{operation}` shows how it ends.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str


class ReceiptAnswer(BaseModel):
    """
    A receipt, with the content of a served call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    content: dict[str, Any] | None
    receipt: Annotated[dict[str, Any], Field(description="`UsageReceipt`; see docs/statements.md")]
    salt: str | None
    signature: str


class ReceivedDemandRow(BaseModel):
    """
    A demand of another member.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    demand_id: Annotated[str, Field(alias="demandId")]
    title: str
    text: str
    purpose: str
    columns: list[str]
    posted_at: Annotated[int, Field(alias="postedAt")]
    bank: str
    answered_with: Annotated[
        str | None,
        Field(alias="answeredWith", description="The asset this department answered with"),
    ]


class RecordRow(BaseModel):
    """
    A record and what it says.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[
        str,
        Field(
            description="`member`, `asset`, `grant`, `agreement`, `deal`, `step`, `entry`, `transaction` or `event`"
        ),
    ]
    id: str
    title: str
    facts: list[FactRow]


class RefusedByAnswer(BaseModel):
    """
    Who refused a request; a member or an address is left out where it is not known.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[str, Field(description="`node`, `peer`, `proxy`, `chain` or `clock`")]
    member: str | None = ""
    address: str | None = ""


class RepairAnswer(BaseModel):
    """
    The answer to a dispute, and its contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    repair: Annotated[dict[str, Any], Field(description="`CreditRepair`; see docs/statements.md")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    operation: str


class ReportAnswer(BaseModel):
    """
    A report, and the contract call that anchors its query.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    query_id: Annotated[str, Field(alias="queryId")]
    report: dict[str, Any]
    operation: str


class ReportBody(BaseModel):
    """
    Whose report, under which consent, from whom.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    subject: str
    consent_id: Annotated[str, Field(alias="consentId")]
    purpose: str | None = "credit-assessment"
    parts: Annotated[list[PartBody], Field(max_length=32, min_length=1)]


class ReportSourceRow(BaseModel):
    """
    An agreement that answers about subjects for the purpose; money in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    department: str
    asset_id: Annotated[str, Field(alias="assetId")]
    columns: list[str]
    price: int
    left: Annotated[int, Field(description="Fen below the agreement's cap")]


class ReportSources(BaseModel):
    """
    The open agreements with which a report can be made.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    sources: list[ReportSourceRow]


class ReportedEnd(BaseModel):
    """
    The state in which this node has the agreement now.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    state: str


class RepublishBody(BaseModel):
    """
    The changes that were shown, by their fingerprint, and what was asked with them.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    masking: dict[str, str] | None = {}
    types: dict[str, str] | None = {}
    purposes: dict[str, PurposeDemands] | None = None
    fingerprint: str


class RequestBody(BaseModel):
    """
    A request for a grant.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int | None, Field(alias="assetVersion", ge=1)] = 1
    owner: str
    operations: Annotated[int, Field(ge=0, le=63)]
    scene: str
    purpose: str
    columns: list[str]
    not_before: Annotated[int, Field(alias="notBefore")]
    not_after: Annotated[int, Field(alias="notAfter")]
    max_uses: Annotated[int, Field(alias="maxUses")]


class RequestedGrant(BaseModel):
    """
    The grant's id, and the contract call that requests it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    grant_id: Annotated[str, Field(alias="grantId")]
    operation: str


class RowSampleAnswer(BaseModel):
    """
    How many rows, and the source's lines of the first ones.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    count: int
    lines: list[int]


class RowState(StrEnum):
    """
    State of a row.
    """

    invalid = "invalid"
    waiting = "waiting"
    outstanding = "outstanding"
    served = "served"
    refused = "refused"
    void = "void"


class RulingBody(BaseModel):
    """
    The arbiter's decision; money in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    amount: Annotated[
        int,
        Field(description="What is paid of the call: all, 0 or a part", ge=0, le=9007199254740991),
    ]
    opinion: Annotated[str, Field(max_length=10000, min_length=1)]
    evidence: list[EvidenceBody]


class RunAnswer(BaseModel):
    """
    A comparison of every agreement; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    id: int
    state: Annotated[str, Field(description="`running` or `done`")]
    started_at: Annotated[int, Field(alias="startedAt")]
    finished_at: Annotated[int | None, Field(alias="finishedAt")]
    agreements: int
    lanes: int
    positions: int
    findings: Annotated[int, Field(description="Contradictions found")]
    lost: str
    conserved: bool | None


class RunList(BaseModel):
    """
    A page of runs, the latest first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    runs: list[RunAnswer]


class Running(BaseModel):
    """
    The process answers.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    status: Literal["running"]


class ScopeAnswer(BaseModel):
    """
    A grant's scope and the salt of its commitment.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    scope: dict[str, Any]
    salt: str


class SealedAnswer(BaseModel):
    """
    A contested call's answer, sealed to the contest's key; 0x hex.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    sealed_answer: Annotated[str, Field(alias="sealedAnswer")]


class ShareAnswer(BaseModel):
    """
    One part of a revenue split.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    basis_points: Annotated[int, Field(alias="basisPoints")]


class ShareBody(BaseModel):
    """
    One part of the revenue split.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    basis_points: Annotated[int, Field(alias="basisPoints", ge=0, le=10000)]


class SharePaid(BaseModel):
    """
    One member's part of the split; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    basis_points: Annotated[int, Field(alias="basisPoints")]
    due: str
    paid: str


class SharedProposal(BaseModel):
    """
    A proposal, and the members whose nodes it did not reach.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    proposal_id: Annotated[str, Field(alias="proposalId")]
    proposer: str
    function: str
    arguments: dict[str, Any]
    call_data: Annotated[str, Field(alias="callData")]
    approval: Annotated[
        dict[str, Any],
        Field(description="What administrators sign: `Approval` in docs/statements.md"),
    ]
    approvals: Annotated[dict[str, str], Field(description="Signature by governor")]
    withdrawals: Annotated[dict[str, str], Field(description="Signature by governor")]
    operation: str | None
    executed_at: Annotated[
        int | None, Field(alias="executedAt", description="The block that executed it")
    ]
    not_reached: Annotated[list[str], Field(alias="notReached")]


class SignatureAnswer(BaseModel):
    """
    The step that was signed, and its contract call once one is queued.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deal_id: Annotated[str, Field(alias="dealId")]
    step: str
    operation: str | None


class SignedAgreementAnswer(BaseModel):
    """
    An agreement with both signatures.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement: Annotated[dict[str, Any], Field(description="`Agreement`; see docs/statements.md")]
    terms: Annotated[dict[str, Any], Field(description="`GrantTerms`; see docs/statements.md")]
    provider_signature: Annotated[str, Field(alias="providerSignature")]
    buyer_signature: Annotated[str, Field(alias="buyerSignature")]


class SignedReceiptBody(BaseModel):
    """
    A receipt and the provider's signature of it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    receipt: Annotated[dict[str, Any], Field(description="`UsageReceipt`; see docs/statements.md")]
    signature: str


class SignedStatementAnswer(BaseModel):
    """
    A statement with its signature, in 0x hex.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    statement: Annotated[dict[str, Any], Field(description="See docs/statements.md")]
    signature: str


class SignedStep(BaseModel):
    """
    A signed step, and its contract call.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    statement: Annotated[
        dict[str, Any] | None, Field(description="`DealStep`; see docs/statements.md")
    ]
    signature: str | None
    record: dict[str, Any] | None
    salt: str | None
    operation: str | None


class SignedVoucher(BaseModel):
    """
    A voucher with the buyer's signature.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    voucher: Annotated[dict[str, Any], Field(description="`Voucher`; see docs/statements.md")]
    signature: str


class SourceChangesAnswer(BaseModel):
    """
    How the source departs from the latest version.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    latest_version: Annotated[int, Field(alias="latestVersion")]
    next_version: Annotated[int, Field(alias="nextVersion")]
    added: RowSampleAnswer
    changed: RowSampleAnswer
    removed: int
    unchanged: int
    columns_added: Annotated[list[str], Field(alias="columnsAdded")]
    columns_removed: Annotated[list[str], Field(alias="columnsRemoved")]
    types_changed: Annotated[
        dict[str, dict[str, str]],
        Field(alias="typesChanged", description="`from` and `to` by column"),
    ]
    repaired: int
    masking: dict[str, str]
    purposes: dict[str, bool]
    fingerprint: str


class SourceList(BaseModel):
    """
    The configured sources by name.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    sources: list[str]


class SpendingRow(BaseModel):
    """
    Spending under one agreement; money in fen, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    provider: str
    asset_id: Annotated[str, Field(alias="assetId")]
    state: str
    price: int
    cap: int
    max_units: Annotated[int, Field(alias="maxUnits")]
    units: int
    amount: Annotated[int, Field(description="Delivered, by this node's own receipts")]
    paid: Annotated[int, Field(description="Paid by the chain from the deposit")]
    refunded: int
    ends_at: Annotated[int, Field(alias="endsAt")]
    months: Annotated[dict[str, int], Field(description="Fen by month, in the city's time")]
    forecast: ForecastAnswer
    alarms: Annotated[
        list[str], Field(description="`cap-reached`, `cap-near`, `cap-before-end`, `ends-soon`")
    ]


class SplitRuleBody(BaseModel):
    """
    How a share is divided of a member that holds several rights; basis points.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    effective_from: Annotated[str, Field(alias="effectiveFrom", max_length=10)]
    holding: Annotated[int, Field(ge=0, le=10000)]
    processing: Annotated[int, Field(ge=0, le=10000)]
    operating: Annotated[int, Field(ge=0, le=10000)]


class SplitRuleRow(BaseModel):
    """
    A rule from a day on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    effective_from: Annotated[str, Field(alias="effectiveFrom")]
    holding: int
    processing: int
    operating: int


class SplitRuleSet(BaseModel):
    """
    Whether the rule is set, or waits for a second person to give the same.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    set: bool


class State(StrEnum):
    """
    The state of a part of a node.
    """

    ok = "ok"
    warning = "warning"
    failing = "failing"


class StepAnswer(BaseModel):
    """
    A step's statement with what it commits to; null where this node does not have it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    statement: Annotated[
        dict[str, Any] | None, Field(description="`DealStep`; see docs/statements.md")
    ]
    signature: str | None
    record: dict[str, Any] | None
    salt: str | None


class StepBody(BaseModel):
    """
    What a step states: ``contract`` for the mortgage, ``certificate`` for notary and
    registration, nothing for the agent.

    For tax it is the sheet as its person saw it (``GET /v1/deals/{id}/taxes``); without one the
    sheet of the rules is signed without review.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    record: dict[str, Any] | None = None


class StepRow(BaseModel):
    """
    A step of a deal.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    step: str
    height: int | None
    record: dict[str, Any] | None


class StepTaken(BaseModel):
    """
    The step is stored.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    taken: bool


class StoredConsentRow(BaseModel):
    """
    A consent stored at this bank; heights in blocks, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    consent: str
    subject: str
    purpose: str
    begins_at: Annotated[int, Field(alias="beginsAt")]
    ends_at: Annotated[int, Field(alias="endsAt")]
    recorded_at: Annotated[int | None, Field(alias="recordedAt")]
    withdrawn_at: Annotated[int | None, Field(alias="withdrawnAt")]
    refusal: Annotated[
        str, Field(description="What a call would be refused for now; empty for nothing")
    ]


class StoredReportAnswer(BaseModel):
    """
    A report that this bank made, with what proves it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    query_id: Annotated[str, Field(alias="queryId")]
    subject: str
    consent: str
    issued_at: Annotated[int, Field(alias="issuedAt")]
    report: dict[str, Any]
    parts: list[PartEvidenceAnswer]
    query: LogPlaceAnswer
    anchored_at: Annotated[
        int | None, Field(alias="anchoredAt", description="The block that has the query")
    ]


class StreamEnd(BaseModel):
    """
    The last line of an answer: without it the answer is cut off. ``end`` is false where not the
    whole request was read; then ``reason`` says why.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    end: bool
    lines: Annotated[int, Field(description="Lines that were read")]
    reason: str | None = ""
    detail: str | None = ""
    hint: str | None = ""


class StreamedCall(BaseModel):
    """
    The result of a line's call; lines count from 1, without empty ones.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    idempotency_key: Annotated[str | None, Field(alias="idempotencyKey")]
    agreement_id: Annotated[str, Field(alias="agreementId")]
    lane: int
    seq: int
    outcome: str
    reason: str
    record: dict[str, Any] | None
    units: int
    amount: int
    receipt: Annotated[str, Field(description="Struct hash of the receipt")]
    line: int


class SubjectBody(BaseModel):
    """
    Whose account is asked for. The code is in the body, so that no log of requests has it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    subject: Annotated[str, Field(max_length=256, min_length=1)]


class SubjectRecord(BaseModel):
    """
    A subject's record, and its commitment in the version.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    record: dict[str, Any]
    commitment: str
    asset_version: Annotated[int, Field(alias="assetVersion")]


class SumsAnswer(BaseModel):
    """
    Sums by kind; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deposited: str
    paid: str
    refunded: str
    withdrawn: str
    penalties: Annotated[str, Field(description="Bonds and stakes that went to the other party")]
    entries: int


class Taken(BaseModel):
    """
    The cosignature is stored.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    taken: bool


class TaxLine(BaseModel):
    """
    One tax; fen as text, the rate in basis points.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    tax: str
    payer: str
    base: str
    rate: int
    amount: str
    ground: str


class TaxSheet(BaseModel):
    """
    The taxes of a deal and the sums by payer, as the tax authority signs them; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    rules: str
    price: str
    lines: list[TaxLine]
    buyer: str
    seller: str
    total: str


class TaxSource(BaseModel):
    """
    A law or notice that a tax rests on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: str
    valid_from: Annotated[str, Field(alias="validFrom", description="ISO date")]


class TitleAnswer(BaseModel):
    """
    A title with its signature.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    title: Annotated[dict[str, Any], Field(description="`TitleStatement`; see docs/statements.md")]
    signature: str


class TitleBody(BaseModel):
    """
    Which unit a certified key may sell.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    unit: str
    owner_key: Annotated[str, Field(alias="ownerKey")]
    not_after: Annotated[int, Field(alias="notAfter")]


class TraceAnswer(BaseModel):
    """
    A record, what it rests on, and some of what rests on it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    query: str
    found: list[RecordRow]
    source: list[RecordRow]
    following: list[RecordRow]


class UnitAnswer(BaseModel):
    """
    A unit's number and its pseudonym.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    number: str
    unit: str


class UnitBody(BaseModel):
    """
    A unit of the register and the code of its owner's identity.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    number: Annotated[str, Field(max_length=64, min_length=1)]
    owner: Annotated[str, Field(max_length=64, min_length=1)]


class UnitsAnswer(BaseModel):
    """
    The units as they were entered.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    units: list[UnitAnswer]


class UnitsBody(BaseModel):
    """
    Units to enter.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    units: Annotated[list[UnitBody], Field(max_length=5000)]


class UnknownSubjectRow(BaseModel):
    """
    Refusals with `subject_unknown` under one grant; times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    grant_id: Annotated[str, Field(alias="grantId")]
    refusals: int
    last_at: Annotated[int, Field(alias="lastAt")]
    refused_until: Annotated[int | None, Field(alias="refusedUntil")]


class UploadAnswer(BaseModel):
    """
    An uploaded file, which is a source by its name, and what its inspection found.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: str
    key: str
    encoding: str
    delimiter: str
    rows: int
    sheet: Annotated[str, Field(description="The sheet of a workbook that was read; else empty")]
    faults: Annotated[list[FaultRow], Field(description="The first 100")]
    fault_count: Annotated[int, Field(alias="faultCount")]
    publishable: bool
    source: Annotated[str, Field(description="What a publication names as its source")]
    sha256: Annotated[str, Field(description="Of the file, in hex")]


class UsageCounts(BaseModel):
    """
    Calls added up; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    served: int
    refused: int
    voided: int
    units: int
    amount: str


class UsedAsset(BaseModel):
    """
    An asset with its counts.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    counts: UsageCounts


class UsedAssetList(BaseModel):
    """
    A page of the assets that were asked for in a period; Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    since: int
    until: int
    assets: list[UsedAsset]


class UsedByBuyer(BaseModel):
    """
    A buyer's use under one agreement.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    buyer: str
    agreement_id: Annotated[str, Field(alias="agreementId")]
    counts: UsageCounts


class UsedByBuyerList(BaseModel):
    """
    A page of an asset's agreements with their counts.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    buyers: list[UsedByBuyer]


class UsedColumn(BaseModel):
    """
    The number of calls that delivered a column.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    column: Annotated[str, Field(description="Empty for calls from before columns were counted")]
    calls: int


class UsedDay(BaseModel):
    """
    A day, or a month by its first day, in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    day: int
    counts: UsageCounts


class UsedRow(BaseModel):
    """
    Calls of one day under one agreement that delivered the same columns.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    day: int
    buyer: str
    agreement_id: Annotated[str, Field(alias="agreementId")]
    columns: list[str]
    counts: UsageCounts


class UsedRowList(BaseModel):
    """
    A page of counts.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    usage: list[UsedRow]


class ValidatorRow(BaseModel):
    """
    What one validator did in the blocks looked at.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    address: str
    proposed: int
    sealed: int
    missed: Annotated[int, Field(description="Turns to propose that were passed over")]
    last_sealed: Annotated[int | None, Field(alias="lastSealed")]


class VersionAnswer(BaseModel):
    """
    A version's metadata and record.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    metadata: dict[str, Any]
    record: Annotated[dict[str, Any], Field(description="`AssetRecord`; see docs/statements.md")]


class VoidAnswer(BaseModel):
    """
    A receipt was voided: its call costs nothing.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    signature: str
    void: Annotated[dict[str, Any], Field(description="`ReceiptVoid`; see docs/statements.md")]


class VoteRow(BaseModel):
    """
    A vote that a block carries.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    height: int
    validator: str
    key: str
    value: str


class VouchersAnswer(BaseModel):
    """
    The number of accepted vouchers.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    taken: int


class WebhookAnswer(BaseModel):
    """
    A webhook; times in Unix seconds. ``disabledReason`` is ``by_hand`` or ``failing``.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    id: str
    url: str
    description: str
    kinds: list[str]
    created_at: Annotated[int, Field(alias="createdAt")]
    active: bool
    disabled_reason: Annotated[str, Field(alias="disabledReason")]
    failing_since: Annotated[int | None, Field(alias="failingSince")]
    former_secret_until: Annotated[int | None, Field(alias="formerSecretUntil")]


class WebhookBody(BaseModel):
    """
    A new webhook; without ``kinds`` it receives every event.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    url: Annotated[str, Field(max_length=500, min_length=1)]
    kinds: Annotated[list[str] | None, Field(max_length=10)] = []
    description: Annotated[str | None, Field(max_length=200)] = ""


class WebhookList(BaseModel):
    """
    All webhooks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    webhooks: list[WebhookAnswer]


class WebhookWithSecret(BaseModel):
    """
    A webhook with its secret, which is shown this once.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    id: str
    url: str
    description: str
    kinds: list[str]
    created_at: Annotated[int, Field(alias="createdAt")]
    active: bool
    disabled_reason: Annotated[str, Field(alias="disabledReason")]
    failing_since: Annotated[int | None, Field(alias="failingSince")]
    former_secret_until: Annotated[int | None, Field(alias="formerSecretUntil")]
    secret: str


class WithdrawalBody(BaseModel):
    """
    Free money to be paid out, in fen; the same order counts once.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    amount: Annotated[int, Field(ge=1, le=9007199254740991)]
    order: Annotated[str, Field(max_length=128, min_length=1)]


class WitnessedHead(BaseModel):
    """
    The last head of the caller's log, as a signed note.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    note: str | None


class ExchangeLooksApiFindingRow(BaseModel):
    """
    Why an account is not complete.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    gap: Annotated[
        str,
        Field(
            description="`position_missing`, `behind_chain`, `subject_not_recorded`, `not_in_log`, `buyer_names_more`, `buyer_names_less` or `buyer_silent`"
        ),
    ]
    member: str
    agreement_id: Annotated[str | None, Field(alias="agreementId")]
    lane: int | None
    count: int


class ExchangeReconciliationApiFindingRow(BaseModel):
    """
    Where the counts differ.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    kind: Annotated[
        str,
        Field(
            description="`gap`, `conflict`, `unreachable`, `price`, `revoked_use`, `unclaimed` or `lost`"
        ),
    ]
    sentence: str
    lane: int | None
    from_seq: Annotated[int | None, Field(alias="fromSeq")]
    to_seq: Annotated[int | None, Field(alias="toSeq")]


class RegistryCreditApiAnswerBody(BaseModel):
    """
    A repaired record, or nothing if the old one is unchanged.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    record: dict[str, Any] | None


class RegistryDemandsApiAnswerBody(BaseModel):
    """
    The asset that meets a demand.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    note: str | None = ""


class Problem(BaseModel):
    """
    A refusal (RFC 9457); an error may add members of its own.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    type: Annotated[str, Field(description="Relative reference to the code in docs/errors.md")]
    title: str
    status: int
    detail: Annotated[str, Field(description="One sentence on what is wrong")]
    code: Annotated[str, Field(description="Stable; for programs")]
    refused_by: Annotated[RefusedByAnswer, Field(alias="refusedBy")]
    hint: Annotated[str | None, Field(description="What to do next")] = ""


class AccountStatement(BaseModel):
    """
    A member's account over a period of days; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    since: str
    until: str
    opening_balance: Annotated[str, Field(alias="openingBalance")]
    lines: list[AccountStatementRow]
    payouts: list[PayoutRow]
    earned: Annotated[dict[str, str], Field(description="What was earned by each right")]
    closing_balance: Annotated[str, Field(alias="closingBalance")]
    agrees: Annotated[
        bool | None,
        Field(
            description="Whether the sums are those of the contract; null while that cannot be told"
        ),
    ]


class Accounts(BaseModel):
    """
    A member's account and the sums of all.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    account: Money
    totals: Money
    conserved: Annotated[bool, Field(description="What came in is what went out and what is there")]


class AgreementAnswer(BaseModel):
    """
    An agreement, and its opening once that is queued.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    side: str
    state: str
    reason: str | None
    reason_text: Annotated[str | None, Field(alias="reasonText")]
    state_since: Annotated[int | None, Field(alias="stateSince")]
    provider: str
    buyer: str
    unit: str
    agreement: Annotated[dict[str, Any], Field(description="`Agreement`; see docs/statements.md")]
    opened_at: Annotated[int | None, Field(alias="openedAt")]
    notice_at: Annotated[int | None, Field(alias="noticeAt")]
    closed_at: Annotated[int | None, Field(alias="closedAt")]
    paid: str
    refunded: str
    open_operation: Annotated[str, Field(alias="openOperation")]
    newer_version: Annotated[int | None, Field(alias="newerVersion")]
    hint: str
    opening: Annotated[Opening | None, Field(description="Left out until it is queued")] = None


class AgreementDetail(BaseModel):
    """
    One agreement with all that this node knows of it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    side: str
    state: str
    reason: str | None
    reason_text: Annotated[str | None, Field(alias="reasonText")]
    state_since: Annotated[int | None, Field(alias="stateSince")]
    provider: str
    buyer: str
    unit: str
    agreement: Annotated[dict[str, Any], Field(description="`Agreement`; see docs/statements.md")]
    opened_at: Annotated[int | None, Field(alias="openedAt")]
    notice_at: Annotated[int | None, Field(alias="noticeAt")]
    closed_at: Annotated[int | None, Field(alias="closedAt")]
    paid: str
    refunded: str
    open_operation: Annotated[str, Field(alias="openOperation")]
    newer_version: Annotated[int | None, Field(alias="newerVersion")]
    hint: str
    opening: Annotated[Opening | None, Field(description="Left out until it is queued")] = None
    held: Annotated[
        str | None, Field(description="Why nothing is signed under it since an old backup")
    ]
    final_settlement: Annotated[FinalTotals | None, Field(alias="finalSettlement")]


class AgreementMoneyAnswer(BaseModel):
    """
    The status of an agreement's money; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    earned: str
    acknowledged: str
    claimed: str
    paid: str
    unclaimed: str
    lost: str
    closed: bool
    agreed: bool
    parts: list[SharePaid]


class AgreementRow(BaseModel):
    """
    An agreement of a list.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    side: str
    state: str
    reason: str | None
    reason_text: Annotated[str | None, Field(alias="reasonText")]
    state_since: Annotated[int | None, Field(alias="stateSince")]
    provider: str
    buyer: str
    unit: str
    agreement: Annotated[dict[str, Any], Field(description="`Agreement`; see docs/statements.md")]
    opened_at: Annotated[int | None, Field(alias="openedAt")]
    notice_at: Annotated[int | None, Field(alias="noticeAt")]
    closed_at: Annotated[int | None, Field(alias="closedAt")]
    paid: str
    refunded: str
    open_operation: Annotated[str, Field(alias="openOperation")]
    newer_version: Annotated[int | None, Field(alias="newerVersion")]
    hint: str
    held: Annotated[
        str | None, Field(description="Why nothing is signed under it since an old backup")
    ]
    final_settlement: Annotated[FinalTotals | None, Field(alias="finalSettlement")]


class AlarmRow(BaseModel):
    """
    Something on the network that a person has to look at.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: Annotated[str, Field(description="Whom it concerns; empty for the whole network")]
    state: State
    code: str
    detail: str
    hint: str


class AssetList(BaseModel):
    """
    A page of the catalogue.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    assets: list[AssetRow]


class BankEntryList(BaseModel):
    """
    A page of a statement's entries, in its order.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    entries: list[BankEntryRow]


class BatchBody(BaseModel):
    """
    Several calls; each ends on its own.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    calls: Annotated[list[BatchCall], Field(max_length=1000, min_length=1)]


class BookComparison(BaseModel):
    """
    The book beside the contract as of one block; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    height: int
    held: Annotated[str, Field(description="What the contract holds")]
    members: int
    agrees: bool
    behind: Annotated[bool, Field(description="Whether the book lacks blocks up to this one")]
    differences: list[DifferenceRow]
    unpaid: Annotated[
        int, Field(description="Withdrawals that no settlement bank has confirmed as paid")
    ]
    unpaid_amount: Annotated[str, Field(alias="unpaidAmount")]


class CallDisputeList(BaseModel):
    """
    A page of disputes.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    disputes: list[CallDisputeRow]


class CallFileDetail(BaseModel):
    """
    A file with the cost of what is left.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    file: CallFileAnswer
    cost: CostAnswer


class CallList(BaseModel):
    """
    A page of stored calls.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    calls: list[CallRow]


class CatalogueAnswer(BaseModel):
    """
    A page of assets, the number of all that match, and their facets.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    assets: list[CatalogueRowAnswer]
    total: int
    facets: dict[str, list[FacetAnswer]]


class ChangesBody(BaseModel):
    """
    What is to differ from the latest version besides its rows; what is left out
    stays as it is.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    masking: dict[str, str] | None = {}
    types: dict[str, str] | None = {}
    purposes: dict[str, PurposeDemands] | None = None


class CheckAnswer(BaseModel):
    """
    What was compared, and the findings.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    complete: bool
    looks: int
    agreements: int
    calls: int
    buyers: int
    height: Annotated[int, Field(description="The block under which the chain's lanes were proved")]
    findings: list[ExchangeLooksApiFindingRow]


class ClaimList(BaseModel):
    """
    Sums over every agreement, and a page of the agreements; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    unclaimed: str
    at_risk: Annotated[str, Field(alias="atRisk")]
    lost: str
    checked_at: Annotated[int | None, Field(alias="checkedAt")]
    failure: str | None
    agreements: list[ClaimRow]


class ClosingRefusal(BaseModel):
    """
    Why a way to close failed.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    code: str
    detail: str
    hint: str
    refused_by: Annotated[RefusedByAnswer, Field(alias="refusedBy")]


class ConfirmationList(BaseModel):
    """
    The confirmations that there are, of those that were asked for.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    confirmations: list[ConfirmationRow]


class ConservationAnswer(BaseModel):
    """
    The latest check of all accounts and open agreements, proved under one block.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    adds_up: Annotated[bool, Field(alias="addsUp")]
    height: Annotated[int, Field(description="The block; 0 before the first check")]
    checked_at: Annotated[int, Field(alias="checkedAt", description="Unix seconds")]
    members: int
    agreements: Annotated[int, Field(description="Open agreements that were looked at")]
    open_agreements: Annotated[int, Field(alias="openAgreements")]
    discrepancies: list[DiscrepancyRow]


class CooperativeClosing(BaseModel):
    """
    The contract call that closes with the totals both signed.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    operation: str
    final_settlement: Annotated[FinalSettlementAnswer | None, Field(alias="finalSettlement")]


class Counters(BaseModel):
    """
    A node's counts of an agreement, by lane.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    side: str
    lanes: dict[str, LaneCounts]


class CountersignAnswer(BaseModel):
    """
    Either a signature or a refusal.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    signature: str | None = ""
    refusal: Annotated[ProposalRefusal | None, Field(description="Final for this proposal")] = None


class DayAnswer(BaseModel):
    """
    A day of the book; fen as text, times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    day: str
    state: Annotated[str, Field(description="`running`, `open` (it can be closed) or `closed`")]
    opening_balance: Annotated[str, Field(alias="openingBalance")]
    sums: SumsAnswer
    closing_balance: Annotated[str, Field(alias="closingBalance")]
    proposed_by: Annotated[
        str,
        Field(
            alias="proposedBy",
            description="Who approved the closing first, while a second is awaited",
        ),
    ]
    closed_at: Annotated[int | None, Field(alias="closedAt")]
    height: Annotated[
        int | None, Field(description="The last block in the book when the day was closed")
    ]
    digest: Annotated[
        str | None, Field(description="The entry of this node's log that commits to the day")
    ]


class DayList(BaseModel):
    """
    Days, the latest first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    days: list[DayAnswer]


class DealBody(BaseModel):
    """
    A deal as the estate agent draws it up. Amounts are decimal strings of fen, the area is in
    square centimetres.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    title: dict[str, Any]
    title_signature: Annotated[str, Field(alias="titleSignature")]
    seller: PersonBody
    buyer: PersonBody
    bank: str | None = ""
    tax_authority: Annotated[str, Field(alias="taxAuthority")]
    notary: str
    content: dict[str, Any]
    expires_at: Annotated[int, Field(alias="expiresAt")]


class DealRow(BaseModel):
    """
    A deal with its steps; heights in blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    deal_id: Annotated[str, Field(alias="dealId")]
    state: Annotated[
        str, Field(description="`draft`, `opening`, `open`, `registered`, `expired` or `refused`")
    ]
    refusal: dict[str, Any] | str | None
    unit: str
    terms: Annotated[dict[str, Any], Field(description="`DealTerms`; see docs/statements.md")]
    content: dict[str, Any] | None
    opened_at: Annotated[int | None, Field(alias="openedAt")]
    registered_at: Annotated[int | None, Field(alias="registeredAt")]
    expired_at: Annotated[int | None, Field(alias="expiredAt")]
    steps: list[StepRow]
    course: Annotated[
        list[CourseRow], Field(description="Every step that the deal needs, in order")
    ]


class Dependency(BaseModel):
    """
    One part of the node, or one thing it depends on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: str
    state: State
    required: bool
    code: str | None = ""
    detail: str | None = ""
    hint: str | None = ""
    up: Annotated[bool, Field(description="Whether it does not fail; a warning leaves it up.")]


class DisputeList(BaseModel):
    """
    A page of disputes.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    disputes: list[DisputeRow]


class EarningsList(BaseModel):
    """
    Sums of all agreements, and a page of them; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    delivered: str
    claimed: str
    unclaimed: str
    lost: str
    agreements: list[EarningsRow]


class EntryList(BaseModel):
    """
    A page of a day's entries.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    entries: list[EntryRow]


class EquivocationBody(BaseModel):
    """
    Two receipts that a provider signed for one place of a lane.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    first: SignedReceiptBody
    second: SignedReceiptBody


class EquivocationList(BaseModel):
    """
    A page of proved equivocations.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    equivocations: list[EquivocationRow]


class FailedCall(BaseModel):
    """
    A call of a batch without a result.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    outcome: Literal["failed"]
    reason: str
    detail: str
    hint: str
    refused_by: Annotated[RefusedByAnswer, Field(alias="refusedBy")]
    idempotency_key: Annotated[
        str | None,
        Field(alias="idempotencyKey", description="Left out where the request is not stored"),
    ] = ""


class FailedLine(BaseModel):
    """
    A line without a result.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    outcome: Literal["failed"]
    reason: str
    detail: str
    hint: str
    refused_by: Annotated[RefusedByAnswer, Field(alias="refusedBy")]
    idempotency_key: Annotated[
        str | None,
        Field(alias="idempotencyKey", description="Left out where the request is not stored"),
    ] = ""
    line: int


class FineList(BaseModel):
    """
    A page of fines.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    fines: list[FineRow]


class FlowList(BaseModel):
    """
    The largest flows of a period, and the sums over all; fen as text.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    first_day: Annotated[str, Field(alias="firstDay")]
    last_day: Annotated[str, Field(alias="lastDay")]
    calls: int
    units: int
    amount: str
    total: Annotated[int, Field(description="Number of flows; `flows` has the largest of them.")]
    flows: list[FlowRow]


class ForkList(BaseModel):
    """
    A page of forks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    forks: list[ForkRow]


class GrantList(BaseModel):
    """
    A page of grants.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    grants: list[GrantRow]


class HoldList(BaseModel):
    """
    A page of holds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    holds: list[HoldRow]


class HourList(BaseModel):
    """
    Hours in order.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    hours: list[HourRow]


class IncidentList(BaseModel):
    """
    A page of incidents.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    incidents: list[IncidentRow]


class KeyList(BaseModel):
    """
    A page of keys.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    keys: list[KeyRow]


class LookList(BaseModel):
    """
    A page of looks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    looks: list[LookRow]


class MemberAccountList(BaseModel):
    """
    A page of accounts.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    accounts: list[MemberAccountRow]


class MonthList(BaseModel):
    """
    Earnings by month, the latest first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    months: list[MonthRow]


class NetPositionList(BaseModel):
    """
    Positions by member.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    positions: list[NetPositionRow]


class NodeRow(BaseModel):
    """
    Status of another member's node; times in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    member: str
    state: State
    code: Annotated[str, Field(description="Why it did not answer; empty if it did")]
    detail: str
    hint: str
    parts: Annotated[list[Dependency], Field(description="Its parts that are not in order")]
    asked_at: Annotated[float | None, Field(alias="askedAt")]
    failing_since: Annotated[float | None, Field(alias="failingSince")]
    certificate_ends: Annotated[float | None, Field(alias="certificateEnds")]


class NotReady(BaseModel):
    """
    The same as a problem (RFC 9457), with status 503.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    ready: bool
    state: State
    dependencies: list[Dependency]
    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = ""


class OfferBody(BaseModel):
    """
    A provider's terms for one asset version; money in fen.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion", ge=0, le=9007199254740991)]
    unit: str | None = "call"
    price: Annotated[int, Field(ge=0, le=9007199254740991)]
    max_cap: Annotated[int | None, Field(alias="maxCap", ge=0, le=9007199254740991)] = 0
    max_units: Annotated[int | None, Field(alias="maxUnits", ge=0, le=9007199254740991)] = 0
    max_per_call: Annotated[int | None, Field(alias="maxPerCall", ge=0, le=9007199254740991)] = 0
    max_lanes: Annotated[int | None, Field(alias="maxLanes", ge=1, le=256)] = 16
    max_seconds: Annotated[int | None, Field(alias="maxSeconds", ge=1, le=9007199254740991)] = (
        31622400
    )
    close_window_blocks: Annotated[int | None, Field(alias="closeWindowBlocks")] = None
    close_window_seconds: Annotated[int | None, Field(alias="closeWindowSeconds")] = None
    shares: list[ShareBody]
    buyers: list[str] | None = []
    bond: Annotated[int | None, Field(ge=0, le=9007199254740991)] = 0
    bond_from_earnings: Annotated[bool | None, Field(alias="bondFromEarnings")] = False
    stake: Annotated[int | None, Field(ge=0, le=9007199254740991)] = 0


class OfferRow(BaseModel):
    """
    An offer with the hash that an order names.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    unit: str
    price: int
    max_cap: Annotated[int, Field(alias="maxCap")]
    max_units: Annotated[int, Field(alias="maxUnits")]
    max_per_call: Annotated[int, Field(alias="maxPerCall")]
    max_lanes: Annotated[int, Field(alias="maxLanes")]
    max_seconds: Annotated[int, Field(alias="maxSeconds")]
    close_window_blocks: Annotated[int, Field(alias="closeWindowBlocks")]
    close_window_seconds: Annotated[int, Field(alias="closeWindowSeconds")]
    shares: list[ShareAnswer]
    buyers: list[str]
    bond: int
    bond_from_earnings: Annotated[bool, Field(alias="bondFromEarnings")]
    stake: int
    offer_hash: Annotated[str, Field(alias="offerHash")]


class OfferTerms(BaseModel):
    """
    A provider's terms for one asset version; money in fen, windows and terms in seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    asset_version: Annotated[int, Field(alias="assetVersion")]
    unit: str
    price: int
    max_cap: Annotated[int, Field(alias="maxCap")]
    max_units: Annotated[int, Field(alias="maxUnits")]
    max_per_call: Annotated[int, Field(alias="maxPerCall")]
    max_lanes: Annotated[int, Field(alias="maxLanes")]
    max_seconds: Annotated[int, Field(alias="maxSeconds")]
    close_window_blocks: Annotated[int, Field(alias="closeWindowBlocks")]
    close_window_seconds: Annotated[int, Field(alias="closeWindowSeconds")]
    shares: list[ShareAnswer]
    buyers: list[str]
    bond: int
    bond_from_earnings: Annotated[bool, Field(alias="bondFromEarnings")]
    stake: int


class OfferWithKey(BaseModel):
    """
    An offer, and the address of the key that will sign an agreement on it.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    offer: OfferTerms
    provider_key: Annotated[str, Field(alias="providerKey")]


class OpenFindingList(BaseModel):
    """
    A page of findings, the latest first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    findings: list[OpenFindingRow]


class OrderBody(BaseModel):
    """
    A buyer's order on the offer that its person saw.

    ``offerHash`` names it, as ``GET /v1/offers?provider=…`` shows it; an order without it states
    unit, price, shares, maxPerCall, closeWindowBlocks and closeWindowSeconds. What else is left out
    is taken from the offer.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    offer_hash: Annotated[str | None, Field(alias="offerHash")] = None
    grant_id: Annotated[str, Field(alias="grantId")]
    cap: Annotated[int, Field(ge=0, le=9007199254740991)]
    max_units: Annotated[int | None, Field(alias="maxUnits", ge=0, le=9007199254740991)] = 0
    lanes: Annotated[int | None, Field(ge=0, le=9007199254740991)] = 1
    max_per_call: Annotated[int | None, Field(alias="maxPerCall")] = None
    seconds: int | None = None
    starts_at: Annotated[int | None, Field(alias="startsAt")] = None
    ends_at: Annotated[int | None, Field(alias="endsAt")] = None
    close_window_blocks: Annotated[int | None, Field(alias="closeWindowBlocks")] = None
    close_window_seconds: Annotated[int | None, Field(alias="closeWindowSeconds")] = None
    arbiter: str | None = ""
    unit: str | None = None
    price: int | None = None
    shares: list[ShareBody] | None = None


class OwnDemandList(BaseModel):
    """
    A page of this bank's demands.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    demands: list[OwnDemandRow]


class PaymentList(BaseModel):
    """
    A page of payments.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    payments: list[PaymentRow]


class PayoutList(BaseModel):
    """
    A page of withdrawals.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    payouts: list[PayoutRow]


class PeerCallAnswers(BaseModel):
    """
    An answer for each request, in the order of the requests.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    answers: list[ReceiptAnswer | VoidAnswer | CallErrorAnswer]


class PositionAnswer(BaseModel):
    """
    What this node stored of a sequence position.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    request: SignedStatementAnswer
    receipt: SignedStatementAnswer | None
    void: SignedStatementAnswer | None


class PositionList(BaseModel):
    """
    A buyer's answered calls for a subject.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    positions: list[PositionRow]


class PositionsAnswer(BaseModel):
    """
    Positions of a lane, and its closing voucher.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    positions: list[PositionAnswer]
    voucher: SignedStatementAnswer | None


class PreviewAnswer(BaseModel):
    """
    The first rows of a source, before and after masking.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    key: Annotated[str, Field(description="The column that names the subject")]
    columns: list[ColumnAnswer]
    rows: list[PreviewRowAnswer]


class PublicationList(BaseModel):
    """
    A page of publications.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    publications: list[PublicationRow]


class PublishBody(BaseModel):
    """
    A publication.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    name: str
    source: str
    description: Description
    masking: dict[str, str]
    purposes: Annotated[dict[str, PurposeDemands] | None, Field(validate_default=True)] = {}
    types: dict[str, str] | None = {}
    data_item: Annotated[str | None, Field(alias="dataItem")] = ""
    parents: list[str] | None = []


class Readiness(BaseModel):
    """
    Whether the node can do its work, and what is wrong.

    A source or a worker that fails leaves the node ready: assets of the source are refused with its
    code, everything else is served. ``state`` is the worst of all parts.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    ready: bool
    state: State
    dependencies: list[Dependency]


class ReceivedDemandList(BaseModel):
    """
    A page of other members' demands.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    demands: list[ReceivedDemandRow]


class SpendingAnswer(BaseModel):
    """
    The months, the latest last, and a page of agreements.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    months: list[str]
    agreements: list[SpendingRow]


class SplitRuleList(BaseModel):
    """
    Every rule, the latest first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    rules: list[SplitRuleRow]


class StoredConsentList(BaseModel):
    """
    A page of consents, by id.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    consents: list[StoredConsentRow]


class TaxLineSources(BaseModel):
    """
    One line of a tax sheet and what it rests on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    tax: str
    sources: list[TaxSource]


class TaxSources(BaseModel):
    """
    The lines of a tax sheet and what each rests on.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    rules: str
    lines: list[TaxLineSources]


class UnknownSubjectList(BaseModel):
    """
    The limit and its period in seconds, and a page of grants.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    limit: int
    seconds: int
    grants: list[UnknownSubjectRow]


class UsageAnswer(BaseModel):
    """
    Who used an asset in a period.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    asset_id: Annotated[str, Field(alias="assetId")]
    since: int
    until: int
    total: UsageCounts
    days: list[UsedDay]
    months: list[UsedDay]
    columns: list[UsedColumn]


class ValidatorList(BaseModel):
    """
    The validator set, and what each did in the last blocks.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    first: int
    last: int
    last_time: Annotated[int, Field(alias="lastTime")]
    slowest_seconds: Annotated[
        int, Field(alias="slowestSeconds", description="The longest time between two of the blocks")
    ]
    needed: Annotated[int, Field(description="Seals that make a block final")]
    spare: Annotated[int, Field(description="How many more may fail before the chain stops")]
    validators: list[ValidatorRow]
    votes: list[VoteRow]


class AgreementComparison(BaseModel):
    """
    One agreement compared.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    agreement_id: Annotated[str, Field(alias="agreementId")]
    agree: bool
    lanes: dict[str, LaneComparison]
    findings: list[ExchangeReconciliationApiFindingRow]
    money: AgreementMoneyAnswer | None


class AgreementList(BaseModel):
    """
    A page of agreements.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    agreements: list[AgreementRow]


class AlarmList(BaseModel):
    """
    Problems, the worst first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    alarms: list[AlarmRow]


class BatchAnswer(BaseModel):
    """
    A result for each call, in the order of the calls.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    results: list[CallAnswer | FailedCall]


class ClosingAnswer(BaseModel):
    """
    How an agreement is ended; what does not belong to the way taken is left out.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    way: Annotated[str, Field(description="`cooperative`, `notice`, `vouchers` or `closed`")]
    closed_at: Annotated[int | None, Field(alias="closedAt", description="Height")] = 0
    refusal: Annotated[
        ClosingRefusal | None, Field(description="Why the cooperative way failed")
    ] = None
    vouchers: Annotated[list[SignedVoucher] | None, Field(validate_default=True)] = []
    vouchers_refused: Annotated[
        ClosingRefusal | None,
        Field(alias="vouchersRefused", description="Why no vouchers were delivered"),
    ] = None
    operation: str | None = None
    notice_at: Annotated[
        int | None, Field(alias="noticeAt", description="Height of an earlier notice")
    ] = 0
    final_settlement: Annotated[FinalSettlementAnswer | None, Field(alias="finalSettlement")] = None


class DealList(BaseModel):
    """
    A page of deals.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    deals: list[DealRow]


class NodeList(BaseModel):
    """
    The configured nodes, the failing ones first.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    nodes: list[NodeRow]


class OfferList(BaseModel):
    """
    A page of offers.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    offers: list[OfferRow]


class ReconciliationReport(BaseModel):
    """
    A page of agreements compared, and the totals; fen as text, ``at`` in Unix seconds.
    """

    model_config = ConfigDict(
        populate_by_name=True,
    )
    height: int
    projected_height: Annotated[int | None, Field(alias="projectedHeight")]
    at: int
    agreements: list[AgreementComparison]
    next: Annotated[
        str | None, Field(description="The `cursor` of the following page; null at the end.")
    ]
    covered: Coverage
    lost: str
    counters_agree: Annotated[bool, Field(alias="countersAgree")]
    conserved: bool