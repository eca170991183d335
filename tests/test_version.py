"""The version has one source."""

from importlib.metadata import version

import order_fsm


def test_module_has_the_version_of_the_installed_package() -> None:
    assert order_fsm.__version__ == version("order-fsm")
