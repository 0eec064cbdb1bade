"""A real hub in a temporary folder, for the benchmarks that speak HTTP to it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hub:
    host: str
    port: int
    token: str
    project: int
    person: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


@contextmanager
def state() -> Iterator[Path]:
    """A fresh state folder with a database; Django is set up for it in this process."""
    folder = Path(tempfile.mkdtemp(prefix="ayni-bench-"))
    os.environ["AYNI_HUB_STATE"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "ayni.hub.settings"
    os.environ.setdefault("AYNI_LOG_LEVEL", "WARNING")
    try:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def people(name: str = "bench") -> tuple[str, int, int]:
    """A token, its project and its person."""
    from ayni.hub.accounts.models import Institution, Member, Person
    from ayni.hub.accounts.tokens import issue_person_token
    from ayni.hub.calls.models import Membership, Project

    member, _ = Member.objects.get_or_create(code="CL", defaults={"name": "Chile"})
    at, _ = Institution.objects.get_or_create(name="Universidad", member=member)
    person = Person.objects.create_user(f"{name}@example.org", name=name, institution=at)
    project = Project.objects.create(name=name, title=name, institution=at)
    Membership.objects.create(person=person, project=project)
    return issue_person_token(person, project), project.pk, person.pk


@contextmanager
def serving(token: str, project: int, person: int) -> Iterator[Hub]:
    """The hub's own processes, serving the state folder of this process."""
    port, files = free_port(), free_port()
    command = [sys.executable, "-m", "ayni", "hub", "run"]
    process = subprocess.Popen([*command, "--port", str(port), "--files-port", str(files)])
    try:
        hub = Hub("127.0.0.1", port, token, project, person)
        _wait(hub, process)
        yield hub
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(hub: Hub, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the hub ended with {process.returncode}")
        try:
            connection = hub.connect()
            connection.request("GET", "/ga4gh/tes/v1/service-info")
            connection.getresponse().read()
            connection.close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the hub does not answer")
