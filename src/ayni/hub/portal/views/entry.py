"""Signing in with a token, and out."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from ayni.hub.http import ProblemError
from ayni.hub.portal import session


@never_cache
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    wanted = _inside(request, request.POST.get("next") or request.GET.get("next", ""))
    if request.method != "POST":
        if session.current(request):
            return redirect(wanted)
        return _form(request, wanted)
    if session.too_many_failures(request):
        error = gettext("Demasiados intentos fallidos desde esta dirección. Espera diez minutos.")
        return _form(request, wanted, error, 429)
    try:
        session.sign_in(request, request.POST.get("token", "").strip())
    except ProblemError as problem:
        session.count_failure(request)
        return _form(request, wanted, _explain(problem), 403)
    return redirect(wanted)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    session.sign_out(request)
    messages.success(request, gettext("Saliste. Hasta pronto."))
    return redirect("portal:home")


def _form(request: HttpRequest, wanted: str, error: str = "", status: int = 200) -> HttpResponse:
    return render(request, "portal/sign_in.html", {"error": error, "next": wanted}, status=status)


def _inside(request: HttpRequest, address: str) -> str:
    """The address if it is one of our own, else the list of tasks."""
    ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if ours and address.startswith("/") else "/tareas"


def _explain(problem: ProblemError) -> str:
    """Why the token was not taken, in the reader's language."""
    known = {
        "Not signed in": gettext(
            "Este token no sirve: no existe, venció o fue revocado. Crea uno nuevo o pídelo a "
            "quien dirige tu proyecto."
        ),
        "Wrong kind of token": gettext(
            "Este token es de un sitio o no tiene proyecto. Para entrar hace falta el de una "
            "persona en un proyecto."
        ),
        "Not in the project": gettext("Ya no formas parte del proyecto de este token."),
        "Banned": gettext(
            "La persona o el proyecto de este token están excluidos de la red por ahora. Escribe a "
            "la coordinación de la alianza."
        ),
    }
    return known.get(problem.title, problem.detail)
