"""The WSGI application, and its front, which Granian serves. Within `ayni hub run` its process holds
the broker too.
"""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ayni.hub.settings")
application = get_wsgi_application()

if os.environ.get("AYNI_HUB_BROKER"):
    from ayni.hub.front import Front
    from ayni.hub.network.loop import Loop
    from ayni.hub.serve import THREADS, die_with_parent

    front = Front(application, int(os.environ[THREADS]))
    die_with_parent()
    Loop().start()
