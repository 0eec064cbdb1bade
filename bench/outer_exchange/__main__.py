"""`python -m bench.outer_exchange`: see `bench.outer_exchange`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from ayni.lm.outer.codec import Codec
from bench.outer_exchange import __doc__ as told
from bench.outer_exchange import flower
from bench.outer_exchange.ours import Exchange, World

BESIDE = (Codec.FLOAT32, Codec.INT8, Codec.INT4)
WANTED = {Codec.FLOAT32: 2}  # times as fast as Flower; 5 with an encoding of ours


def main() -> None:
    given = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="ayni-exchange-", dir=given.folder))
    try:
        theirs = None
        if given.values and flower.VENV.exists():
            theirs = flower.exchange(folder, given.values)
            print(theirs.line, flush=True)
        elif given.values:
            print("no Flower beside it: dev/peers.sh makes its environment", file=sys.stderr)
        world = World(folder)
        try:
            for codec in BESIDE if given.values else ():
                found = _one(world, given.values, codec)
                if theirs is not None:
                    print(_beside(theirs, found, codec), flush=True)
            if given.large:
                _large(_one(world, given.large, Codec[given.codec]))
        finally:
            world.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one(world: World, values: int, codec: Codec) -> Exchange:
    found = world.exchange(values, codec)
    print(found.line, flush=True)
    world.forget(values, codec)
    return found


def _beside(theirs: flower.Round, found: Exchange, codec: Codec) -> str:
    return (
        f"= exchange of {found.values / 1e6:.0f}M values between 3 sites, Flower {theirs.version} over ours "
        f"in {codec.name}: {theirs.seconds:.1f} s / {found.held:.1f} s = "
        f"{theirs.seconds / found.held:.1f}, of processors {theirs.busy:.1f} s / {found.busy:.1f} s = "
        f"{theirs.busy / found.busy:.1f} (at least {WANTED.get(codec, 5)} wanted)"
    )


def _large(found: Exchange) -> None:
    print(
        f"= exchange of {found.values / 1e6:.0f}M values between 3 sites, {found.codec}: {found.held:.0f} s; "
        f"the coordinator's memory {found.peaks['coordinator']:.0f} MiB at its peak (under 2,048 wanted)",
        flush=True,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--values", type=int, default=100_000_000, help="beside Flower; 0: not")
    parser.add_argument("--large", type=int, default=1_000_000_000, help="ours alone; 0: not")
    parser.add_argument(
        "--codec", choices=[c.name for c in Codec], default="INT8", help="of the large"
    )
    parser.add_argument("--folder", type=Path, help="where to work; 25 GB for a billion values")
    return parser.parse_args()


if __name__ == "__main__":
    main()
