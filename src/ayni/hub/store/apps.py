from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "ayni.hub.store"
    label = "store"
    default_auto_field = "django.db.models.BigAutoField"
