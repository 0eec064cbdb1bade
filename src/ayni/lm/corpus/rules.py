"""How a folder is read: which language its files are in, which are translations, what a document is.

A folder may hold `corpus.toml`; what a command is given by `--rule` goes before it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ayni.errors import UserError
from ayni.lm.corpus import languages
from ayni.lm.corpus.documents import Unreadable
from ayni.terminal import one_line

FILE = "corpus.toml"
MAX_FILE = 1 << 20
_PLACES = {
    "language": r"(?P<language>[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)",
    "group": r"(?P<group>[^/]+?)",
}
_PIECE = re.compile(r"\*\*|\*|\{\w*\}|[^*{]+|\{")
_ENCODINGS = re.compile(
    r"utf-?8|utf-?16(-?[lb]e)?|(us-)?ascii|latin-?1|iso-?8859-\d+|(windows-|cp)\d{3,4}|koi8-[ru]|mac(intosh|-roman)"
    r"|gbk?|gb2312|gb18030|big5(-hkscs)?|shift[-_]jis|euc-(jp|kr)|iso-2022-jp|tis-620"
)


def pattern(text: str) -> re.Pattern[str]:
    """`{group}.{language}.txt` as an expression: `*` stays within a folder, `**` does not.

    Raises:
        ValueError: a place between braces that is neither {language} nor {group}, or twice the same.
    """
    parts, seen = [], set[str]()
    for piece in _PIECE.findall(text):
        if piece.startswith("{"):
            name = piece.strip("{}")
            if name not in _PLACES or name in seen:
                raise ValueError(
                    f"{piece} in {text!r}: write {{language}} and {{group}}, each once"
                )
            seen.add(name)
            parts.append(_PLACES[name])
        else:
            parts.append({"*": "[^/]*", "**": ".*"}.get(piece) or re.escape(piece))
    return re.compile("".join(parts))


def codec(name: str) -> str:
    """A text encoding by its name. Others that Python has (`zip`, `rot13`, `utf-7`) are no encodings here.

    Raises:
        ValueError: it is none.
    """
    plain = name.strip().lower()
    if not _ENCODINGS.fullmatch(plain):
        raise ValueError(
            f"{name[:40]!r} is no encoding of texts; write one such as utf-8 or latin-1"
        )
    return {"macintosh": "mac-roman", "gb2312": "gb18030", "gb": "gb18030"}.get(plain, plain)


def _checked_pattern(text: str) -> str:
    pattern(text)
    return text


Tag = Annotated[str, AfterValidator(languages.tag)]
Pattern = Annotated[str, AfterValidator(_checked_pattern)]
Codec = Annotated[str, AfterValidator(codec)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Fields(_Strict):
    """What the fields of a JSONL record or the columns of a Parquet file are called."""

    text: str = "text"
    language: str = "language"
    group: str = "group"


class Override(_Strict):
    """Files whose language or group is known better than they say themselves."""

    match: Pattern
    language: Tag | None = None
    group: str | None = None


class Rules(_Strict):
    """`corpus.toml`, and the options of the commands that read.

    A language comes from the first of: `files`, the document itself (HTML `lang`, a field), the
    file's name (`names`), `language`. `split` makes a document of each HTML article or each line;
    its group is then the file's with its number, so that article 7 of all translations is one group.
    """

    language: Tag | None = None
    group: str | None = None
    names: Pattern | None = None
    split: Literal["none", "article", "line"] = "none"
    encoding: Codec = "utf-8"
    fields: Fields = Fields()
    files: tuple[Override, ...] = ()

    @cached_property
    def _named(self) -> Place:
        return Place(self.names) if self.names else Place("")

    @cached_property
    def _overrides(self) -> list[tuple[Place, Override]]:
        return [(Place(one.match), one) for one in self.files]

    def language_of(self, name: str, own: str | None) -> str:
        """The language of a document in the file `name`, which says itself that it is in `own`.

        Raises:
            Unreadable: nothing says a language, or what says it is no tag.
        """
        over = next((o.language for p, o in self._overrides if o.language and p.in_(name)), None)
        said = over or self._own(own) or self._named.find(name, "language") or self.language
        if not said:
            raise Unreadable(
                "no language: say it with --rule language=CODE, or where it stands in the files' names "
                f"with --rule names='{{group}}.{{language}}.txt', or in {FILE}"
            )
        try:
            return languages.tag(said)
        except ValueError as error:
            raise Unreadable(str(error)) from error

    @staticmethod
    def _own(said: str | None) -> str | None:
        """`und` says that nobody knows: then the name of the file may."""
        return None if not said or said.strip().lower() == languages.UNDETERMINED else said

    def group_of(self, name: str, own: str | None) -> str | None:
        """The group of a document in the file `name`, which says itself that it is in `own`."""
        over = next((o.group for p, o in self._overrides if o.group and p.in_(name)), None)
        return over or own or self._named.find(name, "group") or self.group


@dataclass(frozen=True)
class Place:
    """Where in a file's name something stands. A pattern without `/` is of the last part of the path."""

    text: str

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return pattern(self.text)

    def in_(self, name: str) -> bool:
        return self._match(name) is not None

    def find(self, name: str, what: str) -> str | None:
        found = self._match(name)
        return found.groupdict().get(what) if found else None

    def _match(self, name: str) -> re.Match[str] | None:
        return self._expression.fullmatch(name if "/" in self.text else name.rpartition("/")[2])


def load(folder: Path, given: Mapping[str, str], file: Path | None = None) -> Rules:
    """The rules of a folder: those of `file`, else of its `corpus.toml` if there is one.

    Before them go those that were `given`, by key: `language`, `fields.text`.

    Raises:
        UserError: the file or a rule cannot be used; the message names the key and the remedy.
    """
    path = file or folder / FILE
    found = _toml(path) if file or path.is_file() else {}
    for key, value in given.items():
        table, _, name = key.rpartition(".")
        place = found.setdefault(table, {}) if table else found
        if isinstance(place, dict):
            place[name] = value
    if isinstance(overrides := found.get("files"), list):
        found["files"] = tuple(overrides)
    try:
        return Rules.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        where = f"--rule {key}" if key in given else f"{path}: {key}"
        why = first["msg"].removeprefix("Value error, ")
        raise UserError(one_line(f"{where}: {why}; the keys are {', '.join(KEYS)}")) from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise UserError(f"{path}: larger than {MAX_FILE} bytes; this is no list of rules")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file of rules") from error
    except ValueError as error:
        raise UserError(one_line(f"{path}: not TOML ({error}); mend it")) from error


#: What `--rule` may set.
KEYS = (
    *(key for key in Rules.model_fields if key not in ("fields", "files")),
    *(f"fields.{key}" for key in Fields.model_fields),
)
