"""Wrong: the row is read, changed in Python and saved, so two requests save the same number.

gunicorn --threads 8 django_save:application
"""

from django.http import JsonResponse
from django.urls import path
from django_project import Counter, serve


def count(request):
    visits = Counter.objects.get(name="visits")
    visits.value += 1
    visits.save()
    return JsonResponse({"number": visits.value})


application = serve(path("visits", count))
