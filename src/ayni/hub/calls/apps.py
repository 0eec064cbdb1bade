from django.apps import AppConfig


class CallsConfig(AppConfig):
    name = "ayni.hub.calls"
    label = "calls"
    default_auto_field = "django.db.models.BigAutoField"
