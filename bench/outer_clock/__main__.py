"""`python -m bench.outer_clock`: see `bench.outer_clock`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayni.lm.inner.settings import Shape
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.schedule import Phase, Schedule, warmed_up
from ayni.lm.plan import flops_per_token, parameters
from bench.outer_clock import __doc__ as told
from bench.outer_clock.chart import draw
from bench.outer_clock.clock import Link, Run, ring
from bench.outer_clock.rates import measured

#: A Llama of about a billion parameters, and the card.
SHAPE = Shape(
    vocab_size=32768, hidden_size=2048, intermediate_size=5632, layers=20, heads=16, context=4096
)
PEAK, MFU = 989e12, 0.45
SITES = 3
LINKS = (Link("100 Mbit/s, 120 ms", 100e6, 0.12), Link("10 Gbit/s, 60 ms", 10e9, 0.06))
LAST = 50  # H
FRAGMENTS = 8


def main() -> None:
    given = _parse()
    count = parameters(SHAPE)
    pace = flops_per_token(SHAPE, 4096) * given.tokens / (PEAK * MFU)
    codec = Codec[given.codec]
    rates = measured(codec, SITES)
    print(
        f"{count / 1e9:.2f} billion parameters; {given.tokens} tokens a site and step in {pace:.2f} s; "
        f"{codec.name}: a site encodes and hashes in {rates.send * count:.0f} s, the coordinator "
        f"inspects one in {rates.inspect * count:.0f} s and merges in {rates.merge * count:.0f} s"
    )
    ratio = given.ratio
    if ratio is None:
        from bench.outer_clock.steps import needed

        ratio = needed()
    schedules = {
        f"steady state, H = {LAST}": Schedule(
            steps=given.steps, phases=(Phase(from_step=0, inner_steps=LAST),)
        ),
        "whole run, default schedule": warmed_up(given.steps),
        "whole run, H warmed up over 2 %": warmed_up(given.steps, warm=given.steps // 50),
    }
    rows: list[dict[str, object]] = []
    for link in LINKS:
        parallel = max(pace, ring(count, link, sites=SITES, width=2))
        print(
            f"{link.name}: a step of data-parallel takes {parallel:.2f} s in bfloat16, "
            f"{max(pace, ring(count, link, sites=SITES, width=4)):.2f} s in float32"
        )
        for name, schedule in schedules.items():
            for fragments, overlap in ((1, 0), (FRAGMENTS, given.overlap)):
                run = Run(
                    schedule, codec, count, link, rates, pace=pace, fragments=fragments,
                    overlap=overlap, sites=SITES,
                )  # fmt: skip
                run.go()
                faster = parallel * given.steps / ratio / run.seconds
                way = f"{fragments} fragments, overlapped" if fragments > 1 else "no overlap"
                rows.append(
                    {"link": link.name, "schedule": name, "way": way, "faster": faster,
                     "utilisation": run.utilisation}
                )  # fmt: skip
                print(
                    f"= time to the same loss, 1B, {link.name}, {name}, {way}: {faster:.1f} times shorter "
                    f"than data-parallel ({ratio:.2f} times its steps), utilisation "
                    f"{run.utilisation:.1%} (data-parallel {pace / parallel:.1%}){_wanted(link, name)}",
                    flush=True,
                )
    if given.chart:
        draw(rows, given.chart)


def _wanted(link: Link, name: str) -> str:
    first = link is LINKS[0] and name.startswith("steady")
    return " (at least 50 and 95 % wanted)" if first else ""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="inner steps of the simulated run")
    parser.add_argument("--tokens", type=int, default=131072, help="of a site's step")
    parser.add_argument("--codec", choices=[c.name for c in Codec], default="INT4_DEFLATE")
    parser.add_argument(
        "--ratio", type=float, help="steps ours needs over data-parallel's (else: measured)"
    )
    parser.add_argument("--overlap", type=int, default=15, help="of fragments, in inner steps")
    parser.add_argument("--chart", type=Path, help="an SVG to draw")
    return parser.parse_args()


if __name__ == "__main__":
    main()
