"""Names of languages."""

from __future__ import annotations

import pytest

from ayni.lm.corpus import languages


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("spa", "es"),
        ("ES", "es"),
        ("por_BR", "pt-BR"),
        ("quy", "quy"),
        ("es_cl", "es-CL"),
        ("iw", "he"),
        ("arn_Latn", "arn"),
        ("quy-Latn-PE", "quy-PE"),
        ("uz_Cyrl", "uz-Cyrl"),
        ("zh-Hant", "zh-Hant"),
    ],
)
def test_one_language_has_one_spelling(name: str, tag: str) -> None:
    assert languages.tag(name) == tag


@pytest.mark.parametrize("name", ["", "-", "e", "english", "es-", "x" * 10_000, "../es", "es qu"])
def test_what_is_no_tag_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="is no language tag; write one such as"):
        languages.tag(name)


@pytest.mark.parametrize(
    ("tag", "base"),
    [
        ("es-CL", "es"),
        ("uz-Cyrl-UZ", "uz-Cyrl"),
        ("quy", "quy"),
        ("es-419", "es"),
        ("sl-rozaj", "sl"),
    ],
)
def test_a_base_keeps_the_script_and_drops_the_region(tag: str, base: str) -> None:
    assert languages.base(tag) == base
