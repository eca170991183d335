from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from order_fsm import InvalidInput, Refused, VersionConflict

from .models import Purchase
from .orders import WORKFLOW, joined


class PurchaseForm(forms.ModelForm):
    """The shop's row, the boxes, and the version of the order when the form was loaded."""

    ticked = forms.MultipleChoiceField(
        choices=[(status.name, status.label) for status in WORKFLOW.statuses],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    version = forms.IntegerField(widget=forms.HiddenInput)
    comment = forms.CharField(required=False)
    user: str  # The admin sets it.

    class Meta:
        model = Purchase
        fields = ("note",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        order = joined().get(str(self.instance.pk))
        self.initial.update(ticked=sorted(order.statuses), version=order.version)

    def boxes(self) -> dict[str, Any]:
        """Return the arguments of `save` and `preview`."""
        content = self.cleaned_data
        return {
            "order_id": str(self.instance.pk),
            "statuses": content["ticked"],
            "version": content["version"],
            "comment": content["comment"],
            "by": self.user,
        }

    def clean(self) -> None:
        super().clean()
        if self.errors:
            return
        try:
            joined().preview(**self.boxes())
        except VersionConflict:
            raise forms.ValidationError("The order changed since the form was loaded. Reload it.") from None
        except InvalidInput as error:
            raise forms.ValidationError(str(error)) from None
        except Refused as refused:
            raise forms.ValidationError([reason.message for reason in refused.reasons]) from None


@admin.register(Purchase)
class PurchaseAdmin(admin.ModelAdmin):
    form = PurchaseForm
    list_display = ("__str__", "email", "state")

    @admin.display
    def state(self, purchase: Purchase) -> str:
        return joined().get(str(purchase.pk)).state

    def get_form(self, request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        form = super().get_form(request, *arguments, **named)
        form.user = request.user.get_username()
        return form

    def save_model(self, request: HttpRequest, obj: Purchase, form: PurchaseForm, change: bool) -> None:
        """Save the row and the boxes. Django calls it inside a transaction."""
        super().save_model(request, obj, form, change)
        joined().save(**form.boxes())

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - the checkout creates orders
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Purchase | None = None) -> bool:  # noqa: ARG002
        return False
