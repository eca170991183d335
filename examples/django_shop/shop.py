"""A shop with Django: its models and the orders in one database, in one transaction, with tick boxes in the admin.

    python examples/django_shop/shop.py

The app is in the folder `teapots`. This script has its settings, in a temporary database of SQLite. It plays a
customer, a gateway and the owner, and prints the answers.

Needs Django 5.1 or newer: pip install '.[examples]' in the checkout
"""

import hashlib
import hmac
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from order_fsm import Message

try:
    import django
    from django.conf import settings
    from django.core.management import call_command
except ModuleNotFoundError as error:
    sys.stderr.write(f"shop.py: error: {error.name} is missing: pip install '.[examples]' in the checkout\n")
    sys.exit(2)

SECRET = "a secret"  # noqa: S105 - a shop reads it from its environment


def configure(database: Path) -> None:
    """Do what the settings of a project do."""
    context = ("django.contrib.auth", "django.contrib.messages")
    processors = [f"{name}.context_processors.{name.rpartition('.')[2]}" for name in context]
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                # Without it, a transaction that reads and then writes may be lost to another writer.
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        INSTALLED_APPS=[
            *(f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages", "sessions")),
            "teapots",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request", *processors]},
            }
        ],
        ROOT_URLCONF="teapots.urls",
        SECRET_KEY=SECRET,
        WEBHOOK_SECRET=SECRET,
        ALLOWED_HOSTS=["testserver"],
        STATIC_URL="static/",
    )
    django.setup()


def paid(order_id: str) -> dict[str, Any]:
    """Return a request of the gateway, which reports a payment."""
    data = {"order_id": order_id, "reference": f"ch_{order_id}", "amount": "24.95", "currency": "GBP"}
    body = json.dumps({"id": f"evt_{order_id}", "type": "payment.captured", "data": data}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"data": body, "content_type": "application/json", "headers": {"X-Signature": signature}}


def tell(message: Message) -> None:
    print(f"  {message.topic} of order {message.order_id}")


def play() -> None:
    from django.contrib.auth.models import User
    from django.test import Client
    from teapots.models import Purchase
    from teapots.orders import joined

    customer, owner = Client(), Client()
    owner.force_login(User.objects.create_superuser("olga"))
    joined().set_stock("TEAPOT", 1)

    def tick(ticked: str, version: int, note: str) -> None:
        form = {"ticked": ticked.split("+"), "version": version, "note": note, "comment": ""}
        answer = owner.post("/admin/teapots/purchase/1/change/", form)
        errors = re.findall(r"errorlist nonfield.*?<li>(.*?)</li>", answer.content.decode(), re.DOTALL)
        print(f"Olga ticks {ticked} and notes {note!r}: {errors[0] if errors else 'saved'}")
        print(f"  shop: {Purchase.objects.get(pk=1).note!r}, order: {joined().get('1').state}")

    for name in ("Ann", "Ben"):
        answer = customer.post("/checkout", {"email": f"{name.lower()}@example.com"})
        print(f"{name} buys a teapot: {answer.status_code} {answer.content.decode()}")
    print(f"  shop: {Purchase.objects.count()} row, orders: {[order.state for order in joined().find()]}")
    tick("sent+dispatched", 2, "urgent")
    for what in ("reports Ann's payment", "reports it again"):
        answer = customer.post("/webhook", **paid("1"))
        print(f"The gateway {what}: {answer.status_code} {answer.content.decode()}")
    tick("sent", 2, "an old form")
    tick("sent+invoiced+paid+dispatched", 3, "by Royal Mail")
    print(f"The history: {[f'{entry.trigger} by {entry.by}' for entry in joined().history('1')]}")
    listed = owner.get("/admin/teapots/purchase/").content.decode()
    print(f"The list in the admin: {re.findall('field-state[^>]*>(.*?)<', listed)}")
    print("The relay tells the world:")
    joined().deliver(tell)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        configure(Path(folder) / "shop.db")
        call_command("migrate", run_syncdb=True, verbosity=0)
        play()
        from django.db import connection

        connection.close()


if __name__ == "__main__":
    main()
