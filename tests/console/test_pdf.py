"""PDF files: Chinese text that a reader reads back, a watermark on every page, an embedded font."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from pypdf import PdfReader

from nodes.console.fonts import font_of, shown_text
from nodes.console.pdf import Document, Facts, Heading, Paragraph, Table, pdf_bytes

HOSTILE = "江门（测试）𠮷<script>alert(1)</script>\u202e(\\) /JS"
DOCUMENT = Document(
    title="信用报告",
    organisation="江门银行",
    language="zh-CN",
    made_at=1_796_000_000,
    watermark="王五 (wang.wu) 2026-11-30 09:00",
    blocks=[
        Heading("记录"),
        Paragraph("依据主体的同意生成。", quiet=True),
        Facts([("主体", "92440703MD00000168")]),
        Table(["项目", "金额"], [["查询", "1,234.56"]] * 90, (3, 1), frozenset({1})),
    ],
)


def read(document: Document) -> PdfReader:
    return PdfReader(io.BytesIO(pdf_bytes(document)))


def test_a_reader_reads_back_chinese_text_and_numbers() -> None:
    made = read(DOCUMENT)
    first = made.pages[0].extract_text()
    for text in ("信用报告", "江门银行", "依据主体的同意生成。", "92440703MD00000168", "1,234.56"):
        assert text in first
    assert made.metadata is not None
    assert made.metadata.title == "信用报告"


def test_every_page_has_the_watermark_the_tables_head_and_its_number() -> None:
    made = read(DOCUMENT)
    assert len(made.pages) > 1
    for number, page in enumerate(made.pages, 1):
        text = page.extract_text()
        assert "王五 (wang.wu) 2026-11-30 09:00" in text
        assert "项目" in text
        assert f"{number} / {len(made.pages)}" in text


def test_only_the_glyphs_in_use_are_embedded() -> None:
    page = read(DOCUMENT).pages[0]
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    descendants = [font["/DescendantFonts"][0].get_object() for font in fonts]
    assert all("/FontFile2" in font["/FontDescriptor"].get_object() for font in descendants)
    assert len(pdf_bytes(DOCUMENT)) < 100_000
    assert len(font_of("信", 400)) < len(font_of("信用报告江门银行", 400))


def test_what_a_stranger_wrote_is_text_and_nothing_else() -> None:
    document = replace(
        DOCUMENT, title=HOSTILE, blocks=[Paragraph(HOSTILE), Facts([(HOSTILE, HOSTILE)])]
    )
    content = pdf_bytes(document)
    assert b"/JavaScript" not in content
    assert b"/URI" not in content
    assert "<script>alert(1)</script>" in read(document).pages[0].extract_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("𠮷", "〔U+20BB7〕"), ("a\u202eb", "ab"), ("a\nb", "a\nb"), ("侨链 1.00", "侨链 1.00")],
)
def test_a_character_without_a_glyph_is_named_and_none_that_turns_text_is_kept(
    text: str, shown: str
) -> None:
    assert shown_text(text) == shown


@pytest.mark.parametrize(
    "blocks", [[], [Table([], [])], [Facts([])], [Paragraph("")], [Table(["a"], [])]]
)
def test_an_empty_document_is_a_file_too(blocks: list[Table | Facts | Paragraph]) -> None:
    assert len(read(replace(DOCUMENT, blocks=blocks, watermark="")).pages) == 1
