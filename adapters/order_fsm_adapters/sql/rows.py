"""Records of keys, stock and messages as rows, and back. Reading a row checks its seal."""

from __future__ import annotations

from order_fsm.model import Message
from order_fsm.store import IdempotencyRecord, StockLevel
from order_fsm_adapters.sql import codec
from order_fsm_adapters.sql.codec import UNREADABLE, json_text, time_of, time_text
from order_fsm_adapters.sql.database import Row
from order_fsm_adapters.sql.seals import corrupt, digest, seal

RECORD_COLUMNS = ("key", "order_id", "first", "last", "request_fingerprint", "seal")
"""The columns of `record_row`."""

RECORD_SELECTION = ", ".join(f'"{column}"' for column in RECORD_COLUMNS)

MESSAGE_COLUMNS = ("id", "order_id", "topic", "payload", "created_at", "remaining", "seal", "attempts")
"""The columns of `message_row`, and the attempts."""

MESSAGE_SELECTION = ", ".join(MESSAGE_COLUMNS)


def record_row(key: str, record: IdempotencyRecord) -> Row:
    """Return the row of an idempotency key."""
    return (key, *record, digest(("key", key, *record)))


def record_of(row: Row) -> IdempotencyRecord:
    """Return the record in the row of an idempotency key.

    Raises:
        StoreCorrupt: if the row is damaged or was edited.
    """
    if _seal_of("key", row[:5]) != row[5]:
        raise corrupt(f"key {row[0]!r}")
    return IdempotencyRecord(*row[1:5])


STOCK_COLUMNS = ("sku", "available", "held", "shipped", "lost", "backorder", "seal")
"""The columns of `stock_row`. `out` is a keyword of SQL."""

STOCK_SELECTION = ", ".join(STOCK_COLUMNS)


def stock_row(sku: str, level: StockLevel) -> Row:
    """Return the row of an item."""
    values = (sku, *level[:4], int(level.backorder))
    return (*values, _stock_seal(values))


def level_of(row: Row) -> StockLevel:
    """Return the level of an item's row.

    Raises:
        StoreCorrupt: if the row is damaged or was edited.
    """
    sku, available, held, shipped, lost, backorder, sealed = row
    if _stock_seal(row[:6]) != sealed:
        raise corrupt(f"the stock of {sku!r}")
    return StockLevel(available, held, shipped, lost, backorder == 1)


def _stock_seal(values: Row) -> bytes:
    """Return the seal of an item's row. It covers a text that database functions can build, too."""
    sku, *numbers = values
    text = "|".join(["stock", *["" if number is None else str(number) for number in numbers], str(sku)])
    return seal(text.encode(errors="surrogatepass"))


def message_row(message: Message) -> Row:
    """Return the columns of a message with their seal, without the attempts."""
    values = (message.id, message.order_id, message.topic)
    payload, remaining = message.payload, message.remaining
    sealed = digest(("message", *values, payload, message.created_at, remaining))
    return (*values, json_text(payload), time_text(message.created_at), _remaining_text(message), sealed)


def remaining_columns(message: Message) -> Row:
    """Return the columns that change with the remaining recipients of a message."""
    return message_row(message)[5:7]


def _remaining_text(message: Message) -> str:
    return json_text(message.remaining) if message.remaining else ""


def message_of(row: Row) -> Message:
    """Return the message of a row with `MESSAGE_COLUMNS`.

    Raises:
        StoreCorrupt: if the row is damaged or was edited.
    """
    message_id, order_id, topic, payload, created_at, remaining, sealed, attempts = row
    try:
        if not isinstance(attempts, int):
            raise ValueError(f"attempts must be a whole number, not {attempts!r}")
        recipients = codec.names_of(remaining) if remaining else ()
        message = Message(
            message_id, order_id, topic, codec.object_of(payload), time_of(created_at), attempts, recipients
        )
        fits = sealed == message_row(message)[6]
    except UNREADABLE as error:
        raise corrupt(f"message {message_id!r}", error) from error
    if not fits:
        raise corrupt(f"message {message_id!r}")
    return message


def _seal_of(kind: str, values: Row) -> bytes:
    try:
        return digest((kind, *values))
    except UNREADABLE:
        # A damaged column may hold text that is not valid Unicode.
        return b""
