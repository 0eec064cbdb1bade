"""The network, for everybody."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ayni.hub.portal import network_map, words
from ayni.hub.portal.overview import overview


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The whole page; for htmx only the sites and the exchange."""
    network = overview()
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "portal/parts/network.html", {"network": network})
    present = {site.state_key for site in network.sites}
    return render(
        request,
        "portal/home.html",
        {
            "section": "home",
            "network": network,
            "graticule": network_map.graticule(),
            "map_width": network_map.WIDTH,
            "map_height": network_map.height(),
            "legend": [label for key, label in words.SITE_STATES.items() if key in present],
        },
    )
