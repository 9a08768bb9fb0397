"""Files that are no tables, and what only one file of two has: said, with what to do."""

import gzip
from pathlib import Path

import pytest

from dltrain.data.tables.table import Csv
from dltrain.errors import DataError

NOWHERE = Path("nowhere")

# What a file holds -> what is said of it.
NO_TEXTS = {
    "a workbook": (b"PK\x03\x04rest", "is a workbook or another zip archive; save the table as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0rest", "is a workbook; save the table as CSV"),
    "packed": (gzip.compress(b"a,cls\n1,x\n"), "is packed with gzip; unpack it"),
    "two bytes a letter": ("a,cls\n1,x\n".encode("utf-16"), "is a text in UTF-16; save it in UTF-8"),
    "a PNG": (b"\x89PNG\r\n\x1a\n", "is a picture, not a table"),
    "a JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture, not a table"),
    "a WebP": (b"RIFF\x1a\0\0\0WEBPVP8 ", "is a picture, not a table"),
    "a BMP": (b"BM\x9a\0\0\0\0\0\0\0z", "is a picture, not a table"),
    "a TIFF": (b"MM\0*\0\0\0\x08", "is a picture, not a table"),
    "a PDF": (b"%PDF-1.7\n", "is a PDF document; save the table as CSV"),
    "a web page": (b"<!DOCTYPE html><html>", "is a web page, not a table; download the file itself"),
    "an array": (b"\x93NUMPY\x01\0v\0", "is an array of numpy; write it into an npz file"),
    "a byte a letter": ("a,cls\n1,ä\n".encode("latin-1"), "not a text in UTF-8 (invalid continuation byte at byte 8"),
}


@pytest.mark.parametrize("name", NO_TEXTS)
def test_files_that_are_no_text(name: str, tmp_path: Path) -> None:
    content, message = NO_TEXTS[name]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as refused:
        Csv(path=str(tmp_path / "a.csv"), target="cls").load(NOWHERE)
    assert message in str(refused.value)


def test_columns_that_only_the_test_file_has(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("a,cls\n1,x\n2,y\n")
    test.write_text("b,a,cls,c\n1,2,x,3\n")
    source = Csv(path=str(train), test_path=str(test), target="cls")
    assert source.load(NOWHERE)["test"].inputs.tolist() == [[2]]
    assert source.notes == (f"{test}: columns that {train} does not have are left out: b, c",)
