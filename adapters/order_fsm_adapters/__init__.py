"""The adapters that come with order_fsm: stores, payment gateways and mail.

The stores are in `memory`, `sqlite`, `postgresql`, `mariadb`, `sqlalchemy` and `json_files`. The verifiers and parsers
of payment gateways are in `gateways`, and the handler that mails messages is in `mail`.
"""
