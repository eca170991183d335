from django.db import models


class Purchase(models.Model):
    """The shop's own row of an order. Its boxes, money and history are in order_fsm, under the same number."""

    email = models.EmailField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    note = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"order {self.pk}"
