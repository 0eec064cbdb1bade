"""Documents out of files, folders and archives."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.corpus import read, streams
from ayni.lm.corpus.documents import Document, Tally

HTML = '<html lang="quy"><article>huk</article><article>iskay</article></html>'


def documents(*paths: Path, tally: Tally | None = None, **given: str) -> list[Document]:
    rules = {key.replace("__", "."): value for key, value in given.items()}
    return list(read.read(read.sources(paths, rules), tally or Tally()))


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def short(found: list[Document]) -> list[tuple[str, str, str, str | None]]:
    return [(d.text, d.language, d.source, d.group) for d in found]


def test_a_folder_is_read_in_the_order_of_names_on_every_machine(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/b.txt", "Z", ".hidden.txt", ".git/c.txt", "corpus.toml"):
        put(tmp_path / name, "" if name == "corpus.toml" else name)
    found = documents(tmp_path, language="es")
    assert [d.source for d in found] == ["Z", "a/b.txt", "a/z.md", "b.txt"]


def test_every_format_gives_documents(tmp_path: Path) -> None:
    put(tmp_path / "1.txt", "uno\r\n")
    put(tmp_path / "2.html", HTML)
    put(tmp_path / "3.jsonl", '{"text": "drei", "language": "deu", "group": "g"}')
    pa.parquet.write_table(pa.table({"text": ["vier"], "language": ["de"]}), tmp_path / "4.parquet")
    assert short(documents(tmp_path, language="es")) == [
        ("uno\n", "es", "1.txt", None),
        ("huk\n\niskay", "quy", "2.html", None),
        ("drei", "de", "3.jsonl#1", "g"),
        ("vier", "de", "4.parquet#1", None),
    ]


def test_articles_and_lines_become_documents_of_numbered_groups(tmp_path: Path) -> None:
    put(tmp_path / "a.html", HTML)
    assert short(documents(tmp_path, split="article", group="udhr")) == [
        ("huk", "quy", "a.html#1", "udhr/1"),
        ("iskay", "quy", "a.html#2", "udhr/2"),
    ]
    put(tmp_path / "a.html", "")
    put(tmp_path / "b.es.txt", "uno\n\ntres")
    assert short(documents(tmp_path, split="line", names="{group}.{language}.txt")) == [
        ("uno", "es", "b.es.txt#1", "b/1"),
        ("tres", "es", "b.es.txt#3", "b/3"),
    ]


def test_lines_are_numbered_through_all_pieces_of_a_file_whatever_marks_stand_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = read.pieces
    monkeypatch.setattr(read, "pieces", lambda stream, encoding: pieces(stream, encoding, 50))
    lines = [f"línea {n}\u2028y más\x0c" if n % 5 else "" for n in range(1, 100)]
    put(tmp_path / "a.es.txt", "\r\n".join(lines))
    found = documents(tmp_path, split="line", names="{group}.{language}.txt")
    assert [d.group for d in found] == [f"a/{n}" for n in range(1, 100) if n % 5]
    assert found[0].text == "línea 1\ny más\n"


PACKED: dict[str, Any] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}  # fmt: skip


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / f"a.txt{suffix}", PACKED[suffix]("año".encode() * 1000))
    (found,) = documents(tmp_path, language="es")
    assert found.text == "año" * 1000


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_that_are_cut_short_are_told(tmp_path: Path, suffix: str) -> None:
    whole = PACKED[suffix](json.dumps({"text": random.Random(7).randbytes(50_000).hex()}).encode())
    put(tmp_path / f"a.jsonl{suffix}", whole[: len(whole) // 2])
    put(tmp_path / "b.txt", "gut")
    tally = Tally()
    assert [d.text for d in documents(tmp_path, tally=tally, language="de")] == ["gut"]
    assert tally.broken == 1
    assert "cut short" in tally.named[0][1]


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


MEMBERS = {
    "d/a.txt": b"uno", "../../etc/b.html": HTML.encode(), "/c.jsonl.gz": gzip.compress(b'{"text": "c"}'),
    "d/.hidden.txt": b"no", "e.jpg": b"\xff\xd8", "f.zip": b"PK",
}  # fmt: skip


@pytest.mark.parametrize("make", [tar, zipped])
def test_members_of_archives_are_documents_and_their_paths_are_names_only(
    tmp_path: Path, make: Any
) -> None:
    path = make(tmp_path / f"x.{'zip' if make is zipped else 'tar.gz'}", MEMBERS)
    tally = Tally()
    found = documents(path, tally=tally, language="es")
    assert [(d.text, d.source.partition("!")[2]) for d in found] == [
        ("uno", "d/a.txt"), ("huk\n\niskay", "../../etc/b.html"), ("c", "/c.jsonl.gz#1"),
    ]  # fmt: skip
    assert tally.skipped == {".jpg": 1}
    assert "unpack it first" in tally.named[0][1]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]  # nothing was unpacked


def test_links_and_devices_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.txt", "geheim")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"link{kind.decode()}.txt")
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    with pytest.raises(UserError, match="no text in 1 files"):
        documents(tmp_path / "a.tar", language="es")


def test_one_damaged_member_of_a_zip_does_not_keep_the_others_from_being_read(
    tmp_path: Path,
) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"uno" * 500, "b.txt": b"dos"})
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    tally = Tally()
    assert [d.text for d in documents(path, tally=tally, language="es")] == ["dos"]
    assert tally.named[0][0] == "a.zip!a.txt"


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"uno"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the member's own header, and in the directory
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a.zip!a.txt: .*without a password"):
        documents(path, language="es")


def test_a_bomb_is_left_when_it_has_unpacked_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FREE", 1 << 20)
    bomb = b"a\n" * (8 << 20)
    for path in (
        put(tmp_path / "1.txt.gz", gzip.compress(bomb)),
        zipped(tmp_path / "2.zip", {"a.txt": bomb}),
        tar(tmp_path / "3.tar.xz", {"a.txt": bomb}, "w:xz"),
    ):
        tally = Tally()
        with pytest.raises(UserError, match="unpacks to more than 200 times its size"):
            documents(path, tally=tally, language="es")


def test_a_header_that_says_it_is_huge_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    put(tmp_path / "a.tar", info.tobuf(tarfile.GNU_FORMAT) + b"x" * 10_240)
    with pytest.raises(UserError, match=f"a header of {1 << 40} bytes"):
        documents(tmp_path / "a.tar", language="es")


def test_a_zip_that_lists_more_than_fits_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_MEMBERS", 10)
    path = zipped(tmp_path / "a.zip", {f"{n}.txt": b"a" for n in range(30)})
    with pytest.raises(UserError, match="members; pack them in several archives"):
        documents(path, language="es")
    tar(tmp_path / "a.tar", {f"{n}.txt": b"a" for n in range(30)}, "w")
    tally = Tally()
    assert len(documents(tmp_path / "a.tar", tally=tally, language="es")) == 10
    assert "more than 10 members" in tally.named[0][1]


@settings(max_examples=150)
@given(data=st.data())
def test_an_archive_with_any_damage_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    make = data.draw(st.sampled_from([tar, zipped]))
    path = make(
        folder / ("a.zip" if make is zipped else "a.tar.gz"), {"a.txt": b"uno", "ñ.txt": b"dos"}
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        value = data.draw(st.sampled_from([0, 128, 255]) | st.integers(0, 255))
        content[data.draw(st.integers(0, len(content) - 1))] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    tally = Tally()
    for source in read.sources([path], {"language": "es"}):
        list(read.documents(source, tally))


def test_binary_and_wrongly_encoded_files_are_named_with_the_remedy(tmp_path: Path) -> None:
    put(tmp_path / "a", b"\x7fELF\0\0\1")
    put(tmp_path / "b.txt", "año".encode("latin-1"))
    put(tmp_path / "c.txt", "a\u0301ño".encode("utf-16"))
    tally = Tally()
    assert [d.text for d in documents(tmp_path, tally=tally, language="es")] == ["áño"]
    assert "binary, not text" in tally.named[0][1]
    assert "--rule encoding=NAME" in tally.named[1][1]
    assert len(documents(tmp_path / "b.txt", language="es", encoding="latin-1")) == 1


def test_a_corpus_without_text_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        documents(tmp_path / "none")
    with pytest.raises(UserError, match="no files in it"):
        documents(tmp_path)
    put(tmp_path / "a.txt", " \n")
    put(tmp_path / "b.pdf", "%PDF")
    with pytest.raises(UserError, match=r"no text in 2 files \(only .pdf\)"):
        documents(tmp_path, language="es")
    put(tmp_path / "c.jsonl", '{"body": "a"}\n{"body": "b"}')
    with pytest.raises(UserError, match=r"of 2 that failed, c.jsonl#1: no field 'text'"):
        documents(tmp_path, language="es")


def test_a_long_text_is_read_in_pieces_that_end_between_paragraphs() -> None:
    text = "\n\n".join(f"párrafo {n}" for n in range(2000))
    stream = io.BufferedReader(io.BytesIO(text.encode()))  # type: ignore[arg-type]
    found = list(read.pieces(stream, "utf-8", most=500))
    assert "".join(found) == text
    assert all(len(piece) <= 500 and piece.endswith("\n\n") for piece in found[:-1])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(1, 20))
def test_pieces_together_are_the_text(text: str, most: int) -> None:
    text = text.replace("\0", "").replace("\r", "").removeprefix("\ufeff")
    stream = io.BufferedReader(io.BytesIO(text.encode()))  # type: ignore[arg-type]
    assert "".join(read.pieces(stream, "utf-8", most)) == text


def test_a_file_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.txt", "a")
    put(tmp_path / "b.txt", "b")
    found = read.sources([tmp_path], {"language": "es"})
    (tmp_path / "a.txt").unlink()
    tally = Tally()
    assert [d.text for d in read.read(found, tally)] == ["b"]
    assert tally.named == [("a.txt", "No such file or directory; see to it that it can be read")]
