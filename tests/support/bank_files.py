"""Bank statements as banks write them, with one thing changed where a test asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ACCOUNT = "6222000200112233"
NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."


@dataclass(frozen=True)
class Line:
    """One entry of a statement; amounts as the bank writes them."""

    amount: str
    reference: str
    credit: bool = True
    text: str = ""
    end_to_end: str = "NOTPROVIDED"
    account: str = ""
    party_code: str = ""
    booked: bool = True
    currency: str = "CNY"
    returned: str = ""

    @property
    def fen(self) -> int:
        yuan, _, cents = self.amount.partition(".")
        return (int(yuan) * 100 + int((cents + "00")[:2])) * (1 if self.credit else -1)


def statement(
    lines: Sequence[Line],
    *,
    version: str = "08",
    statement_id: str = "S-1",
    account: str = ACCOUNT,
    opening: int = 100_000,
    closing: int | None = None,
    currency: str = "CNY",
) -> bytes:
    """A statement of ``camt.053``; its balances fit unless ``closing`` says otherwise."""
    moved = sum(line.fen for line in lines if line.booked)
    end = opening + moved if closing is None else closing
    entries = "".join(_entry(line, version) for line in lines)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="{NAMESPACE}{version}"><BkToCstmrStmt>
<GrpHdr><MsgId>M-{statement_id}</MsgId><CreDtTm>2026-11-30T18:00:00+08:00</CreDtTm></GrpHdr>
<Stmt><Id>{statement_id}</Id><CreDtTm>2026-11-30T18:00:00+08:00</CreDtTm>
<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>{currency}</Ccy></Acct>
{_balance("OPBD", opening, currency)}{_balance("CLBD", end, currency)}{entries}
</Stmt></BkToCstmrStmt></Document>"""
    return text.encode()


def _balance(kind: str, fen: int, currency: str) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>"
        f'<Amt Ccy="{currency}">{abs(fen) // 100}.{abs(fen) % 100:02d}</Amt>'
        f"<CdtDbtInd>{'CRDT' if fen >= 0 else 'DBIT'}</CdtDbtInd>"
        "<Dt><Dt>2026-11-30</Dt></Dt></Bal>"
    )


def _entry(line: Line, version: str) -> str:
    later = version >= "08"
    status = "BOOK" if line.booked else "PDNG"
    side = "Dbtr" if line.credit else "Cdtr"
    code = f"<Id><OrgId><Othr><Id>{line.party_code}</Id></Othr></OrgId></Id>"
    party = f"<Nm>某单位</Nm>{code if line.party_code else ''}"
    party = f"<Pty>{party}</Pty>" if later else party
    account = f"<Id><Othr><Id>{line.account}</Id></Othr></Id>"
    of_account = f"<{side}Acct>{account}</{side}Acct>" if line.account else ""
    returned = f"<RtrInf><Rsn><Cd>{line.returned}</Cd></Rsn></RtrInf>" if line.returned else ""
    remittance = f"<RmtInf><Ustrd>{line.text}</Ustrd></RmtInf>" if line.text else ""
    return (
        f'<Ntry><Amt Ccy="{line.currency}">{line.amount}</Amt>'
        f"<CdtDbtInd>{'CRDT' if line.credit else 'DBIT'}</CdtDbtInd>"
        f"<Sts>{f'<Cd>{status}</Cd>' if later else status}</Sts>"
        "<BookgDt><Dt>2026-11-30</Dt></BookgDt>"
        f"<AcctSvcrRef>{line.reference}</AcctSvcrRef><BkTxCd/>"
        f"<NtryDtls><TxDtls><Refs><EndToEndId>{line.end_to_end}</EndToEndId></Refs>"
        f"<RltdPties><{side}>{party}</{side}>{of_account}</RltdPties>"
        f"{remittance}{returned}</TxDtls></NtryDtls></Ntry>"
    )
