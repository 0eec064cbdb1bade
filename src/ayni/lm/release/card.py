"""The model card: what the facts say, for people, in the form that Hugging Face's cards have."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from ayni.lm.release.evidence import Exposure, Loss
from ayni.lm.release.facts import Facts, Part, languages
from ayni.terminal import one_line

FILE = "README.md"
_SHOWN = 60  # languages whose losses are listed; facts.json has all
_CONTRIBUTED = (
    "site", "member", "rounds", "late", "tokens", "bytes", "weight", "core-hours", "GPU-hours", "effect",
)  # fmt: skip
#: What the record says of memory; it stands in every card, measured or not.
MEMORY = (
    "Texts and optimisers stayed at their sites: what left were encoded updates of the weights, counts "
    "and losses. That does not make the weights free of them: a model may have memorised passages of "
    "its training text, and what it has memorised leaves with it."
)


def card(facts: Facts) -> str:
    """The whole README.md, in English."""
    parts = [
        _metadata(facts),
        f"# {facts.run}, version {facts.version}",
        _opening(facts),
        "## Use",
        _use(),
        "## Contributions",
        *_contributions(facts),
        "## Losses",
        *_losses(facts),
        "## What may be in it",
        MEMORY,
        *_exposures(facts),
        "## Energy",
        _energy(facts),
        "## How it was trained",
        _configuration(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: Facts) -> str:
    """YAML for the hub: languages as ISO 639, without region."""
    plain = sorted({tag.partition("-")[0].lower() for tag in languages(facts)} - {"und"})
    found: dict[str, Any] = {"language": plain} if plain else {}
    if facts.licence:
        found["license"] = facts.licence
    found |= {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["ayni"]}
    return f"---\n{yaml.safe_dump(found, sort_keys=False, allow_unicode=True)}---"


def _opening(facts: Facts) -> str:
    step = "" if facts.step is None else f", inner step {facts.step:,} of {facts.steps:,}"
    places = "; ".join(_place(one["site"], _member(facts, one["site"])) for one in _sites(facts))
    licence = (
        f"Its licence is {_cell(facts.licence)}."
        if facts.licence
        else "The record has no licence: ask whoever released it before you use it."
    )
    return (
        f"A language model of {facts.parameters:,} parameters in {facts.precision}, trained by Ayni "
        f"over {len(_sites(facts))} sites: {places}. This is version {facts.version}{step}; the "
        f"coordinator had it as *{facts.state}*. {_tokenizer(facts)}{licence} All figures here are "
        "from the run's record and stand in `facts.json`; `SHA256SUMS` lists the files."
    )


def _tokenizer(facts: Facts) -> str:
    if facts.tokenizer is None:
        return ""
    known = facts.configuration.get("tokenizer_sha256") == facts.tokenizer
    how = (
        "with which all sites' texts were packed"
        if known
        else "and the record does not say with which the sites' texts were packed"
    )
    return f"Its tokenizer is that of the SHA-256 `{facts.tokenizer}`, {how}. "


def _use() -> str:
    return """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")
start = tokenizer("Todos los seres humanos", return_tensors="pt")
print(tokenizer.decode(model.generate(**start, max_new_tokens=40)[0]))
```

It is a base model: it goes on with texts, follows no instructions, and has no safeguards."""


# --- contributions ----------------------------------------------------------------------------


def _contributions(facts: Facts) -> Iterator[str]:
    if facts.parts is None:
        yield "The coordinator's books were not at hand when this card was written."
        return
    yield (
        f"{facts.rounds:,} rounds stand; {facts.rolled_back:,} were rolled back and are not counted. "
        "*Weight* is a site's mean share of what was merged; *bytes* are encoded updates; *effect* is "
        "by how much the held-out loss of the other sites is lower with a site's part than without it, in "
        "nats a token, in the rounds in which that was measured: negative harmed."
    )
    rows = [_brought(part) for part in facts.parts]
    members = _by_member(facts.parts)
    rows += [_brought(part) for part in members] if len(members) > 1 else []
    yield _table(_CONTRIBUTED, rows)
    if any(part.hours is not None and not part.hours.accounted for part in facts.parts):
        yield "Hours are as the sites' tasks say: the network's usage records were not at hand."
    for part in facts.parts:
        if part.refused or part.discarded_tokens or part.revoked or part.clipped:
            yield (
                f"{part.site}: {part.refused} contributions refused ({part.refused_bytes:,} bytes"
                f"{_why(part)}), {part.discarded_tokens:,} tokens discarded, {part.revoked} "
                f"contributions rolled back, {part.clipped} shortened to the usual norm."
            )


def _brought(part: Part) -> tuple[str, ...]:
    hours = part.hours
    return (
        part.site,
        part.member or "",
        f"{part.rounds:,}",
        f"{part.late:,}",
        f"{part.tokens:,}",
        f"{part.bytes:,}",
        f"{part.weight:.1%}",
        "" if hours is None else f"{hours.core:,.2f}",
        "" if hours is None else f"{hours.gpu:,.2f}",
        "" if part.effect is None else f"{part.effect:+.4f}",
    )


def _by_member(parts: Iterable[Part]) -> list[Part]:
    """Each member's sites as one."""
    found: dict[str, Part] = {}
    for part in parts:
        if part.member is None:
            continue
        before = found.get(part.member, Part(site="*all sites of*", member=part.member))
        sums = {
            name: getattr(before, name) + getattr(part, name)
            for name in ("rounds", "late", "tokens", "bytes", "weight")
        }
        if part.hours is not None:
            sums["hours"] = part.hours.plus(before.hours)
        found[part.member] = before.model_copy(update=sums)
    return [found[name] for name in sorted(found)]


def _why(part: Part) -> str:
    return f": {'; '.join(map(_cell, part.reasons))}" if part.reasons else ""


# --- losses -----------------------------------------------------------------------------------


def _losses(facts: Facts) -> Iterator[str]:
    yield (
        "In nats a token, all with this tokenizer, where nothing else is said. Paragraphs are held out "
        "by a hash of their letters, so that none is held out at one site and trained on at another."
    )
    if facts.heldout:
        yield from _heldout(facts)
    else:
        yield "Held-out losses by language were not measured."
    judged = [part for part in facts.parts or () if part.heldout is not None]
    if judged:
        yield "Over all that is held out at a site, as the sites judged this version:"
        yield _table(("site", "loss"), [(p.site, f"{p.heldout:.3f}") for p in judged])
    trained = [(p.site, n, x) for p in facts.parts or () for n, x in sorted(p.losses.items())]
    trained = [row for row in trained if row[1] != "zxx"]
    if trained:
        yield "On training text, in each site's last round before this version:"
        yield _table(("site", "language", "loss"), [(s, n, f"{x:.3f}") for s, n, x in trained])


def _heldout(facts: Facts) -> Iterator[str]:
    names = list(facts.compared)
    rows = [
        (tag, f"{own.tokens:,}", _bits(own), f"{own.loss:.3f}", *_others(facts.compared, tag))
        for tag, own in sorted(facts.heldout.items(), key=lambda item: -item[1].tokens)[:_SHOWN]
    ]
    summary = [
        (
            label,
            "",
            "",
            *(_of(one, facts.heldout, over) for one in (facts.heldout, *facts.compared.values())),
        )
        for label, over in (("*mean*", _mean), ("*worst*", _worst))
    ]
    yield _table(
        ("language", "tokens", "bits a byte", "this model", *map(_cell, names)), [*rows, *summary]
    )
    if (left := len(facts.heldout) - _SHOWN) > 0:
        yield f"`facts.json` has {left} languages more."
    for name, other in facts.compared.items():
        yield _compared(facts.heldout, other, _cell(name))


def _bits(own: Loss) -> str:
    return "" if own.bits is None else f"{own.bits:.3f}"


def _others(compared: Mapping[str, Mapping[str, Loss]], tag: str) -> list[str]:
    return [f"{one[tag].loss:.3f}" if tag in one else "" for one in compared.values()]


def _of(found: Mapping[str, Loss], tags: Collection[str], over: Any) -> str:
    """Over all languages that this model was measured in; nothing, if the other was not in one."""
    losses = [found[tag].loss for tag in tags if tag in found]
    return f"{over(losses):.3f}" if losses and len(losses) == len(tags) else ""


def _mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)


def _worst(losses: Sequence[float]) -> float:
    return max(losses)


def _compared(own: Mapping[str, Loss], other: Mapping[str, Loss], name: str) -> str:
    """In which languages the joint model is worse than another."""
    both = sorted(own.keys() & other.keys())
    worse = [(tag, own[tag].loss - other[tag].loss) for tag in both]
    worse = sorted((one for one in worse if one[1] > 0), key=lambda one: -one[1])
    if not both:
        return f"**{name}** was measured in none of these languages."
    if not worse:
        return f"This model is worse than **{name}** in none of {len(both)} languages."
    listed = ", ".join(f"{tag} (+{gap:.3f})" for tag, gap in worse[:_SHOWN])
    more = f" and {len(worse) - _SHOWN} more" if len(worse) > _SHOWN else ""
    return f"This model is **worse than {name}** in {len(worse)} of {len(both)} languages: {listed}{more}."


# --- what may be in it ------------------------------------------------------------------------


def _exposures(facts: Facts) -> Iterator[str]:
    if not facts.exposures:
        yield "How much it memorises was not measured: no canaries are on record."
        return
    yield (
        "Canaries were planted to measure that: random sequences of the tokenizer's tokens, repeated in "
        "the training text of a site. *Exposure* (Carlini et al., arXiv 1802.08232) is log2 of the "
        "number of possible sequences less log2 of the canary's rank among them by log-perplexity; the "
        "rank is estimated among sampled sequences of the same form, so that no more than the *bound* "
        "can be seen. A sequence that was never planted has 1.44 bits in the mean."
    )
    columns = ("site", "planted", "canaries", "median", "mean", "most", "bound")
    yield _table(columns, [row for one in facts.exposures for row in _exposed(one)])
    yield (
        "This is of random sequences. Text that is like other text, or repeated more often, is learnt "
        "sooner: a low figure is no proof that nothing was memorised."
    )


def _exposed(one: Exposure) -> Iterator[tuple[str, ...]]:
    site = ", ".join(one.sites)
    groups = [(f"{group.times:,} times", group) for group in one.planted]
    for label, group in [*groups, ("never", one.control)]:
        bits = (f"{value:.1f}" for value in (group.median, group.mean, group.most, one.bound))
        yield (site, label, f"{group.count:,}", *bits)


def _energy(facts: Facts) -> str:
    if not facts.energy:
        return "Not measured: the sites' accounting has no energy, and no site gave any."
    rows = [(site, f"{kwh:,.2f}") for site, kwh in sorted(facts.energy.items())]
    missing = [one["site"] for one in _sites(facts) if one["site"] not in facts.energy]
    rest = f" Not measured at {', '.join(missing)}." if missing else ""
    return (
        _table(("site", "kWh"), rows)
        + f"\n\nAs the sites measured it, of whole nodes or not.{rest}"
    )


def _configuration(facts: Facts) -> str:
    made = ", ".join(f"{name} {version}" for name, version in sorted(facts.made_with.items()))
    return (
        f"Digest of the weights, as all sites compared it: `{facts.digest}`. Released with {made}. The "
        "resolved configuration, without the sites' own paths:\n\n"
        f"```json\n{json.dumps(facts.configuration, indent=1, ensure_ascii=False)}\n```"
    )


# --- parts ------------------------------------------------------------------------------------


def _sites(facts: Facts) -> list[Mapping[str, Any]]:
    return list(facts.configuration["sites"])


def _member(facts: Facts, site: str) -> str | None:
    return next((part.member for part in facts.parts or () if part.site == site), None)


def _place(site: str, member: str | None) -> str:
    return f"{site} ({member})" if member else site


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text of somebody else's in a table or a sentence: one line, no markup."""
    plain = one_line(text)
    return "".join(f"\\{sign}" if sign in "\\|`*_<>[]" else sign for sign in plain)
