from django.http import HttpResponse
from django.urls import path


def item(request, **values):
    return HttpResponse(str(values))


urlpatterns = [
    path("", item),
    path("<int:year>/<slug:name>/", item),
]
