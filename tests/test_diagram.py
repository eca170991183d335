"""Pictures of the rules: their content, the path of an order, and unusual names."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from order_fsm import Entry, Guard, InvalidInput, MissingDependency, Rule, Status, When, Workflow, shop_workflow
from order_fsm.diagram import dot, html, mermaid, picture, table

if TYPE_CHECKING:
    from tests.conftest import Shop

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

MERMAID_NODE = re.compile(r'^    s(\d+)\(\["(.*)"\]\)$', re.MULTILINE)
MERMAID_WAY = re.compile(r'^    s(\d+) (<?-->)\|"(.*)"\| s(\d+)$', re.MULTILINE)
DOT_NODE = re.compile(r"^ +s(\d+) \[label=<(.*?)>(, .*)?\]$", re.MULTILINE)
DOT_WAY = re.compile(r"^ +s(\d+) -> s(\d+) \[label=<(.*)>, dir=(\w+), (.*)\]$", re.MULTILINE)

HOSTILE = (
    'a "b" c',
    "</b><script>alert(1)</script>",
    "x]) --> y[(",
    "%%{init: {}}%%",
    "end",
    "#quot; & &amp;",
    "\\n\\",
    "1. one `two` **three**",
    "größe 🫖",
)


def named(*names: str) -> Workflow:
    """Return a workflow whose statuses, triggers and guards have these names."""
    return Workflow(
        [Status(name) for name in names],
        [
            Rule(
                name,
                needs=set(names[:number]),
                forbids={name},
                adds={name},
                guards=(Guard(name, name, lambda order, facts: True),),
            )
            for number, name in enumerate(names)
        ],
        holds_stock=When(),
        counts=When(),
        queues={},
    )


def text_of(svg: bytes) -> list[str]:
    """Return the content of a picture, line by line."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def travelled(shop: Shop) -> tuple[Entry, ...]:
    """Place, invoice, pay, unpay and pay an order again, with a comment in between."""
    shop.bring("sent")
    shop.orders.comment("1001", "hello")
    for trigger in ("invoice", "pay", "unpay", "pay"):
        shop.orders.fire("1001", trigger, comment="a reason")
    return shop.orders.history("1001")


# The content


def test_both_formats_draw_every_state_and_arrow(workflow: Workflow) -> None:
    """Each pair of states with a trigger between them has one arrow, which is double if a trigger leads back.

    Amendments are not drawn.
    """
    drawn_edges = [edge for edge in workflow.edges if edge.rule.trigger != "amend"]
    ways = {(edge.source, edge.target) for edge in drawn_edges if edge.source != edge.target}
    drawn = mermaid(workflow)
    states = {number: label.replace("<br>", "+") for number, label in MERMAID_NODE.findall(drawn)}
    assert sorted(states.values()) == sorted(workflow.states)
    found: set[tuple[str, str]] = set()
    for source, arrow, _, target in MERMAID_WAY.findall(drawn):
        found |= {(states[source], states[target])} | ({(states[target], states[source])} if arrow == "<-->" else set())
    assert found == ways
    graph = dot(workflow)
    states = {number: label.replace("<br/>", "+") for number, label, _ in DOT_NODE.findall(graph)}
    assert sorted(states.values()) == sorted(workflow.states)
    found = set()
    for source, target, _, direction, _ in DOT_WAY.findall(graph):
        found |= {(states[source], states[target])}
        found |= {(states[target], states[source])} if direction == "both" else set()
    assert found == ways


def test_guards_are_below_their_trigger_and_policy_guards_in_italics() -> None:
    label = next(label for label in re.findall(r"<table.*?</table>", dot(shop_workflow())) if ">dispatch<" in label)
    cells = re.findall(r"<td>(.*?)</td>", label)
    assert [re.sub("</?font.*?>", "", cell) for cell in cells] == [
        "dispatch",
        "beyond_order",
        "<i>not_paid_nor_invoiced</i>",
        "goods_left",
        "/ undispatch",
        "reason_required",
        "outstanding",
    ]


def test_parallel_rows_show_their_common_guards() -> None:
    """Without an automatic invoice, online and manual payments lead to the same state, so `online` is not a guard."""
    graph = dot(shop_workflow(invoice_on_payment=False))
    assert "not_online" not in graph
    assert "outstanding" in graph
    assert "not_online" in dot(shop_workflow())


def test_a_frame_holds_the_states_of_its_status() -> None:
    graph = dot(shop_workflow(), frames=["cancelled"])
    inside = graph.split("subgraph cluster_1 {")[1].split("    }\n")[0]
    labels = [label for _, label, _ in DOT_NODE.findall(inside)]
    assert len(labels) == 5
    assert all("cancelled" in label for label in labels)


def test_an_unknown_frame_is_refused() -> None:
    with pytest.raises(InvalidInput, match="frames must name statuses"):
        dot(shop_workflow(), frames=["canceled"])
    for draw in (dot, html):
        with pytest.raises(InvalidInput, match="frames must be a list of statuses"):
            draw(shop_workflow(), frames="cancelled")


@pytest.mark.parametrize("draw", [mermaid, dot, html])
def test_invalid_argument_of_a_diagram_is_named(draw: Any) -> None:
    with pytest.raises(InvalidInput, match="workflow must be a Workflow, not function: call it"):
        draw(shop_workflow)
    with pytest.raises(InvalidInput, match=r"leave_out must name statuses of the workflow, not 'cancled' \(did"):
        draw(shop_workflow(), leave_out={"cancled"})
    for path in ("1001", 5):
        with pytest.raises(InvalidInput, match=r"path must be a history such as orders.history\('1001'\), not of "):
            draw(shop_workflow(), path=path)


def test_table_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidInput, match="workflow must be a Workflow, not NoneType"):
        table(None)  # type: ignore[arg-type]


def test_an_amendment_is_drawn_only_on_the_path_of_an_order(shop: Shop) -> None:
    shop.create(total="5.00")
    shop.orders.fire("1001", "pay", amount="4.00")
    shop.orders.amend("1001", version=2, total="4.00")
    path = shop.orders.history("1001")
    for draw in (mermaid, dot):
        assert "amend" not in draw(shop_workflow())
        assert "3 amend" in draw(shop_workflow(), path=path)


# The path of an order


def test_mermaid_highlights_the_path_of_an_order(shop: Shop) -> None:
    """Its states and arrows are marked. The arrows list their entries and point in their direction."""
    drawn = mermaid(shop_workflow(), leave_out={"cancelled"}, path=travelled(shop))
    states = {number: label.replace("<br>", "+") for number, label in MERMAID_NODE.findall(drawn)}
    ways = MERMAID_WAY.findall(drawn)
    marked = re.search(r"class ([s\d,]+) visited", drawn)
    assert marked is not None
    assert [states[one[1:]] for one in marked[1].split(",")] == [
        "unfinished",
        "sent",
        "sent+invoiced",
        "sent+invoiced+paid",
    ]
    links = re.search(r"linkStyle ([\d,]+) ", drawn)
    assert links is not None
    taken = {tuple(ways[int(number)]) for number in links[1].split(",")}
    assert {(states[source], arrow, label, states[target]) for source, arrow, label, target in taken} == {
        ("unfinished", "-->", "<b>2 place</b>", "sent"),
        ("sent", "-->", "<b>4 invoice</b>", "sent+invoiced"),
        ("sent+invoiced", "<-->", "<b>5 pay</b><br><b>6 unpay</b><br><b>7 pay</b>", "sent+invoiced+paid"),
    }
    assert f"style {marked[1].split(',')[-1]} fill" in drawn


def test_dot_highlights_the_path_of_an_order(shop: Shop) -> None:
    graph = dot(shop_workflow(), leave_out={"cancelled"}, path=travelled(shop))
    steps = [(re.findall("<b>(.*?)</b>", label), direction) for _, _, label, direction, _ in DOT_WAY.findall(graph)]
    assert sorted(step for step in steps if step[0]) == [
        (["2 place"], "forward"),
        (["4 invoice"], "forward"),
        (["5 pay", "6 unpay", "7 pay"], "both"),
    ]
    visited = {label: look for _, label, look in DOT_NODE.findall(graph) if look}
    assert list(visited) == ["unfinished", "sent", "sent<br/>invoiced<br/>paid", "sent<br/>invoiced"]
    assert [label for label, look in visited.items() if "fillcolor" in look] == ["sent<br/>invoiced<br/>paid"]
    assert "reason_required" not in graph


def test_an_arrow_with_only_a_way_back_points_back(shop: Shop) -> None:
    """One payment ticks three boxes, and its reversal unticks two of them."""
    shop.create()
    shop.orders.fire("1001", "pay", reference="ch_1")
    shop.orders.fire("1001", "unpay", comment="a reason")
    history = shop.orders.history("1001")
    drawn = mermaid(shop_workflow(), path=history)
    states = dict(MERMAID_NODE.findall(drawn))
    back = [way for way in MERMAID_WAY.findall(drawn) if "3 unpay" in way[2]]
    assert [(states[source], arrow, states[target]) for source, arrow, _, target in back] == [
        ("sent<br>invoiced<br>paid", "-->", "sent")
    ]
    assert re.search(r"3 unpay</b>.*dir=back", dot(shop_workflow(), path=history))


def test_a_path_is_drawn_whole_if_its_states_are_left_out_or_unknown(shop: Shop) -> None:
    shop.bring("sent+cancelled")
    history = shop.orders.history("1001")
    for rules in (shop_workflow(), named("sent")):
        for drawn in (mermaid(rules, {"cancelled"}, history), dot(rules, {"cancelled"}, path=history)):
            assert "3 cancel" in drawn
            assert re.search(r"sent<br/?>cancelled", drawn)


# Unusual names


def test_no_name_ends_a_label_or_begins_a_tag_in_mermaid() -> None:
    """Every line is one of those of the rules, and has no special character of Mermaid."""
    lines = mermaid(named(*HOSTILE)).splitlines()
    assert len(lines) == 1 + (len(HOSTILE) + 1) + len(HOSTILE)
    for line in lines[1:]:
        found = MERMAID_NODE.fullmatch(line) or MERMAID_WAY.fullmatch(line)
        assert found is not None, line
        label = re.sub(r"<br>|#\d+;", "", found[2] if line.endswith("])") else found[3])
        assert not re.search(r"[^\w ,/.-]", label), line


@needs_dot
def test_graphviz_shows_every_name_unchanged() -> None:
    shown = text_of(picture(dot(named(*HOSTILE), frames=[HOSTILE[1]])))
    for name in HOSTILE:
        assert name in [line.replace("\xa0", " ").strip() for line in shown]


@needs_dot
def test_pictures_of_the_shop_are_drawn_as_svg_and_png(workflow: Workflow, shop: Shop) -> None:
    graph = dot(workflow, frames=["cancelled"], path=travelled(shop))
    assert "2 place" in text_of(picture(graph))
    assert picture(graph, "png").startswith(b"\x89PNG\r\n")


@needs_dot
def test_graph_that_graphviz_cannot_read_raises() -> None:
    with pytest.raises(InvalidInput, match=r"Graphviz cannot read the graph: .*syntax error"):
        picture("digraph {")


@pytest.mark.parametrize("form", ["pdf", "svg -o /tmp/x", None, ["svg"]])
def test_an_unknown_form_is_refused(form: Any) -> None:
    with pytest.raises(InvalidInput, match="form must be 'svg' or 'png'"):
        picture(dot(shop_workflow()), form)


def test_missing_graphviz_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="install it"):
        picture(dot(shop_workflow()))


# The page


class Page(HTMLParser):
    """The elements of a page, and the text of each table cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.cells:
            self.cells[-1] += data


def without_graphviz(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))


def test_page_lists_every_state_trigger_guard_and_queue(workflow: Workflow) -> None:
    page = Page(html(workflow))
    cells = [cell.strip() for cell in page.cells]
    for state in workflow.states:
        assert state.replace("+", " ") in cells
    for rule in workflow.rules:
        assert rule.trigger in cells
        for guard in rule.guards:
            assert guard.code in cells
            assert guard.message in cells
    for queue in (*workflow.queues, "refund_due", "unmatched", "part_dispatched"):
        assert queue in cells


def test_page_shows_the_outcomes_of_a_trigger_in_declared_order() -> None:
    row = re.search(r'<tr><td><span class="chip">unfinished</span></td>(.*?)</tr>', html(shop_workflow()))
    assert row is not None
    cells = [re.sub("<br>", "|", re.sub("</?span.*?>", "", cell)) for cell in re.findall("<td>(.*?)</td>", row[1])]
    assert cells[:4] == ["+sent +paid|+sent", "+sent +invoiced +paid|+sent +paid|+sent", "", ""]


def test_page_loads_nothing(shop: Shop) -> None:
    page = Page(html(shop_workflow(), path=travelled(shop)))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object"}
    assert not [attributes for _, attributes in page.elements if {"src", "href"} & set(attributes)]


def test_page_marks_the_path_of_an_order(shop: Shop) -> None:
    page = html(shop_workflow(), "Order 1001", path=travelled(shop))
    marked = re.findall(r'<tr class="visited"><td>(.*?)</td>', page)
    assert [re.sub("<.*?>", "", cell) for cell in marked] == [
        "unfinished",
        "sent",
        "sent invoiced paid",
        "sent invoiced",
    ]
    assert "<h1>Order 1001</h1>" in page


@pytest.mark.parametrize("drawn", [pytest.param(True, marks=needs_dot), False])
def test_page_escapes_every_name(drawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not drawn:
        without_graphviz(tmp_path, monkeypatch)
    names = [name for name in HOSTILE if "\n" not in name]
    plain = {tag for tag, _ in Page(html(named("a", "b"))).elements}
    page = Page(html(named(*names), title="<script>alert(1)</script>"))
    assert {tag for tag, _ in page.elements} <= plain
    cells = [cell.strip() for cell in page.cells]
    for name in names:
        assert name in cells


@needs_dot
def test_page_holds_the_picture_of_graphviz() -> None:
    page = html(shop_workflow())
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert "dispatched" in text_of(svg.encode())
    assert "<?xml" not in page


def test_page_without_graphviz_has_the_mermaid_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_graphviz(tmp_path, monkeypatch)
    page = Page(html(shop_workflow()))
    assert mermaid(shop_workflow()) in "".join(page.text)


@pytest.mark.parametrize("title", [None, "", "two\nlines"])
def test_page_needs_a_title_of_one_line(title: Any) -> None:
    with pytest.raises(InvalidInput, match="title must"):
        html(shop_workflow(), title)
