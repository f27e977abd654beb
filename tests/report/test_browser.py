"""Property: the page in headless Chromium. Oracle: the browser's console, drawing and state."""

import pytest

from tests.report.sample_report import NAMES, sample
from tests.report.webdriver import CHROMIUM, DRIVER, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

READY = (
    "const done = arguments[arguments.length - 1]; gengap.ready.then(() => setTimeout(done, 50));"
)
CHOSEN = "return Object.values(gengap.views).map((view) => view.signal('chosen'))"
CHARTS = ["train-loss", "time-to-fit", "test-accuracy"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return sample().save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def opened(window, path):
    """The page, freshly opened, wide; the console must be silent when the test is over."""
    window.resize(1400)
    window.open(path)
    window.wait(READY)
    yield window
    assert window.log() == []


def settle(window):
    window.wait("const done = arguments[arguments.length - 1]; setTimeout(done, 100);")


def click(window, selector, place=0):
    """Click as a person does: scroll there, press and release the mouse in the middle."""
    x, y = window.run(
        "const [selector, place] = arguments;"
        "const part = document.querySelectorAll(selector)[place];"
        "document.documentElement.style.scrollBehavior = 'auto';"
        "part.scrollIntoView({ block: 'center' });"
        "const box = part.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2];",
        selector,
        place,
    )
    window.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    for kind in ("mousePressed", "mouseReleased"):
        window.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    settle(window)


def pressed(window):
    return window.run(
        "const chips = document.querySelectorAll('.chip[aria-pressed=true]');"
        "return [...chips].map((chip) => chip.dataset.group)"
    )


@pytest.mark.parametrize("width", [1400, 420])
def test_every_chart_is_drawn_and_the_page_fits(opened, width):
    opened.resize(width)
    settle(opened)
    sizes = opened.run(
        "return [...document.querySelectorAll('.plot')].map((plot) => [plot.dataset.plot,"
        " plot.querySelectorAll('.role-mark path').length,"
        " plot.querySelector('svg').getBoundingClientRect().width, plot.clientWidth])"
    )
    assert [name for name, *_ in sizes] == CHARTS
    for _, marks, drawn, room in sizes:
        assert marks >= 6
        assert 200 < drawn <= room + 1
    assert opened.run("return document.documentElement.scrollWidth") <= width


def test_a_chip_chooses_everywhere_and_clears(opened):
    assert opened.run(CHOSEN) == [None] * 3
    click(opened, ".chip", NAMES.index("random labels"))
    assert opened.run(CHOSEN) == ["random labels"] * 3
    assert pressed(opened) == ["random labels"]
    rows = "return [...document.querySelectorAll('tr.chosen, .examples.chosen')].length"
    assert opened.run(rows) == 2
    click(opened, ".chip", NAMES.index("random labels"))
    assert opened.run(CHOSEN) == [None] * 3
    assert pressed(opened) == []
    assert opened.run(rows) == 0


def test_a_choice_that_a_chart_lacks_fades_nothing_there(opened):
    click(opened, ".chip", NAMES.index("<b>noise</b> & more"))
    assert opened.run(CHOSEN) == ["<b>noise</b> & more", None, None]


def test_a_mark_a_row_and_escape(opened):
    click(opened, "[data-plot=time-to-fit] .mark-symbol.role-mark path", 1)
    assert opened.run(CHOSEN) == ["labels 0.2 random"] * 3
    assert opened.run("return document.querySelector('.tip').innerText").startswith("labels 0.2")
    click(opened, "tr[data-group]", 2)
    assert opened.run(CHOSEN) == ["labels 0.4 random"] * 3
    for kind in ("keyDown", "keyUp"):
        opened.command("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape")
    settle(opened)
    assert opened.run(CHOSEN) == [None] * 3


def test_chips_answer_the_keyboard(opened):
    opened.run("document.querySelectorAll('.chip')[1].focus()")
    for kind in ("keyDown", "keyUp"):
        opened.command(
            "Input.dispatchKeyEvent",
            type=kind, key=" ", code="Space", text=" " if kind == "keyDown" else "",
            windowsVirtualKeyCode=32,
        )  # fmt: skip
    settle(opened)
    assert pressed(opened) == [NAMES[1]]


def test_the_choice_is_seen(opened):
    """Lines of the others are fainter in the drawing, not just in the state."""
    faint = (
        "return [...document.querySelectorAll('[data-plot=train-loss] .mark-line.role-mark path')]"
        ".map((path) => Number(path.getAttribute('opacity') ?? 1))"
    )
    assert opened.run(faint) == [1.0] * len(NAMES)
    click(opened, ".chip", 5)
    found = opened.run(faint)
    assert [place for place, opacity in enumerate(found) if opacity == 1] == [5]
    assert max(found[:5] + found[6:]) < 0.3


def test_hostile_names_run_nothing(opened):
    assert opened.run("return document.querySelectorAll('b:not(.rule b, .tip b)').length") == 0
    assert opened.run("return document.scripts.length") == 3
