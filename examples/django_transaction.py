"""Right with any number of processes: F() and the read stand in one transaction, locked from its start.

    gunicorn -w 2 --threads 4 django_transaction:application

The lock is `transaction_mode: IMMEDIATE` on SQLite; on PostgreSQL and MySQL the UPDATE itself locks the row.
"""

from django.db import transaction
from django.db.models import F
from django.http import JsonResponse
from django.urls import path
from django_project import Counter, serve


@transaction.atomic
def count(request):
    Counter.objects.filter(name="visits").update(value=F("value") + 1)
    return JsonResponse({"number": Counter.objects.get(name="visits").value})


application = serve(path("visits", count))
