"""What the Django examples share: a project in one file, with one table in SQLite."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, models

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="urls_are_given_below",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "django.sqlite3",
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
)
django.setup()


class Counter(models.Model):
    name = models.CharField(primary_key=True, max_length=64)
    value = models.IntegerField(default=0)

    class Meta:
        app_label = "examples"


def serve(*urlpatterns):
    """Make the table and its one row, and return the application."""
    if Counter._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Counter)
    Counter.objects.get_or_create(name="visits")
    connection.close()
    settings.ROOT_URLCONF = tuple(urlpatterns)
    return get_wsgi_application()
