"""Wrong although F() loses no update: the row is read again afterwards, and by then it may hold another's number.

gunicorn --threads 8 django_f:application
"""

from django.db.models import F
from django.http import JsonResponse
from django.urls import path
from django_project import Counter, serve


def count(request):
    visits = Counter.objects.get(name="visits")
    visits.value = F("value") + 1
    visits.save()
    visits.refresh_from_db()
    return JsonResponse({"number": visits.value})


application = serve(path("visits", count))
