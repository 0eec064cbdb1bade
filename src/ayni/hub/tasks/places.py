"""Where a task's inputs lie and its outputs go: every URL of a task is judged here.

A task may read its own project's files, the sites' datasets, and https URLs; it may write to its own
project and to https URLs (presigned ones, at least once). What is read, and the volumes that it mounts,
decide where it may run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ayni.hub.calls.models import Project
from ayni.hub.catalogue import volumes
from ayni.hub.catalogue.models import Dataset, Volume
from ayni.hub.http import field_problem
from ayni.hub.network.bulk import marks, parts, select
from ayni.hub.network.models import Site
from ayni.protocol import release
from ayni.tes import urls
from ayni.tes.models import FileType, Input, Output
from ayni.tes.urls import SCHEME, AyniUrl, UrlError
from ayni.tes.volumes import Mount

RESERVED = ".ayni"  # of every project: the hub keeps logs there
_SIZE = "SELECT COALESCE(SUM(size), 0) FROM store_file WHERE project_id = %s AND {where}"
HUB = ""  # in a group's `data`: the hub itself


@dataclass(frozen=True, slots=True)
class Ref:
    """One thing that a task reads: a dataset of a site, project files at the hub, or a web host."""

    site: str = ""
    dataset: str = ""
    host: str = ""
    size: int = 0  # bytes, where known
    rule: release.Rule = release.FREE  # what may leave who reads it


@dataclass(frozen=True, slots=True)
class Place:
    """What the broker must know of a task's inputs."""

    sites: tuple[str, ...] | None = None  # where it may run; None: anywhere
    data: tuple[tuple[str, int], ...] = ()  # bytes to read, by site; HUB is the hub
    datasets: tuple[tuple[str, str], ...] = ()  # (site, name)
    https_hosts: tuple[str, ...] = ()


class Resolver:
    """Judges the URLs of one project's tasks; looks everything up once.

    Args:
        pin: the site that the tasks ask for by name, if they do.
        outputs: how many outputs each has.
        network: whether they ask for it.
        nodes: over how many each runs.
        sends: the channels that they may send by, as PROJECT/CHANNEL.
        mounts: the volumes of each.
    """

    def __init__(
        self,
        project: Project,
        pin: str | None,
        *,
        outputs: int,
        network: bool,
        nodes: int = 1,
        sends: Sequence[str] = (),
        mounts: Sequence[Mount] = (),
    ) -> None:
        self.project = project
        self.pin = pin
        self._outputs = outputs
        self._network = network
        self._nodes = nodes
        self._sends = sends
        self._volumes = Volumes(project, mounts)
        self._datasets: dict[tuple[str, str], Ref] = {}
        self._places: dict[tuple[Ref, ...], Place] = {}

    # --- inputs ---------------------------------------------------------------------------

    def inputs(self, inputs: Sequence[Input], *, sized: bool = True) -> list[Ref]:
        """What these inputs read.

        Raises:
            ProblemError: 400 that names the field.
        """
        refs: list[Ref] = []
        files: list[tuple[AyniUrl, FileType]] = []
        paths: dict[str, int] = {}
        for number, one in enumerate(inputs):
            if paths.setdefault(one.path, number) != number:
                raise field_problem(
                    f"inputs[{number}].path", f"is also that of inputs[{paths[one.path]}]"
                )
            if one.content is not None or one.url is None:
                continue
            ref, own = self.ref(one.url, f"inputs[{number}].url")
            refs.append(ref)
            if own is not None:
                files.append((own, one.type))
        if files and sized:
            refs.append(Ref(size=self._size(files)))
        return list(dict.fromkeys(refs))

    def ref(self, url: str, field: str) -> tuple[Ref, AyniUrl | None]:
        """What an input's URL refers to, and, if it is the project's own file, which."""
        if not url.startswith(SCHEME):
            return Ref(host=https_host(url, field)), None
        try:
            parsed = urls.parse(url)
        except UrlError as error:
            raise field_problem(field, str(error)) from error
        if parsed.owner == self.project.name:
            return Ref(), parsed
        key = parsed.owner, parsed.dataset
        if key not in self._datasets:
            self._datasets[key] = self._dataset(*key, field)
        return self._datasets[key], None

    def _dataset(self, owner: str, name: str, field: str) -> Ref:
        card = Dataset.objects.filter(site__name=owner, name=name, present=True).first()
        if card is not None:
            return Ref(site=owner, dataset=name, size=card.size, rule=release.rule_of(card))
        if Site.objects.filter(name=owner).exists():
            raise field_problem(field, f"site {owner} has no dataset {name!r}; see 'ayni datasets'")
        raise field_problem(
            field, f"{owner!r} is neither your project ({self.project.name}) nor a site"
        )

    def _size(self, files: Iterable[tuple[AyniUrl, FileType]]) -> int:
        """Bytes of the project's files as they are now; what is not there yet counts nothing."""
        total = 0
        single = [url.path for url, kind in files if kind is FileType.FILE]
        for part in parts(single):
            where = f"path IN ({marks(part)})"
            total += select(_SIZE.format(where=where), [self.project.pk, *part])[0][0]
        for url, kind in files:
            if kind is FileType.DIRECTORY:
                # '0' follows '/', so this range is what lies beneath the folder
                bounds = [f"{url.path}/", f"{url.path}0"]
                where = "path >= %s AND path < %s"
                total += select(_SIZE.format(where=where), [self.project.pk, *bounds])[0][0]
        return total

    # --- outputs --------------------------------------------------------------------------

    def outputs(self, outputs: Sequence[Output]) -> None:
        """Refuse outputs that the task may not write.

        Raises:
            ProblemError: 400 that names the field.
        """
        for number, one in enumerate(outputs):
            field = f"outputs[{number}].url"
            if not one.url.startswith(SCHEME):
                https_host(one.url, field)
                continue
            try:
                url = urls.parse(one.url)
            except UrlError as error:
                raise field_problem(field, str(error)) from error
            if url.owner != self.project.name:
                raise field_problem(
                    field, f"may only be in your own project: {SCHEME}{self.project.name}/…"
                )
            if url.path.partition("/")[0] == RESERVED:
                raise field_problem(field, f"{RESERVED}/ is the hub's own; write elsewhere")
            if not url.path and one.type is FileType.FILE and not one.has_wildcards:
                raise field_problem(field, "names no file; write ayni://PROJECT/path")

    # --- together -------------------------------------------------------------------------

    def place(self, refs: Iterable[Ref]) -> Place:
        """Where a task that reads these may run, and what has to move.

        Raises:
            ProblemError: 400, there can be no such site, today or later.
        """
        key = tuple(refs)
        if key not in self._places:
            place = self._volumes.at(_place(key), self.pin)
            self._check_release(key, self.pin or (place.sites or ("",))[0])
            if self.pin is not None and place.sites is not None and self.pin not in place.sites:
                raise field_problem(
                    "resources.backend_parameters.site",
                    f"is {self.pin}, but inputs read data that stays at {', '.join(place.sites)}; "
                    "leave the site out, and the task goes to its data",
                )
            self._places[key] = place
        return self._places[key]

    def _check_release(self, refs: Iterable[Ref], site: str) -> None:
        """Refuse what the datasets' cards forbid: the site would, after the task has waited for it."""
        rule = release.strictest([*(ref.rule for ref in refs), *self._volumes.rules(site)])
        if no := release.forbidden(
            rule,
            outputs=self._outputs,
            network=self._network,
            nodes=self._nodes,
            sends=self._sends,
        ):
            raise field_problem(no.field, no.message)


class Volumes:
    """The volumes that the tasks of one request mount, and where their project has them."""

    def __init__(self, project: Project, mounts: Sequence[Mount]) -> None:
        self._mounts = mounts
        self._there: list[Volume] = []
        if mounts:
            names = [mount.name for mount in mounts]
            rows = Volume.objects.filter(project=project, name__in=names, remove=False)
            self._there = list(rows.select_related("site"))

    def at(self, place: Place, pin: str | None) -> Place:
        """The place with the site to which the volumes tie the tasks.

        Raises:
            ProblemError: 400, it cannot be told which one.
        """
        if not self._mounts or pin is not None or place.sites is not None:
            return place
        sites = sorted({volume.site.name for volume in self._there})
        names = ", ".join(mount.name for mount in self._mounts)
        if len(sites) != 1:
            where = f"is at {', '.join(sites)}" if sites else "is at no site yet"
            raise field_problem(
                "resources.backend_parameters.volume",
                f"{names} {where}: say at which site it is to be (site)",
            )
        return replace(place, sites=tuple(sites))

    def rules(self, site: str) -> list[release.Rule]:
        """What may leave tasks there, by what the volumes hold."""
        return [volumes.rule_of(v) for v in self._there if v.site.name == site]


def _place(refs: tuple[Ref, ...]) -> Place:
    sites = sorted({ref.site for ref in refs if ref.site})
    if len(sites) > 1:
        raise field_problem(
            "inputs", f"read data of {', '.join(sites)}: no site holds both; make a task for each"
        )
    data: dict[str, int] = {}
    for ref in refs:
        if ref.size:
            data[ref.site or HUB] = data.get(ref.site or HUB, 0) + ref.size
    return Place(
        sites=tuple(sites) or None,
        data=tuple(sorted((k, n) for k, v in data.items() if (n := _rounded(v)))),
        datasets=tuple(sorted({(ref.site, ref.dataset) for ref in refs if ref.dataset})),
        https_hosts=tuple(sorted({ref.host for ref in refs if ref.host})),
    )


def _rounded(size: int) -> int:
    """Up to a power of four, nothing below 1 MiB: so that like tasks share a group."""
    if size < 1 << 20:
        return 0
    bits = (size - 1).bit_length()
    return min(1 << (bits + bits % 2), 1 << 62)


def https_host(url: str, field: str) -> str:
    """The host of an https URL.

    Raises:
        ProblemError: 400, it is something else.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise field_problem(field, f"is no URL: {error}") from error
    if parts.scheme != "https":
        raise field_problem(
            field, f"must be ayni:// or https:// (for S3 a presigned URL), not {url[:80]!r}"
        )
    if not host or not host.isascii() or any(c.isspace() for c in url):
        raise field_problem(field, "names no host; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise field_problem(field, "must not hold a user or password; use a presigned URL")
    return host
