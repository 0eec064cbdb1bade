"""Names of languages: BCP 47, in one spelling, so that `spa`, `es` and `ES` are one language."""

from __future__ import annotations

from functools import lru_cache

import langcodes

from ayni.lm.tags import MAX_TAG

UNDETERMINED = "und"


@lru_cache(maxsize=4096)
def tag(name: str) -> str:
    """The BCP 47 tag of a name (ISO 639-3 codes and underscores are understood): `por_BR` is `pt-BR`.

    A script that the language is mostly written in is left out: `arn-Latn` is `arn`.

    Raises:
        ValueError: the name is no tag; the message says what one looks like.
    """
    plain = name.strip()
    try:
        found = str(langcodes.standardize_tag(plain[:MAX_TAG]))
    except (ValueError, LookupError):
        found = ""
    # "english" has the form of a registered language; there is none, and pages do say lang="english".
    if not found or len(plain) > MAX_TAG or not 2 <= len(found.split("-")[0]) <= 3:
        raise ValueError(
            f"{name[:MAX_TAG]!r} is no language tag; write one such as es, pt-BR or quy"
        )
    return _without_usual_script(found)


def _without_usual_script(found: str) -> str:
    parsed = langcodes.Language.get(found, normalize=False)
    usual = langcodes.Language.make(language=parsed.language).maximize().script
    return found.replace(f"-{usual}", "", 1) if parsed.script == usual else found


def base(language: str) -> str:
    """A tag without its region and what follows: `pt-BR` is `pt`, `uz-Cyrl-UZ` is `uz-Cyrl`."""
    parts = language.split("-")
    scripted = len(parts) > 1 and len(parts[1]) == 4 and parts[1].isalpha()
    return "-".join(parts[: 2 if scripted else 1])
