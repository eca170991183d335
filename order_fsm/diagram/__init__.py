"""Draw a workflow as a picture, a table or an HTML page, from the rules.

The diagrams of `transitions` (`extensions.diagrams`) are not usable here. They draw every transition with all
conditions, so the 93 edges of the shop have labels of hundreds of characters. They use the names of states as
identifiers, and Mermaid allows no `+` in an identifier. They mark the state of a model, and this machine has no model:
the path of an order is in its history.
"""

from order_fsm.diagram.graphviz import dot, picture
from order_fsm.diagram.mermaid import mermaid
from order_fsm.diagram.page import html
from order_fsm.diagram.table import table

__all__ = ["dot", "html", "mermaid", "picture", "table"]
