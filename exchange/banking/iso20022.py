"""ISO 20022 files: ``camt.053`` account statements are read, ``pain.001`` orders of payments
written.

The types of both are generated from the standard's schemas (``pyiso20022``) and filled by
``xsdata``. A file is first parsed by ``defusedxml``, which refuses document types and entities, so
nothing in it can be expanded or fetched. The schemas of the versions differ in few of the fields
that are read here; where they do, both forms are taken. Pure.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from chain.core.errors import BadInput
from exchange.banking.model import (
    CURRENCY,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    BankStatement,
    ClearingSettings,
    Direction,
    Payment,
    StatementEntry,
)

_STATEMENT = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.(\d\d)\}Document")
READ_VERSIONS = tuple(f"{number:02}" for number in range(2, 13))
"""Versions of ``camt.053.001`` that are read."""
PAIN = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_MAX_FEN = 2**53 - 1
_MAX_TEXT = 500
_NO_ID = ("NOTPROVIDED", "NOTPROVIDD", "NONREF")
"""What banks write where the payer gave no id."""


# --- camt.053 -------------------------------------------------------------------------------------


def read_statement(content: bytes) -> BankStatement:
    """Read a statement of one account.

    Raises:
        BadInput: ``bank_file_too_large``, ``bank_file_malformed``, ``bank_file_kind``,
            ``bank_file_statements``, ``bank_file_too_long``, ``bank_balance_missing``,
            ``bank_amount_malformed``.
    """
    statements = _document(content).bk_to_cstmr_stmt
    if len(statements.stmt) != 1:
        raise BadInput(
            "bank_file_statements",
            f"The file has {len(statements.stmt)} statements, and one is taken at a time.",
            hint="Ask the bank for one file for each day and account.",
        )
    (statement,) = statements.stmt
    entries: list[StatementEntry] = []
    for entry in _entries(statement.ntry):
        if len(entries) == MAX_ENTRIES:
            raise BadInput(
                "bank_file_too_long",
                f"A statement has at most {MAX_ENTRIES:,} entries.",
                hint="Ask the bank for one file for each day.",
            )
        entries.append(entry)
    return BankStatement(
        message_id=_short(statements.grp_hdr.msg_id),
        statement_id=_short(statement.id),
        account=_account(statement.acct),
        currency=_short(statement.acct.ccy) or _currency_of(statement),
        opening=_balance(statement, ("OPBD", "PRCD")),
        closing=_balance(statement, ("CLBD",)),
        entries=entries,
    )


def _document(content: bytes) -> Any:
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException
    from xsdata.exceptions import ConverterWarning, ParserError
    from xsdata.formats.dataclass.parsers import XmlParser
    from xsdata.formats.dataclass.parsers.config import ParserConfig
    from xsdata.formats.dataclass.parsers.handlers import XmlEventHandler

    if len(content) > MAX_FILE_BYTES:
        raise BadInput(
            "bank_file_too_large",
            f"A bank file has at most {MAX_FILE_BYTES:,} bytes.",
            hint="Ask the bank for one file for each day.",
        )
    try:
        root = ElementTree.fromstring(content, forbid_dtd=True)
        types = _types(root.tag)
        config = ParserConfig(fail_on_converter_warnings=True)
        parser = XmlParser(config=config, handler=XmlEventHandler)
        return parser.parse(root, types.Document)
    except (
        ElementTree.ParseError,
        DefusedXmlException,
        ParserError,
        ConverterWarning,
        RecursionError,
        ValueError,
        LookupError,
        TypeError,
    ) as error:
        raise BadInput(
            "bank_file_malformed",
            "The file is not a complete bank statement of ISO 20022.",
            hint="Download it from the bank again and change nothing in it.",
        ) from error


def _types(tag: str) -> Any:
    """The generated types of the file's version."""
    found = _STATEMENT.fullmatch(tag)
    if found is None or found[1] not in READ_VERSIONS:
        raise BadInput(
            "bank_file_kind",
            "The file is not an account statement (camt.053.001, version 02 to 12).",
            hint="Ask the bank for the statement of the day, not for its payment reports.",
        )
    return importlib.import_module(f"pyiso20022.camt.camt_053_001_{found[1]}")


def _entries(entries: Sequence[Any]) -> Iterator[StatementEntry]:
    """Every amount of the statement: an entry of several payments has one for each of them."""
    line = 0
    for entry in entries:
        payments = [payment for details in entry.ntry_dtls for payment in details.tx_dtls]
        amounts = [_own_amount(payment) for payment in payments]
        if len(payments) < 2 or any(amount is None for amount in amounts):
            line += 1
            yield _entry(line, entry, payments[0] if len(payments) == 1 else None)
            continue
        if sum(_fen(amount) for amount in amounts) != _fen(entry.amt):
            raise BadInput(
                "bank_amount_malformed",
                f"The payments of entry {_short(entry.acct_svcr_ref)} do not add up to it.",
                hint="Download the file from the bank again.",
            )
        for place, payment in enumerate(payments, start=1):
            line += 1
            yield _entry(line, entry, payment, part=place)


def _entry(line: int, entry: Any, payment: Any, *, part: int = 0) -> StatementEntry:
    references = getattr(payment, "refs", None)
    parties = getattr(payment, "rltd_pties", None)
    credit = _text(entry.cdt_dbt_ind) == "CRDT"
    side = "dbtr" if credit else "cdtr"
    party = _party(getattr(parties, side, None))
    own = _short(getattr(references, "acct_svcr_ref", None)) if part else ""
    whole = _short(entry.acct_svcr_ref) or _short(entry.ntry_ref)
    amount = _own_amount(payment) if part else entry.amt
    end_to_end = _short(getattr(references, "end_to_end_id", None))
    returned = getattr(payment, "rtr_inf", None)
    return StatementEntry(
        line=line,
        direction=Direction.CREDIT if credit else Direction.DEBIT,
        amount=_fen(amount),
        currency=_short(amount.ccy),
        reference=own or (f"{whole}/{part}" if part and whole else whole),
        end_to_end_id="" if end_to_end in _NO_ID else end_to_end,
        booked=_text(getattr(entry.sts, "cd", entry.sts)) == "BOOK",
        day=_day(entry.bookg_dt),
        account=_account(getattr(parties, f"{side}_acct", None)),
        party=_short(getattr(party, "nm", None)),
        party_code=_code_of(party),
        text=_remittance(payment),
        return_reason=_short(_text(getattr(getattr(returned, "rsn", None), "cd", None)))
        or ("NARR" if returned is not None or entry.rvsl_ind else ""),
    )


def _own_amount(payment: Any) -> Any:
    """The amount of one payment, which version 02 has in its details only."""
    amount = getattr(payment, "amt", None)
    if amount is None:
        details = getattr(payment, "amt_dtls", None)
        amount = getattr(getattr(details, "tx_amt", None), "amt", None)
    return amount


def _party(value: Any) -> Any:
    """A party, which later versions wrap in a choice of party or agent."""
    return getattr(value, "pty", value)


def _code_of(party: Any) -> str:
    organisation = getattr(getattr(party, "id", None), "org_id", None)
    for other in getattr(organisation, "othr", None) or ():
        return _short(other.id)
    return ""


def _remittance(payment: Any) -> str:
    information = getattr(payment, "rmt_inf", None)
    lines = getattr(information, "ustrd", None) or ()
    return " ".join(" ".join(lines).split())[:_MAX_TEXT]


def _account(account: Any) -> str:
    identification = getattr(account, "id", None)
    other = getattr(getattr(identification, "othr", None), "id", None)
    return _short(getattr(identification, "iban", None)) or _short(other)


def _balance(statement: Any, kinds: Sequence[str]) -> int:
    for kind in kinds:
        for balance in statement.bal:
            if _text(balance.tp.cd_or_prtry.cd) == kind:
                fen = _fen(balance.amt)
                return fen if _text(balance.cdt_dbt_ind) == "CRDT" else -fen
    raise BadInput(
        "bank_balance_missing",
        f"The statement has no balance of the kind {kinds[0]}.",
        hint="Ask the bank for the statement of the whole day, with its opening and closing "
        "balance.",
    )


def _currency_of(statement: Any) -> str:
    return _short(statement.bal[0].amt.ccy) if statement.bal else ""


def _fen(amount: Any) -> int:
    """An amount in fen; ``bank_amount_malformed`` for parts of a fen and what is too large."""
    fen = amount.value * 100
    if not fen.is_finite() or fen != int(fen) or not 0 <= fen <= _MAX_FEN:
        raise BadInput(
            "bank_amount_malformed",
            f"The amount {amount.value} is not a sum of yuan and fen.",
            hint="Download the file from the bank again.",
        )
    return int(fen)


def _day(moment: Any) -> str:
    if moment is None:
        return ""
    return str(moment.dt or moment.dt_tm or "")[:10]


def _text(value: Any) -> str:
    """The text of a code, which is an enumeration in some versions."""
    return str(getattr(value, "value", value) or "")


def _short(value: Any) -> str:
    """A text that is safe to show and to store."""
    return "".join(letter for letter in str(value or "").strip() if letter.isprintable())[:140]


# --- pain.001 -------------------------------------------------------------------------------------


def order_file(
    order_id: str, settings: ClearingSettings, payments: Sequence[Payment], *, at: int, day: str
) -> bytes:
    """An order of payments (``pain.001.001.09``) from the network's account.

    Args:
        at: when it is made, in Unix seconds.
        day: when the bank is to pay.
    """
    from pyiso20022.pain import pain_001_001_09 as pain
    from xsdata.formats.dataclass.serializers import XmlSerializer
    from xsdata.models.datatype import XmlDate, XmlDateTime

    total = Decimal(sum(payment.amount for payment in payments)).scaleb(-2)
    number = str(len(payments))
    payer = pain.PartyIdentification135(nm=settings.account_name)
    made = datetime.datetime.fromtimestamp(at, datetime.UTC)
    document = pain.Document(
        cstmr_cdt_trf_initn=pain.CustomerCreditTransferInitiationV09(
            grp_hdr=pain.GroupHeader85(
                msg_id=order_id,
                cre_dt_tm=XmlDateTime.from_datetime(made),
                nb_of_txs=number,
                ctrl_sum=total,
                initg_pty=payer,
            ),
            pmt_inf=[
                pain.PaymentInstruction30(
                    pmt_inf_id=order_id,
                    pmt_mtd=pain.PaymentMethod3Code.TRF,
                    # One debit for each payment, so that the statement leads back to it.
                    btch_bookg=False,
                    nb_of_txs=number,
                    ctrl_sum=total,
                    reqd_exctn_dt=pain.DateAndDateTime2Choice(dt=XmlDate.from_string(day)),
                    dbtr=payer,
                    dbtr_acct=_cash_account(pain, settings.account),
                    dbtr_agt=_agent(pain, settings.bank_code),
                    cdt_trf_tx_inf=[_transfer(pain, payment) for payment in payments],
                )
            ],
        )
    )
    text: str = XmlSerializer().render(document, ns_map={"": PAIN})
    return text.encode()


def _transfer(pain: Any, payment: Payment) -> Any:
    amount = pain.ActiveOrHistoricCurrencyAndAmount(
        value=Decimal(payment.amount).scaleb(-2), ccy=CURRENCY
    )
    return pain.CreditTransferTransaction34(
        pmt_id=pain.PaymentIdentification6(instr_id=payment.id, end_to_end_id=payment.id),
        amt=pain.AmountType4Choice(instd_amt=amount),
        cdtr_agt=_agent(pain, payment.to.bank_code),
        cdtr=pain.PartyIdentification135(nm=payment.to.name),
        cdtr_acct=_cash_account(pain, payment.to.account),
        rmt_inf=pain.RemittanceInformation16(ustrd=[f"{payment.to.member} {payment.id}"]),
    )


def _cash_account(pain: Any, account: str) -> Any:
    if is_iban(account):
        identification = pain.AccountIdentification4Choice(iban=account)
    else:
        other = pain.GenericAccountIdentification1(id=account)
        identification = pain.AccountIdentification4Choice(othr=other)
    return pain.CashAccount38(id=identification, ccy=CURRENCY)


def _agent(pain: Any, bank_code: str) -> Any:
    """A bank of China by its number in the national clearing system."""
    member = pain.ClearingSystemMemberIdentification2(
        clr_sys_id=pain.ClearingSystemIdentification2Choice(cd="CNAPS"), mmb_id=bank_code
    )
    return pain.BranchAndFinancialInstitutionIdentification6(
        fin_instn_id=pain.FinancialInstitutionIdentification18(clr_sys_mmb_id=member)
    )


def is_iban(account: str) -> bool:
    """Whether an account number is an IBAN (ISO 13616): by its form and its check digits."""
    if re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", account) is None:
        return False
    digits = "".join(str(int(letter, 36)) for letter in account[4:] + account[:4])
    return int(digits) % 97 == 1


def file_id(content: bytes) -> str:
    """A file's id: SHA-256 of its bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
