from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from order_fsm import Line, Refused
from order_fsm.payments import HmacSignature, PaymentReceiver

from .models import Purchase
from .orders import joined


@require_POST
def check_out(request: HttpRequest) -> JsonResponse:
    """The customer buys a teapot: the shop's row and the order, or neither."""
    try:
        with transaction.atomic():
            purchase = Purchase.objects.create(email=request.POST["email"], total=Decimal("24.95"))
            order_id, orders = str(purchase.pk), joined()
            orders.create(order_id, purchase.total, "GBP", [Line("TEAPOT", 1)], email=purchase.email)
            orders.fire(order_id, "place")
    except Refused as refused:
        return JsonResponse({"error": [reason.message for reason in refused.reasons]}, status=409)
    return JsonResponse({"order": order_id}, status=201)


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> JsonResponse:
    """The gateway reports a payment. It commits in any case: also a 503 stores the time of the first attempt."""
    with transaction.atomic():
        receiver = PaymentReceiver(joined(), HmacSignature(settings.WEBHOOK_SECRET, header="X-Signature"))
        outcome = receiver.receive(request.body, request.headers)
    return JsonResponse({"outcome": outcome.outcome}, status=outcome.http_status)
