"""`django-fsm-2`: an unsaved model in memory, and Django's rows with `django-fsm-log` on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
from django.conf import settings

# Django's settings are made once, so a missing package must be found before that.
for package in ("django_fsm", "django_fsm_log"):
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ":memory:",  # `on_sqlite` sets the file.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            },
        }
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_fsm", "django_fsm_log"],
    USE_TZ=True,
)
django.setup()

from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django_fsm import FSMField, TransitionNotAllowed, transition  # noqa: E402
from django_fsm.signals import post_transition  # noqa: E402
from django_fsm_log.backends import SimpleBackend  # noqa: E402
from django_fsm_log.models import StateLog  # noqa: E402

from peers.shop import CREATED, CURRENCY, STEPS, Illegal  # noqa: E402


def _worth_something(order: Any) -> bool:
    return bool(order.total > 0)


def _step(trigger: str) -> dict[str, Any]:
    step = STEPS[trigger]
    return {"source": step.before, "target": step.after, "conditions": [_worth_something]}


class _Order(models.Model):
    number = models.CharField(max_length=200, unique=True)
    state = FSMField(default=CREATED)
    version = models.IntegerField(default=1)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "peers"
        indexes = (models.Index(fields=["state", "created_at", "id"], name="queues"),)

    @transition(field=state, **_step("place"))
    def place(self) -> None: ...

    @transition(field=state, **_step("pay"))
    def pay(self) -> None: ...

    @transition(field=state, **_step("invoice"))
    def invoice(self) -> None: ...

    @transition(field=state, **_step("dispatch"))
    def dispatch(self) -> None: ...


def _fire(order: _Order, trigger: str) -> None:
    try:
        getattr(order, trigger)()
    except TransitionNotAllowed as error:
        raise Illegal(str(error)) from error
    order.version += 1


class _MemoryShop:
    def __init__(self) -> None:
        self._orders: dict[str, tuple[_Order, list[tuple[int, str, str, str, datetime]]]] = {}

    def create(self, order_id: str, total: str) -> None:
        order = _Order(number=order_id, total=Decimal(total), currency=CURRENCY)
        self._orders[order_id] = order, [(1, "create", CREATED, CREATED, datetime.now(UTC))]

    def change(self, order_id: str, trigger: str) -> None:
        order, history = self._orders[order_id]
        before = order.state
        _fire(order, trigger)
        history.append((order.version, trigger, before, order.state, datetime.now(UTC)))

    def state(self, order_id: str) -> str:
        return str(self._orders[order_id][0].state)

    def entries(self, order_id: str) -> int:
        return len(self._orders[order_id][1])

    def close(self) -> None:
        """Do nothing."""


class _DatabaseShop:
    def create(self, order_id: str, total: str) -> None:
        with transaction.atomic():
            order = _Order.objects.create(number=order_id, total=Decimal(total), currency=CURRENCY)
            # The log records transitions only, and a creation is not one.
            StateLog.objects.create(source_state=CREATED, state=CREATED, transition="create", content_object=order)

    def change(self, order_id: str, trigger: str) -> None:
        with transaction.atomic():
            order = _Order.objects.get(number=order_id)
            _fire(order, trigger)
            order.save(update_fields=["state", "version", "updated_at"])

    def state(self, order_id: str) -> str:
        return str(_Order.objects.get(number=order_id).state)

    def entries(self, order_id: str) -> int:
        return int(StateLog.objects.for_(_Order.objects.get(number=order_id)).count())

    def close(self) -> None:
        connection.close()


def in_memory() -> _MemoryShop:
    post_transition.disconnect(SimpleBackend.post_transition_callback)
    return _MemoryShop()


def on_sqlite(path: Path) -> _DatabaseShop:
    connection.close()
    connection.settings_dict["NAME"] = str(path)
    ContentType.objects.clear_cache()  # The cache may have the content types of another file.
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(_Order)
    post_transition.connect(SimpleBackend.post_transition_callback)
    return _DatabaseShop()
