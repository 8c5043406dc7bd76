"""PDF files: reports, statements and certificates, with an embedded subset of a Chinese font.

A page describes what is in the file as a ``Document`` of blocks; ``pdf_bytes`` sets it. Texts are
drawn, never interpreted, so that nothing a stranger wrote becomes a link or a script.

    document = Document(
        title=gettext("Credit report"),
        organisation="Bank of Jiangmen",
        language="zh-CN",
        watermark="王五 (wang.wu) 2026-11-30 09:00:00",
        made_at=context.now(),
        blocks=[Facts([("Subject", "92440703MD00000168")]), Table(headers, rows)],
    )
    return pdf_response("credit-report", document)
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fpdf import FPDF
from fpdf.enums import TableCellFillMode, WrapMode, XPos, YPos
from fpdf.fonts import FontFace
from starlette.responses import Response

from chain.core.zone import city_zone, local_time
from nodes.console.fonts import BOLD, REGULAR, font_of, shown_text

MARGIN = 18.0
"""Millimetres, as all lengths here."""
_FONT = "qiaolian"
_GREY, _BLACK, _PALE, _RULE = 96, 0, 225, 160
_DIGITS = "0123456789/ :-"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within the document."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; ``quiet`` is small and grey."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, a line each."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its head is repeated on every page."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    widths: Sequence[int] = ()
    """Relative widths of the columns; equal ones by default."""
    numbers: frozenset[int] = frozenset()
    """Columns, from 0, that are set to the right."""


Block = Heading | Paragraph | Facts | Table


@dataclass(frozen=True, slots=True)
class Document:
    """What a file shows."""

    title: str
    organisation: str
    language: str
    made_at: int
    """Unix seconds."""
    blocks: Sequence[Block]
    watermark: str = ""
    """Person and time, across every page."""

    def texts(self) -> Iterator[str]:
        """Every text in it."""
        yield from (self.title, self.organisation, self.watermark)
        for block in self.blocks:
            yield from _texts_of(block)


def pdf_bytes(document: Document) -> bytes:
    """The file; ``pdf_font_missing``."""
    page = _Page(document)
    page.set_document()
    return bytes(page.output())


def pdf_response(name: str, document: Document) -> Response:
    """The file as a download named ``name`` + ``.pdf``."""
    return Response(
        pdf_bytes(document),
        media_type="application/pdf",
        headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}.pdf"},
    )


class _Page(FPDF):
    """A4 pages with the document's frame."""

    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        self._document = document
        self._moment = local_time(document.made_at)
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(True, MARGIN)
        self.c_margin = 1.0
        self.set_title(shown_text(document.title))
        self.set_author(shown_text(document.organisation))
        self.set_lang(document.language)
        self.set_creator("Qiaolian")
        self.set_creation_date(datetime.datetime.fromtimestamp(document.made_at, city_zone()))
        self._add_fonts()

    def _add_fonts(self) -> None:
        texts = [shown_text(text) for text in self._document.texts()]
        characters = {*"".join(texts), *_DIGITS, *self._moment} - {"\n"}
        for style, weight in (("", REGULAR), ("B", BOLD)):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "font.ttf"
                path.write_bytes(font_of(characters, weight))
                self.add_font(_FONT, style, path)

    def header(self) -> None:
        """The organisation above, the watermark below everything."""
        if self._document.watermark:
            self._draw_watermark()
        self._style(8, grey=_GREY)
        self.cell(0, 5, shown_text(self._document.organisation), new_x=XPos.LMARGIN)
        self.set_y(MARGIN + 6)

    def _draw_watermark(self) -> None:
        self._style(20, grey=_PALE)
        text = shown_text(self._document.watermark)
        for height in (100.0, 210.0):
            with self.rotation(35, self.w / 2, height):
                self.text((self.w - self.get_string_width(text)) / 2, height, text)

    def footer(self) -> None:
        """Time and page."""
        self.set_y(-MARGIN + 4)
        self._style(8, grey=_GREY)
        self.cell(0, 5, self._moment, align="L", new_x=XPos.LMARGIN)
        self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="R")

    def set_document(self) -> None:
        """Set the whole document."""
        self.add_page()
        self._style(16, bold=True)
        self._text(self._document.title, 9)
        for block in self._document.blocks:
            self._set(block)

    def _set(self, block: Block) -> None:
        match block:
            case Heading(text):
                self.ln(3)
                self._style(12, bold=True)
                self._text(text, 7)
            case Paragraph(text, quiet):
                self._style(8 if quiet else 10, grey=_GREY if quiet else _BLACK)
                self._text(text, 4.5 if quiet else 5.5)
            case Facts(rows):
                self._table(Table((), rows, (3, 7)), ruled=False)
            case Table():
                self._table(block, ruled=True)

    def _text(self, text: str, height: float) -> None:
        self.multi_cell(
            0,
            height,
            shown_text(text),
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
            align="L",
            wrapmode=WrapMode.CHAR,
        )
        self.ln(1)

    def _table(self, block: Table, *, ruled: bool) -> None:
        self._style(9)
        self.set_draw_color(_RULE)
        self.set_line_width(0.1)
        columns = len(block.headers) or len(block.rows[0]) if block.rows or block.headers else 0
        if not columns:
            return
        align = tuple("RIGHT" if place in block.numbers else "LEFT" for place in range(columns))
        with self.table(
            borders_layout="HORIZONTAL_LINES" if ruled else "NONE",
            cell_fill_mode=TableCellFillMode.NONE,
            col_widths=tuple(block.widths) or None,
            first_row_as_headings=bool(block.headers),
            headings_style=FontFace(emphasis="BOLD"),
            line_height=5.0,
            padding=0.8,
            text_align=align,
            wrapmode=WrapMode.CHAR,
        ) as table:
            for row in ((block.headers,) if block.headers else ()) + tuple(block.rows):
                table.row([shown_text(cell) for cell in row])
        self.ln(1)

    def _style(self, size: float, *, bold: bool = False, grey: int = _BLACK) -> None:
        self.set_font(_FONT, "B" if bold else "", size)
        self.set_text_color(grey)


def _texts_of(block: Block) -> Iterator[str]:
    match block:
        case Heading(text) | Paragraph(text):
            yield text
        case Facts(rows):
            for name, value in rows:
                yield from (name, value)
        case Table(headers, rows):
            yield from headers
            for row in rows:
                yield from row
