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
    with connection.cursor() as cursor:  # by hand, because several processes may start at once
        cursor.execute("CREATE TABLE IF NOT EXISTS examples_counter (name text PRIMARY KEY, value integer NOT NULL)")
        cursor.execute("INSERT OR IGNORE INTO examples_counter VALUES ('visits', 0)")
    connection.close()
    settings.ROOT_URLCONF = tuple(urlpatterns)
    return get_wsgi_application()
