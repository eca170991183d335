from django.contrib.auth.models import User
from django.db import connection

from order_fsm import CLOCK, GATEWAY, Order, Orders, Reason, shop_workflow
from order_fsm_adapters.sqlite import SqliteStore

WORKFLOW = shop_workflow()


def allow(actor: str | None, action: str, _: Order) -> bool | Reason:
    """Ask Django what a user may do. Customers may place orders."""
    if actor is GATEWAY or actor is CLOCK or action == "place":
        return True
    user = User.objects.filter(username=actor).first()
    return (user is not None and user.has_perm("teapots.change_purchase")) or Reason(
        "owner_only", "log in as the owner"
    )


def joined() -> Orders:
    """Return the orders on Django's connection of this thread, and in its transaction if one is open."""
    connection.ensure_connection()
    return Orders(SqliteStore(connection=connection.connection), WORKFLOW, allow=allow)
