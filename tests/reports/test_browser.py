"""The page in headless Chromium, opened from a file: it works, offline, in both themes."""

import base64
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from long_strings import lengthen
from pypdf import PdfReader

from dfkd_tune.records import TestOutcome
from reports import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not BROWSER or not DRIVER, reason="needs chromium and chromedriver"),
]

Maker = Any


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "about:blank"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def set_width(browser: Any, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def show(browser: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    """Open a page at a width and in a theme, and wait until its figures are drawn."""
    set_width(browser, width)
    set_theme(browser, dark)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    drawn = (
        "return document.querySelectorAll('.canvas .main-svg .xtitle').length >="
        " document.querySelectorAll('.canvas').length"
    )
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(drawn))


def set_theme(browser: Any, dark: bool) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def names(browser: Any, shown_only: bool = True) -> list[str]:
    """Names of the trials in the leaderboard, from top to bottom."""
    shown = ":not([hidden])" if shown_only else ""
    script = f"""return [...document.querySelectorAll('.board tr.trial{shown}')]
        .map((row) => row.querySelector('th').dataset.value)"""
    found = browser.execute_script(script)
    assert isinstance(found, list)
    return found


def head(browser: Any, key: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f".board th[data-key={key}]")


def sorted_heads(browser: Any) -> dict[str, str]:
    heads = browser.find_elements(By.CSS_SELECTOR, ".board th[aria-sort]")
    return {each.get_attribute("data-key"): each.get_attribute("aria-sort") for each in heads}


@pytest.fixture
def page(realistic: Any) -> Path:
    return write_report([realistic.path]).html


@pytest.fixture
def long_page(make_run: Maker, spec: Any) -> Path:
    trials = [spec(values=(0.01 * ((7 * i) % 30),), total_epochs=1) for i in range(30)]
    stopped = [spec(values=(0.99,), total_epochs=2, state="stopped")] * 2
    return write_report([make_run(trials + stopped).path]).html


def test_nothing_is_asked_for_and_nothing_complains(browser: Any, page: Path) -> None:
    show(browser, page)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert page.as_uri() in addresses
    foreign = {a for a in addresses if not a.startswith("data:")} - {page.as_uri()}
    assert foreign == set()


def test_figures_offer_no_way_to_a_server(browser: Any, page: Path) -> None:
    show(browser, page)
    buttons = browser.find_elements(By.CSS_SELECTOR, ".modebar-btn")
    titles = {button.get_attribute("data-title") for button in buttons}
    assert titles == {"Download plot", "Zoom", "Pan", "Reset axes"}


def test_page_of_a_run_without_trials(browser: Any, make_run: Maker) -> None:
    show(browser, write_report([make_run(teacher=False).path]).html)
    assert browser.get_log("browser") == []


def test_hostile_text_runs_no_script(browser: Any, make_run: Maker, spec: Any) -> None:
    evil = "</script><img src=x onerror=\"document.title='broken'\">" * 20
    run = make_run(
        [spec(values=(0.5,), reason=evil, architecture=evil, parameters={"key": evil})],
        command=evil,
    )
    metrics = run.trial_folder("t0000").metrics_file
    line = json.loads(metrics.read_text())
    line["losses"][evil] = 1.0
    metrics.write_text(json.dumps(line) + "\n")
    show(browser, write_report([run.path]).html, width=375)
    assert browser.get_log("browser") == []
    assert "broken" not in browser.title
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 375


def test_sort_by_click(browser: Any, page: Path) -> None:
    show(browser, page)
    assert sorted_heads(browser) == {"rank": "ascending"}
    before = names(browser)
    head(browser, "trial").find_element(By.TAG_NAME, "button").click()
    assert sorted_heads(browser) == {"trial": "ascending"}
    after = names(browser)
    assert after != before
    assert after[:6] == sorted(before[:6])
    assert set(after[6:]) == set(before[6:])
    live = browser.find_element(By.CSS_SELECTOR, ".controls .live").text
    assert live == "Sorted by Trial, ascending. 12 of 12 trials shown."
    head(browser, "trial").find_element(By.TAG_NAME, "button").click()
    assert sorted_heads(browser) == {"trial": "descending"}
    assert names(browser)[:6] == after[:6][::-1]


def test_sort_by_keyboard_never_mixes_complete_and_stopped(browser: Any, long_page: Path) -> None:
    show(browser, long_page)
    button = head(browser, "last").find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert sorted_heads(browser) == {"last": "descending"}
    button.send_keys(Keys.SPACE)
    assert sorted_heads(browser) == {"last": "ascending"}
    everything = names(browser, shown_only=False)
    assert everything[0] == "t0000"
    assert set(everything[-2:]) == {"t0030", "t0031"}


def test_filter_by_state(browser: Any, page: Path) -> None:
    show(browser, page)
    select = Select(browser.find_element(By.CSS_SELECTOR, ".controls select"))
    select.select_by_value("stopped")
    assert names(browser) == ["t0003", "t0005", "t0008", "t0010"]
    live = browser.find_element(By.CSS_SELECTOR, ".controls .live").text
    assert live == "4 of 12 trials shown."
    select.select_by_value("complete")
    assert len(names(browser)) == 6
    assert not browser.find_element(By.CSS_SELECTOR, ".board tr.group").is_displayed()
    select.select_by_value("")
    assert len(names(browser)) == 12


def test_first_twenty_then_all(browser: Any, long_page: Path) -> None:
    show(browser, long_page)
    more = browser.find_element(By.CSS_SELECTOR, ".controls .more")
    assert len(names(browser)) == 20
    assert more.text == "Show all 32"
    more.click()
    assert len(names(browser)) == 32
    assert more.text == "Show the first 20"
    more.click()
    assert len(names(browser)) == 20


def test_dark_theme_reaches_page_and_figures(browser: Any, page: Path) -> None:
    script = """
        const tick = document.querySelector('.canvas .xtick text');
        return [getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.body).color,
                getComputedStyle(tick).fill]"""

    def light(colour: str) -> bool:
        return sum(int(part) for part in colour[4:-1].split(",")[:3]) > 3 * 128

    show(browser, page)
    assert [light(colour) for colour in browser.execute_script(script)] == [True, False, False]
    set_theme(browser, dark=True)
    WebDriverWait(browser, 5).until(lambda b: light(b.execute_script(script)[2]))
    assert [light(colour) for colour in browser.execute_script(script)] == [False, True, True]


@pytest.mark.parametrize("width", [375, 1280, 1920])
def test_page_fits_its_width(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("links", [False, True])
def test_page_of_long_strings_fits(browser: Any, realistic: Any, links: bool) -> None:
    lengthen(realistic.path, links=links)
    show(browser, write_report([realistic.path]).html, 390)
    width = "return document.documentElement.scrollWidth"
    assert browser.execute_script(width) <= 390
    browser.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
    assert browser.execute_script(width) <= 390


@pytest.mark.parametrize(
    ("objective", "data"),
    [("unlabelled_real", "unlabelled"), ("data_free", "labelled"), ("data_free", "none")],
)
def test_page_of_every_search_objective(
    browser: Any, make_kind: Maker, objective: str, data: str
) -> None:
    page = write_report([make_kind(objective, data).path]).html
    for width in (375, 1280):
        show(browser, page, width)
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    script = "const [e] = document.getElementsByClassName('headline'); "
    script += "return [e.scrollWidth, e.parentElement.clientWidth]"
    table, room = browser.execute_script(script)
    assert table <= room


def test_headline_of_several_runs_fits_however_their_values_are_called(
    browser: Any, make_kind: Maker, tmp_path: Path
) -> None:
    kinds = (("val_real", "labelled"), ("unlabelled_real", "unlabelled"), ("data_free", "none"))
    runs = [make_kind(*kind) for kind in kinds]
    for run in runs:
        found = json.loads(run.run_file.read_text())
        long_name = f"fashion_mnist-dfkd_fgvc-mobilenet_v2-{found['name']}"
        run.run_file.write_text(json.dumps({**found, "name": long_name}))
        experiment = json.loads(run.experiment_file.read_text())
        changed = {**experiment, "benchmark": "fashion_mnist"}
        run.experiment_file.write_text(json.dumps(changed))
    show(browser, write_report([run.path for run in runs], tmp_path / "out").html)
    script = "const [e] = document.getElementsByClassName('headline'); "
    script += "return [e.scrollWidth, e.parentElement.clientWidth]"
    table, room = browser.execute_script(script)
    assert table <= room


def faults(browser: Any) -> list[str]:
    """What axe-core finds at any impact, each with the first places.

    It cannot tell what lies behind the text of a drawing, and finds no figure where it looks for a
    single word; the drawings are hidden from it as they are from a screen reader.
    """
    if not browser.execute_script("return 'axe' in window"):
        script = files("axe_playwright_python").joinpath("axe.min.js")
        browser.execute_script(script.read_text(encoding="utf-8"))
    run = """
        const done = arguments[0];
        axe.run({exclude: ['.main-svg']}, {resultTypes: ['violations']}).then(
          (found) => done(found.violations.map(({impact, id, nodes}) =>
            `${impact}: ${id}: ${nodes.slice(0, 5).map(({target}) => target).join(', ')}`)),
          (error) => done([`axe-core failed: ${error}`]))"""
    found = browser.execute_async_script(run)
    assert isinstance(found, list)
    return found


def faint(browser: Any) -> list[str]:
    """Texts outside of drawings whose contrast is below 4.5 to 1, large ones too."""
    script = """
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
          .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = (element) => {
          for (let at = element; at; at = at.parentElement) {
            const rgb = parse(getComputedStyle(at).backgroundColor);
            if (rgb.length < 4 || rgb[3] > 0) return rgb;
          }
          return [255, 255, 255];
        };
        const bad = [];
        for (const element of document.querySelectorAll('body *:not(script):not(style)')) {
          const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
          if (!own || element.closest('svg') || !element.offsetParent) continue;
          const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) bad.push(`${element.tagName}.${element.className}: ${ratio}`);
        }
        return bad"""
    found = browser.execute_script(script)
    assert isinstance(found, list)
    return found


def outcome(right: int) -> TestOutcome:
    """Of 100 images, of which the teacher has 80 right, and the student some of these."""
    return TestOutcome(
        images=100, both_correct=right, student_only=0, teacher_only=80 - right, neither=20
    )


@pytest.fixture
def comparison(make_run: Maker, spec: Any) -> Path:
    """A run that compares two variants; one trial of the second failed to converge."""
    variants = [
        {"name": name, "words": words, "published": None}
        for name, words in (("full", "the recipe as it is"), ("less", "without a term"))
    ]
    run = make_run(
        [
            spec(values=(0.2, 0.6), total_epochs=2, variant="full", test=outcome(60)),
            spec(values=(0.2, 0.4), total_epochs=2, variant="less", test=outcome(40)),
            spec(values=(0.2,), total_epochs=2, variant="less", state="diverged"),
        ],
        name="compared",
        kind="comparison",
        comparison={"what": "ablation", "seeds": 2, "variants": variants},
    )
    return Path(run.path)


@pytest.fixture
def several_page(realistic: Any, comparison: Path, make_kind: Maker, tmp_path: Path) -> Path:
    """Three runs together: a sweep, a comparison, and a sweep without any data."""
    runs = [realistic.path, comparison, make_kind("data_free", "none").path]
    return write_report(runs, tmp_path / "together").html


@pytest.fixture
def comparison_page(comparison: Path) -> Path:
    return write_report([comparison]).html


@pytest.mark.parametrize(
    "name",
    [
        "page",
        "searched_page",
        "comparison_page",
        pytest.param("several_page", marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing(browser: Any, name: str, request: pytest.FixtureRequest) -> None:
    show(browser, request.getfixturevalue(name), 1280)
    assert faults(browser) == []
    assert faint(browser) == []
    # What a rule sees depends on width or theme, not on both together.
    set_width(browser, 390)
    set_theme(browser, dark=True)
    assert faults(browser) == []
    assert faint(browser) == []
    assert browser.get_log("browser") == []


def test_axe_sees_what_is_broken(browser: Any, comparison_page: Path) -> None:
    show(browser, comparison_page)
    broken = """
        document.querySelector('.controls label').remove();
        document.querySelector('.sentence').style.color = '#bbbbbb';
        document.querySelector('.scroll').removeAttribute('aria-label');"""
    browser.execute_script(broken)
    found = {each.split(": ")[1] for each in faults(browser)}
    assert found >= {"select-name", "color-contrast"}
    assert len(faint(browser)) == 1


def test_everything_is_reached_by_keyboard(browser: Any, searched_page: Path) -> None:
    show(browser, searched_page, 390)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the content"
    assert skip.rect["y"] >= 0
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"
    script = """
        const shown = (e) => e.checkVisibility({visibilityProperty: true});
        const missed = [];
        for (const e of document.querySelectorAll('*')) {
          const style = getComputedStyle(e);
          const pressed = e.matches('a[href], button, input, select, summary, [role=slider]');
          const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY) &&
            (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
          if (!shown(e) || !(pressed || scrolls)) continue;
          e.focus();
          const reached = document.activeElement === e && e.tabIndex >= 0;
          if (!reached) missed.push(e.outerHTML.slice(0, 120));
        }
        return missed"""
    assert browser.execute_script(script) == []


@pytest.fixture
def printed_page(realistic: Any, make_run: Maker, spec: Any, tmp_path: Path) -> Path:
    """Two runs: one with failures and details, one of more trials than are shown at first."""
    trials = [
        spec(values=(0.01 * (30 + i),), total_epochs=1, parameters={"key.of_a_value": 0.5 + i})
        for i in range(24)
    ]
    runs = [realistic.path, make_run(trials, name="long").path]
    return write_report(runs, tmp_path / "together").html


def test_a_print_has_everything_and_fits_its_paper(browser: Any, printed_page: Path) -> None:
    show(browser, printed_page, dark=True)
    heads = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map((e) => e.textContent)"
    )
    rows = browser.execute_script(
        """return [...document.querySelectorAll('.board')].map((board) =>
          [...board.querySelectorAll('tr.trial th')].map((head) => head.dataset.value))"""
    )
    assert [len(names) for names in rows] == [12, 24]
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    pages = PdfReader(io.BytesIO(base64.b64decode(printed["data"]))).pages
    # Without ligatures.
    text = unicodedata.normalize("NFKC", " ".join(page.extract_text() for page in pages))
    text = " ".join(text.split())
    tight = text.replace(" ", "")
    assert [head for head in heads if "".join(head.split()) not in tight] == []
    boards = re.findall(r"Leaderboard Complete trials are ranked(.*?)Learning curves", text)
    assert len(boards) == 2
    for board, names in zip(boards, rows, strict=True):
        assert [name for name in names if name not in board] == []
    # What is folded on the screen: a traceback, numbers behind figures, the experiment.
    assert "loss.backward()" in text
    assert text.count("Last validation accuracy Best so far") >= 2
    assert text.count('"data_counts"') == 2
    # What can only be pressed is not there.
    for control in ("Skip to the content", "Show all", "24 trials shown", "Contents"):
        assert control not in text
    # The page is as it was before.
    assert not browser.execute_script("return document.querySelector('.numbers').open")


def test_nothing_is_wider_than_the_paper(browser: Any, printed_page: Path) -> None:
    """A4 less its margins is 703 pixels wide: what is wider would shrink or cut the page."""
    show(browser, printed_page)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    set_width(browser, 703)
    script = """
        return [...document.querySelectorAll('main *')]
          .filter((e) => !e.closest('svg') && e.getBoundingClientRect().right > 704)
          .map((e) => e.outerHTML.slice(0, 120))"""
    try:
        assert browser.execute_script(script) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_page_without_a_script_shows_everything(browser: Any, long_page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(long_page.as_uri())
        rows = browser.find_elements(By.CSS_SELECTOR, ".board tr.trial")
        assert len(rows) == 32
        assert all(row.is_displayed() for row in rows)
        assert not browser.find_element(By.CSS_SELECTOR, ".controls").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.fixture
def searched_page(make_run: Maker, spec: Any) -> Path:
    """A search of 14 complete trials: rates from 10^-4 to 10^-1, the higher the better."""
    rates = [float(10 ** (-4 + 3 * i / 13)) for i in range(14)]
    specs = [
        spec(
            values=(0.5 + 0.03 * i,),
            parameters={"rate": rate, "kind": "first" if i % 2 else "second"},
        )
        for i, rate in enumerate(rates)
    ]
    folder = make_run(specs)
    experiment = json.loads(folder.experiment_file.read_text())
    stated = [
        {"key": "rate", "range": "0.0001 .. 0.1 (log)"},
        {"key": "kind", "range": "first, second"},
    ]
    folder.experiment_file.write_text(json.dumps({**experiment, "dimensions": stated}))
    return write_report([folder.path]).html


def passing(browser: Any) -> set[str]:
    """Names of the trials whose lines are drawn and within the brushes."""
    script = """return [...document.querySelectorAll('.axes polyline:not(.out):not([hidden])')]
        .map((line) => line.dataset.trial)"""
    return set(browser.execute_script(script))


def thumb(browser: Any, label: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f".parallel [role=slider][aria-label='{label}']")


def test_brush_by_keyboard(browser: Any, searched_page: Path) -> None:
    show(browser, searched_page)
    live = browser.find_element(By.CSS_SELECTOR, ".parallel .live")
    assert live.text == "14 trials drawn."
    low = thumb(browser, "rate, from")
    low.send_keys(Keys.PAGE_UP * 5)
    # The middle of the axis, which its numbers fill but for equal margins.
    assert low.get_attribute("aria-valuenow") == "50"
    assert float(low.get_attribute("aria-valuetext")) == pytest.approx(10**-2.5, rel=0.01)
    assert passing(browser) == {f"t{i:04d}" for i in range(7, 14)}
    assert live.text == ("7 of 14 trials pass: t0013, t0012, t0011, t0010, t0009, t0008, t0007.")
    # A second axis: both must hold.
    high = thumb(browser, "kind, to")
    high.send_keys(Keys.PAGE_DOWN * 5)
    assert passing(browser) == {"t0007", "t0009", "t0011", "t0013"}
    # An end stops at the other one.
    high.send_keys(Keys.HOME)
    assert high.get_attribute("aria-valuenow") == "0"
    assert passing(browser) == set()
    high.send_keys(Keys.ESCAPE)
    assert len(passing(browser)) == 7
    browser.find_element(By.CSS_SELECTOR, ".parallel .clear").click()
    assert len(passing(browser)) == 14
    assert browser.get_log("browser") == []


def test_brush_by_pointer(browser: Any, searched_page: Path) -> None:
    show(browser, searched_page)
    strip = browser.find_element(By.CSS_SELECTOR, ".axis[data-name=rate] .strip")
    half = strip.size["width"] / 2

    def drag(start: float, end: float) -> None:
        """From and to a percentage of the axis."""
        actions = ActionChains(browser, duration=20)
        actions.move_to_element_with_offset(strip, round((start / 50 - 1) * half), 0)
        actions.click_and_hold()
        actions.move_to_element_with_offset(strip, round((end / 50 - 1) * half), 0)
        actions.release().perform()

    drag(40, 20)
    assert passing(browser) == {"t0003", "t0004", "t0005"}
    # By one of its ends, then away by a click.
    drag(40, 60)
    assert passing(browser) == {f"t{i:04d}" for i in range(3, 8)}
    drag(90, 90)
    assert len(passing(browser)) == 14


def test_the_ten_best_lines_alone(browser: Any, searched_page: Path) -> None:
    show(browser, searched_page)
    everyone, best = browser.find_elements(By.CSS_SELECTOR, ".parallel input[type=radio]")
    assert everyone.is_selected()
    everyone.send_keys(Keys.ARROW_RIGHT)
    assert best.is_selected()
    assert passing(browser) == {f"t{i:04d}" for i in range(4, 14)}
    thumb(browser, "kind, from").send_keys(Keys.PAGE_UP * 5)
    live = browser.find_element(By.CSS_SELECTOR, ".parallel .live").text
    assert live.startswith("5 of 10 trials pass")
    everyone.click()
    assert len(passing(browser)) == 7


@pytest.mark.parametrize("width", [375, 1280])
def test_drawings_fit_and_their_texts_do_not_touch(
    browser: Any, searched_page: Path, width: int
) -> None:
    show(browser, searched_page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    script = """
        const touching = [];
        for (const axis of document.querySelectorAll('.along, .strip')) {
          const boxes = [...axis.querySelectorAll('span')].map((e) => e.getBoundingClientRect());
          boxes.sort((a, b) => a.left - b.left);
          boxes.slice(1).forEach((box, i) => {
            if (box.left < boxes[i].right) touching.push(axis.textContent);
          });
        }
        return touching"""
    assert browser.execute_script(script) == []


def test_without_a_script_lines_are_drawn_and_nothing_can_be_pressed(
    browser: Any, searched_page: Path
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(searched_page.as_uri())
        lines = browser.find_elements(By.CSS_SELECTOR, ".axes polyline")
        assert len(lines) == 14
        assert not browser.find_element(By.CSS_SELECTOR, ".parallel .controls").is_displayed()
        assert browser.find_elements(By.CSS_SELECTOR, "[role=slider]") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
