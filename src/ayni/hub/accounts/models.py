"""People and what they belong to; tokens, of which only a SHA-256 is kept."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.utils.translation import gettext_lazy as _


class Member(models.Model):
    """A country in the alliance."""

    code = models.CharField(_("código"), max_length=2, primary_key=True)  # ISO 3166-1 alpha-2
    name = models.CharField(_("nombre"), max_length=100)

    def __str__(self) -> str:
        return self.name


class Institution(models.Model):
    """A university, centre or ministry of a member."""

    name = models.CharField(_("nombre"), max_length=200, unique=True)
    ror = models.CharField("ROR", max_length=64, blank=True)
    member = models.ForeignKey(Member, on_delete=models.PROTECT, related_name="institutions")

    def __str__(self) -> str:
        return self.name


class PersonManager(BaseUserManager["Person"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Person:
        person = self.model(email=self.normalize_email(email).lower(), **fields)
        person.set_password(password)  # None makes it unusable: sign-in by provider or token only
        person.save(using=self._db)
        return person

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> Person:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class Person(AbstractBaseUser, PermissionsMixin):
    """Somebody with an account."""

    email = models.EmailField(_("correo"), unique=True)
    name = models.CharField(_("nombre"), max_length=200)
    orcid = models.CharField("ORCID", max_length=19, blank=True)
    institution = models.ForeignKey(
        Institution, on_delete=models.PROTECT, null=True, blank=True, related_name="people"
    )
    language = models.CharField(_("idioma"), max_length=8, default="es")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    banned_at = models.DateTimeField(null=True, blank=True)
    banned_why = models.CharField(max_length=500, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]
    objects = PersonManager()

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Token(models.Model):
    """A random secret that stands for one person in one project, or for a site."""

    digest = models.CharField(max_length=64, unique=True)  # SHA-256 of the secret, hex
    label = models.CharField(max_length=100, blank=True)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="tokens")
    project = models.ForeignKey(
        "calls.Project", on_delete=models.CASCADE, null=True, related_name="tokens"
    )
    site = models.ForeignKey(
        "network.Site", on_delete=models.CASCADE, null=True, related_name="tokens"
    )
    scopes = models.CharField(
        max_length=200, default="tasks:read tasks:write store:read store:write"
    )
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField()
    revoked = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="token_person_in_project_or_site",
                condition=models.Q(person__isnull=False, project__isnull=False, site__isnull=True)
                | models.Q(person__isnull=True, project__isnull=True, site__isnull=False)
                | models.Q(person__isnull=False, project__isnull=True, site__isnull=True),
            )
        ]
