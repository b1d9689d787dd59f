"""The page in a browser: it loads without an error, its table sorts and filters, a run opens with its pictures."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reporting.conftest import made, read
from tests.results.summaries import GENOTYPE, costs

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
support = pytest.importorskip("selenium.webdriver.support.ui")

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"]
FLAGS += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="there is no browser: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("page")
    for selection in ("perturb", "magnitude"):
        made(logs, width=900, selection=selection, **costs())
    read(logs)
    return logs / "report.html"


@pytest.fixture
def browser(page: Path, driver: "webdriver.Chrome") -> Iterator["webdriver.Chrome"]:
    """Return a browser that has just loaded the page; afterwards its console must be empty."""
    driver.get("about:blank")  # so that an anchor or a word in the filter does not last
    driver.get(page.as_uri())
    yield driver
    assert driver.get_log("browser") == []


def column(browser: "webdriver.Chrome", title: str) -> list[str]:
    """Return the shown cells of the summary's column that starts with `title`, from the top."""
    return browser.execute_script(
        """const table = document.getElementById("summary-table");
        const index = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith(arguments[0]));
        const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
        return shown.map((row) => row.cells[index].textContent.trim());""",
        title,
    )


def click_header(browser: "webdriver.Chrome", title: str) -> str:
    header = browser.find_element("xpath", f"//table[@id='summary-table']//th[starts-with(., '{title}')]")
    header.find_element("tag name", "button").click()
    return header.get_attribute("aria-sort")


def wait(browser: "webdriver.Chrome", condition: str) -> None:
    support.WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(f"return {condition}"))


def test_sorts_by_a_column_in_both_directions(browser: "webdriver.Chrome") -> None:
    assert column(browser, "selection") == ["magnitude", "perturb"]
    assert click_header(browser, "selection") == "ascending"
    assert column(browser, "selection") == ["magnitude", "perturb"]
    assert click_header(browser, "selection") == "descending"
    assert column(browser, "selection") == ["perturb", "magnitude"]
    assert click_header(browser, "search") == "ascending"
    sorts = [cell.get_attribute("aria-sort") for cell in browser.find_elements("css selector", "#summary-table th")]
    assert sorts.count("none") == len(sorts) - 1


def test_sorts_numbers_as_numbers_with_what_is_missing_last(browser: "webdriver.Chrome") -> None:
    browser.execute_script(
        """const body = document.getElementById("summary-table").tBodies[0];
        for (const key of ["9.5", undefined, "100"]) {
            const row = body.rows[0].cloneNode(true);
            for (const cell of row.cells) {
                if (key === undefined) delete cell.dataset.key; else cell.dataset.key = key;
                cell.textContent = key ?? "–";
            }
            body.append(row);
        }
        body.rows[0].remove(); body.rows[0].remove();"""
    )
    click_header(browser, "test accuracy")
    assert column(browser, "test accuracy") == ["9.5", "100", "–"]
    click_header(browser, "test accuracy")
    assert column(browser, "test accuracy") == ["100", "9.5", "–"]


def test_opens_a_run_with_its_pictures(browser: "webdriver.Chrome") -> None:
    browser.find_element("css selector", "#run-2 > summary").click()
    wait(browser, "document.querySelector('#run-2 img').complete")
    cells = browser.find_element("css selector", "#run-2 img")
    assert cells.is_displayed()
    assert cells.get_property("naturalWidth") > 300
    assert not browser.find_elements("css selector", "#run-1 img[src]")  # what is closed is not decoded


def test_a_seed_in_the_table_leads_to_its_run(browser: "webdriver.Chrome") -> None:
    browser.find_element("css selector", "#summary-table tbody a").click()
    wait(browser, "document.querySelector('details.run[open]') !== null")
    assert browser.find_element("css selector", "details.run[open]").get_attribute("id") == "run-1"


def test_the_filter_leaves_the_rows_and_runs_with_all_words(browser: "webdriver.Chrome") -> None:
    browser.find_element("id", "filter").send_keys("perturb S2")
    assert column(browser, "selection") == ["perturb"]
    shown = [run for run in browser.find_elements("css selector", "details.run") if run.is_displayed()]
    assert len(shown) == 1 and "perturb" in shown[0].text
    assert browser.find_element("id", "shown").text == "1 of 2 rows, 1 of 2 runs"


def test_copies_the_genotype(browser: "webdriver.Chrome") -> None:
    allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": allowed})
    browser.find_element("css selector", "#run-2 > summary").click()
    browser.find_elements("css selector", "#run-2 .copy-button")[1].click()
    wait(browser, "document.querySelectorAll('#run-2 .copy-button')[1].textContent.startsWith('Copied')")
    copied = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == GENOTYPE


@pytest.mark.parametrize("width", [1280, 420])
def test_fits_the_window(width: int, browser: "webdriver.Chrome") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.execute_script("for (const run of document.querySelectorAll('details.run')) run.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_shows_the_metric_against_the_cost_that_is_chosen(browser: "webdriver.Chrome") -> None:
    def shown() -> list[str]:
        return [part.get_attribute("data-cost") for part in parts if part.is_displayed()]

    parts = browser.find_elements("css selector", "[data-cost]")
    assert shown() == ["params"]
    support.Select(browser.find_element("css selector", "select.cost")).select_by_value("latency_ms_batch64")
    assert shown() == ["latency_ms_batch64"]
