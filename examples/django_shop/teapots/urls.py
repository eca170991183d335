from django.contrib import admin
from django.urls import path

from .views import check_out, webhook

urlpatterns = [path("checkout", check_out), path("webhook", webhook), path("admin/", admin.site.urls)]
