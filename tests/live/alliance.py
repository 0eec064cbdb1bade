"""Who is in the live tests' network: three countries with a site each, one project, one researcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ayni.demo.stage import SiteSpec

SNAKEMAKE = Path(__file__).parents[2] / ".venv-snakemake"  # made by dev/snakemake.sh
PROJECT = "maize"
SITES = (("cl", "CL", -33.45, -70.66), ("mx", "MX", 19.43, -99.13), ("co", "CO", 4.71, -74.07))
NETWORKED = "mx"  # the one site whose tasks may have the network

ALLIANCE: dict[str, Any] = {
    "members": [{"code": code, "name": code} for _, code, _, _ in SITES],
    "institutions": [{"name": f"Centro {code}", "member": code} for _, code, _, _ in SITES],
    "people": [{"email": "ana@example.org", "name": "Ana Rojas", "institution": "Centro CO"}],
    "projects": [
        {
            "name": PROJECT,
            "title": "Maize of the Andes",
            "institution": "Centro CO",
            "people": ["ana@example.org"],
        }
    ],
    "tokens": [{"label": "researcher", "person": "ana@example.org", "project": PROJECT}],
}


def snakemake_image() -> dict[str, Any]:
    """Snakemake as an operator offers it: a software tree and its interpreter, read-only.

    Its jobs install their storage plugin with pip before they start. They find it in the tree's own
    `wheels`, its dependencies in the tree: nothing is fetched from anywhere.
    """
    interpreter = (SNAKEMAKE / "bin" / "python").resolve()
    prefixes = [SNAKEMAKE, interpreter.parents[1]]
    return {
        "runtime": "host",
        "prefixes": [str(prefix) for prefix in prefixes if not prefix.is_relative_to("/usr")],
        "path": [str(SNAKEMAKE / "bin")],
        "network": True,  # the plugin has no way to ask for it
        "env": {
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_FIND_LINKS": str(SNAKEMAKE / "wheels"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
    }


def sites() -> list[SiteSpec]:
    found = []
    for name, code, latitude, longitude in SITES:
        images = {"host": {"runtime": "host"}, "alpine": {"alias": "host"}}
        if name == NETWORKED and SNAKEMAKE.exists():
            images["snakemake"] = snakemake_image()
        found.append(
            SiteSpec(
                name, f"Centro {code}", code, f"Centro {code}", latitude, longitude,
                cores=max(2, os.cpu_count() or 2), memory="8GiB", images=images,
                policy={"network": name == NETWORKED}, allow_unsandboxed=True,
            )
        )  # fmt: skip
    return found
