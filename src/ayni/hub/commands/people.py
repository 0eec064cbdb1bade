"""`ayni hub member|institution|person|project|token …`."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from ayni.errors import UserError
from ayni.hub.commands.frame import Json, django, emit, find, table

Member = Annotated[str, typer.Option(help="ISO 3166 code of the country, as CL.")]
Institution = Annotated[str, typer.Option(help="Name of the institution.")]
Email = Annotated[str, typer.Argument(help="The person's e-mail address.")]
Project = Annotated[str, typer.Option(help="Name of the project.")]
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def register(app: typer.Typer) -> None:
    groups: tuple[tuple[str, str, tuple[tuple[str, Any, str], ...]], ...] = (
        ("member", "Countries of the alliance.", (
            ("add", member_add, "ayni hub member add CL Chile"),)),
        ("institution", "Universities, centres, ministries.", (
            ("add", institution_add, 'ayni hub institution add "Universidad de Chile" --member CL'),)),
        ("person", "People with an account.", (
            ("add", person_add,
             'ayni hub person add ana@uchile.cl "Ana Rojas" --institution "Universidad de Chile"'),)),
        ("project", "People working on one thing.", (
            ("add", project_add,
             'ayni hub project add clima "Clima austral" --institution "Universidad de Chile"'),
            ("join", project_join, "ayni hub project join clima ana@uchile.cl"))),
        ("token", "Tokens of people in projects.", (
            ("issue", token_issue, "ayni hub token issue ana@uchile.cl --project clima --days 30"),
            ("ls", token_ls, "ayni hub token ls --project clima"),
            ("revoke", token_revoke, "ayni hub token revoke 7"))),
    )  # fmt: skip
    for name, words, commands in groups:
        group = typer.Typer(help=words, no_args_is_help=True)
        for command, function, example in commands:
            group.command(command, epilog=f"Example:\n\n  {example}")(function)
        app.add_typer(group, name=name)


def member_add(
    code: Annotated[str, typer.Argument(help="ISO 3166 code, as CL.")],
    name: Annotated[str, typer.Argument(help="Name of the country.")],
    json_: Json = False,
) -> None:
    """Take a country into the alliance."""
    if not re.fullmatch(r"[A-Z]{2}", code):
        raise UserError(f"{code!r} is no country code; write two capital letters, as CL")
    django()
    from ayni.hub.accounts.models import Member as Row

    Row.objects.update_or_create(code=code, defaults={"name": _text(name, "name", 100)})
    emit({"code": code, "name": name}, json_, f"{name} ({code}) is a member")


def institution_add(
    name: Annotated[str, typer.Argument(help='In full, as "Universidad de Chile".')],
    member: Member,
    ror: Annotated[str, typer.Option(help="ROR identifier.")] = "",
    json_: Json = False,
) -> None:
    """Add an institution of a member."""
    django()
    from ayni.hub.accounts.models import Institution as Row
    from ayni.hub.accounts.models import Member as MemberRow

    of = find(MemberRow, "member", "add it with 'ayni hub member add'", code=member)
    Row.objects.update_or_create(
        name=_text(name, "name", 200), defaults={"member": of, "ror": _text(ror, "ror", 64)}
    )
    emit({"name": name, "member": member}, json_, f"{name} belongs to {of.name}")


def person_add(
    email: Email,
    name: Annotated[str, typer.Argument(help="In full.")],
    institution: Institution,
    orcid: Annotated[str, typer.Option(help="ORCID identifier.")] = "",
    json_: Json = False,
) -> None:
    """Give somebody an account. They sign in by token until sign-in by provider is set up."""
    if not _EMAIL.fullmatch(email):
        raise UserError(f"{email!r} is no e-mail address")
    django()
    from ayni.hub.accounts.models import Person as Row

    if Row.objects.filter(email=email.lower()).exists():
        raise UserError(f"{email} has an account already")
    Row.objects.create_user(
        _text(email, "email", 254),
        name=_text(name, "name", 200),
        institution=_institution(institution),
        orcid=_text(orcid, "orcid", 19),
    )
    emit({"email": email.lower(), "name": name}, json_, f"{name} <{email}> has an account")


def project_add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and '-'.")],
    title: Annotated[str, typer.Argument(help="For people.")],
    institution: Institution,
    weight: Annotated[
        float, typer.Option(min=0.001, help="Its share in the broker's order.")
    ] = 1.0,
    quota: Annotated[int | None, typer.Option(min=0, help="Bytes of files at the hub.")] = None,
    json_: Json = False,
) -> None:
    """Add a project."""
    django()
    from ayni.hub.calls.models import Project as Row
    from ayni.hub.names import check_name
    from ayni.hub.network.models import Site

    check_name(name, Row, Site)
    fields: dict[str, Any] = {"title": _text(title, "title", 200), "weight": weight}
    if quota is not None:
        fields["quota"] = quota
    Row.objects.create(name=name, institution=_institution(institution), **fields)
    emit({"name": name, "title": title}, json_, f"project {name} is there; add people to it")


def project_join(
    project: Annotated[str, typer.Argument(help="Name of the project.")],
    email: Email,
    json_: Json = False,
) -> None:
    """Put a person into a project."""
    django()
    from ayni.hub.calls.models import Membership

    row, person = _project(project), _person(email)
    Membership.objects.get_or_create(project=row, person=person)
    emit({"project": project, "person": email}, json_, f"{email} is in {project}")


def token_issue(
    email: Email,
    project: Project,
    days: Annotated[float, typer.Option(min=0.01, help="Days that it is valid.")] = 90,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do; repeat. Default: everything.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    json_: Json = False,
) -> None:
    """Issue a token for a person in a project. Its secret is shown now and never again."""
    django()
    from ayni.hub.accounts.tokens import SCOPES, issue_person_token

    secret = issue_person_token(
        _person(email), _project(project), scope or SCOPES, days, _text(label, "label", 100)
    )
    emit({"token": secret, "project": project, "person": email}, json_, secret)


def token_ls(
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    json_: Json = False,
) -> None:
    """List tokens, not their secrets: those are not kept."""
    django()
    from ayni.hub.accounts.models import Token

    rows = Token.objects.select_related("person", "project", "site").order_by("id")
    if project is not None:
        rows = rows.filter(project=_project(project))
    table(
        [
            {
                "id": t.pk,
                "of": t.person.email if t.person else f"site {t.site.name}" if t.site else "",
                "project": t.project.name if t.project else "",
                "label": t.label,
                "scopes": t.scopes,
                "expires": f"{t.expires:%Y-%m-%d}",
                "revoked": f"{t.revoked:%Y-%m-%d}" if t.revoked else "",
            }
            for t in rows
        ],
        json_,
        "tokens",
        "there are no tokens",
    )


def token_revoke(
    id: Annotated[int, typer.Argument(help="As 'ayni hub token ls' shows it.")], json_: Json = False
) -> None:
    """Make a token invalid, at once."""
    django()
    from django.utils import timezone

    from ayni.hub.accounts.models import Token

    token = find(Token, "token", "see 'ayni hub token ls'", pk=id)
    if token.revoked is None:
        token.revoked = timezone.now()
        token.save(update_fields=["revoked"])
    emit({"id": id, "revoked": token.revoked}, json_, f"token {id} is revoked")


# --- shared with the other commands -----------------------------------------------------------


def _text(value: str, field: str, limit: int) -> str:
    if len(value) > limit or "\x00" in value:
        raise UserError(f"{field}: must have at most {limit} characters, none of them NUL")
    return value


def _institution(name: str) -> Any:
    from ayni.hub.accounts.models import Institution as Row

    return find(Row, "institution", "add it with 'ayni hub institution add'", name=name)


def _project(name: str) -> Any:
    from ayni.hub.calls.models import Project as Row

    return find(Row, "project", "add it with 'ayni hub project add'", name=name)


def _person(email: str) -> Any:
    from ayni.hub.accounts.models import Person as Row

    return find(Row, "person", "add them with 'ayni hub person add'", email=email.lower())
