"""The cast of the demo: three countries, a site in each, one project, and who may do what."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ayni
from ayni.demo.stage import SiteSpec
from ayni.errors import UserError

PROJECT = "atlas"
RESEARCHER = "lucia.quispe@unal.example"
OPERATOR = "pedro.huenchu@uchile.example"
DELEGATE = "xochitl.garcia@unam.example"

ALLIANCE: dict[str, Any] = {
    "members": [
        {"code": "CL", "name": "Chile"},
        {"code": "MX", "name": "México"},
        {"code": "CO", "name": "Colombia"},
    ],
    "institutions": [
        {"name": "Centro de Supercómputo de Santiago", "member": "CL"},
        {"name": "Centro de Supercómputo de México", "member": "MX"},
        {"name": "Centro de Supercómputo de Bogotá", "member": "CO"},
    ],
    "people": [
        {
            "email": RESEARCHER,
            "name": "Lucía Quispe",
            "institution": "Centro de Supercómputo de Bogotá",
        },
        {
            "email": OPERATOR,
            "name": "Pedro Huenchu",
            "institution": "Centro de Supercómputo de Santiago",
        },
        {
            "email": DELEGATE,
            "name": "Xóchitl García",
            "institution": "Centro de Supercómputo de México",
        },
    ],
    "projects": [
        {
            "name": PROJECT,
            "title": "Atlas de las lenguas de América",
            "institution": "Centro de Supercómputo de Bogotá",
            "people": [RESEARCHER, OPERATOR, DELEGATE],
        }
    ],
    "tokens": [
        {"label": "researcher", "person": RESEARCHER, "project": PROJECT},
        {
            "label": "operator",
            "person": OPERATOR,
            "project": PROJECT,
            "scopes": ["tasks:read", "tasks:write", "store:read"],
        },
        {
            "label": "delegate",
            "person": DELEGATE,
            "project": PROJECT,
            "scopes": ["tasks:read", "store:read"],
        },
    ],
}

#: Which country's site is which, and which of the atlas's members' data it holds.
SITE_OF = {"CL": "santiago", "MX": "mexico", "CO": "bogota"}
COUNTRY = {"CL": "Chile", "MX": "México", "CO": "Colombia"}
HOME = {site: COUNTRY[member] for member, site in SITE_OF.items()}
VICTIM = "mexico"  # the site that is killed while the atlas is made


def images() -> dict[str, dict[str, Any]]:
    """`host` and its aliases, and `python`: this interpreter, mounted read-only into the sandbox."""
    prefixes = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    prefixes.add(Path(ayni.__file__).resolve().parent.parent)
    outermost = [p for p in sorted(prefixes) if not any(o in p.parents for o in prefixes)]
    return {
        "host": {"runtime": "host"},
        "alpine": {"alias": "host"},
        "ubuntu:20.04": {"alias": "host"},
        "python": {
            "runtime": "host",
            "prefixes": [str(p) for p in outermost if not p.is_relative_to("/usr")],
            "path": [str(Path(sys.prefix) / "bin")],
            "env": {"PYTHONPATH": str(Path(ayni.__file__).resolve().parent.parent)},
        },
    }


def clusters(path: Path) -> dict[str, dict[str, Any]]:
    """For each site its Slurm cluster, from the file that `make slurm-up` leaves.

    Raises:
        UserError: there is no such file, or a site has no cluster in it.
    """
    try:
        found = json.loads(path.read_text())["clusters"]
        return {
            site: {"conf": found[site]["conf"], "partitions": ["main"]} for site in SITE_OF.values()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--slurm: {path} does not describe the three clusters ({error!r}); start them with "
            "'make slurm-up', as root"
        ) from error


def sites(
    cores: int | None = None, slurm: Mapping[str, Mapping[str, Any]] | None = None
) -> list[SiteSpec]:
    """Three sites that share this machine's cores between them.

    Args:
        cores: of each site.
        slurm: for each site, the Slurm cluster that runs its tasks.
    """
    return [replace(site, slurm=(slurm or {}).get(site.name, {})) for site in _sites(cores)]


def _sites(cores: int | None) -> list[SiteSpec]:
    each = cores or max(1, (os.cpu_count() or 2) // 2)
    common: dict[str, Any] = {"images": images(), "allow_unsandboxed": True, "cores": each}
    return [
        SiteSpec(
            "santiago",
            "Supercómputo Santiago",
            "CL",
            "Centro de Supercómputo de Santiago",
            -33.45,
            -70.66,
            policy={"max_walltime": "2h", "max_cores": 4, "timezone": "America/Santiago"},
            **common,
        ),
        SiteSpec(
            "mexico",
            "Supercómputo México",
            "MX",
            "Centro de Supercómputo de México",
            19.43,
            -99.13,
            policy={
                "max_walltime": "12h",
                "max_cores": 8,
                "network": True,
                "timezone": "America/Mexico_City",
            },
            **common,
        ),
        SiteSpec(
            "bogota",
            "Supercómputo Bogotá",
            "CO",
            "Centro de Supercómputo de Bogotá",
            4.71,
            -74.07,
            policy={
                "members": ["CL", "MX", "CO"],
                "max_walltime": "1h",
                "max_cores": 2,
                "timezone": "America/Bogota",
            },
            **common,
        ),
    ]
