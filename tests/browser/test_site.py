"""The website in a real browser: every page loads whole, from its own host alone, and can be read by everyone.

These tests need `make site`, and Chromium of the system; `make test` builds the site first. Without a browser they are
skipped, and pytest's summary says so.
"""

import base64
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import threading

import pytest
import torch

from utils import entropy_coding
from utils.characters import load_shakespeare
from utils.checkpoint_files import CHECKPOINTS
from utils.course import site_language, site_networks
from utils.datasets import load
from utils.files import ROOT
from utils.reference_runs import reference_runs
from utils.scoreboard import key_of
from utils.transformer import KeyValueCache, load_transformer

PAGES = ROOT / "build" / "site" / "html"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is missing: make site installs it")
axe = pytest.importorskip("axe_playwright_python.base", reason="make site installs it")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.skipif(not (PAGES / "index.html").is_file(), reason="the site is not built: make site"),
]

ALL = sorted(path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.html") if "_static" not in path.parts)
NOTEBOOKS = [page for page in ALL if re.fullmatch(r"notebooks/(solutions/)?\d\d_\w+\.html", page)]
KINDS = (
    *("index.html", "draw.html", "write.html", "scoreboard.html", "notebooks/00_start_here.html"),
    *("lessons/08_quantization_from_scratch.html", "reference/qat.html"),
)
"""A page of each kind."""

MEGABYTE = 1e6


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=PAGES))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page of the site and returns it; what went wrong on the way is kept in `page.faults`."""
    contexts = []

    def visit(path, *, width=1300, color_scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        contexts.append(context)
        page = context.new_page()
        page.faults, page.received = [], 0

        def answered(response):
            page.received += int(response.headers.get("content-length", 0))
            if response.status >= 400:
                page.faults.append(f"{response.status}: {response.url}")

        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("response", answered)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((address, "data:", "blob:")) else page.faults.append(request.url)
            ),
        )
        page.goto(f"{address}/{path}", wait_until="load")
        if page.locator(".math").count():
            page.wait_for_selector("html[data-formulas=rendered]", timeout=30_000)
        return page

    yield visit
    for context in contexts:
        context.close()


LOOK = """async options => {
    const { coloursWithin, ...others } = options;
    const contrast = axe.utils.getRule("color-contrast"), matches = contrast.matches;
    contrast.matches = (node, ...rest) => node.closest(coloursWithin) === null && matches.call(contrast, node, ...rest);
    return axe.run(others);
}"""
"""Both kinds of rules in one run: a page is laid out for them once, which takes as long as the rules do."""

LEVELS = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
COLOURED_ALIKE = ".highlight, .katex, .sidebar-drawer"
"""Thousands of short texts in the same few colours: `KINDS` are looked at with them, the other pages without."""


def _assert_accessible(page, *, all_colours):
    """Let axe look at a page. What takes it long is the contrast of every word of code and of every formula."""
    page.evaluate(axe.AXE_SCRIPT)
    nothing = ":not(*)"
    left_out = nothing if all_colours else COLOURED_ALIKE
    options = {"runOnly": LEVELS, "resultTypes": ["violations"], "coloursWithin": left_out}
    results = axe.AxeResults(page.evaluate(LOOK, options))
    assert results.violations_count == 0, results.generate_report()


def _assert_outputs_are_shown(page, path):
    """Compare the page of a notebook with what the notebook stores."""
    stored = json.loads((ROOT / path.replace(".html", ".ipynb")).read_text(encoding="utf-8"))
    outputs = [output for cell in stored["cells"] for output in cell.get("outputs", [])]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert page.locator(".cell_output img").count() == figures
    shown = page.locator("article").inner_text()
    claims = [line for o in outputs for line in "".join(o.get("text", "")).splitlines() if line.startswith("✓")]
    assert [claim for claim in claims if " ".join(claim.split()) not in " ".join(shown.split())] == []


@pytest.mark.parametrize("path", ALL)
def test_a_page_loads_whole_and_everyone_can_read_it(visit, path):
    page = visit(path)
    assert page.faults == []
    assert page.received < 3 * MEGABYTE
    assert page.locator("article h1").count() == 1
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    assert page.locator(".katex-error").count() == 0
    if path in NOTEBOOKS:
        _assert_outputs_are_shown(page, path)
    _assert_accessible(page, all_colours=path in KINDS)


@pytest.mark.parametrize("inside", ["article", ".highlight"])
def test_a_grey_that_cannot_be_read_is_a_fault(visit, inside):
    page = visit("reference/qat.html")
    pale = '<span style="color: #999; background: #bbb">pale</span>'
    page.locator(inside).first.evaluate("(place, text) => place.insertAdjacentHTML('afterbegin', text)", pale)
    with pytest.raises(AssertionError, match="pale"):
        _assert_accessible(page, all_colours=inside == ".highlight")
    if inside == ".highlight":
        _assert_accessible(page, all_colours=False)


@pytest.mark.parametrize(
    "path",
    [
        "index.html",
        "draw.html",
        "write.html",
        "scoreboard.html",
        *NOTEBOOKS[::4],
        "lessons/06_svd_compression.html",
        "lessons/08_quantization_from_scratch.html",
        "reference/qat.html",
    ],
)
def test_a_telephone_does_not_scroll_sideways(visit, path):
    page = visit(path, width=375)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 375


def test_links_lead_to_pages_that_exist(visit):
    for path in ALL:
        text = (PAGES / path).read_text(encoding="utf-8")
        for target in re.findall(r'<a [^>]*href="([^"#?]+)', text):
            if not re.match(r"[a-z]+:", target):
                assert ((PAGES / path).parent / target).exists(), (path, target)


def test_the_search_finds_a_lesson(visit):
    page = visit("search.html?q=int8")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").all_inner_texts()
    assert any(text.startswith("09 Post-training quantization") for text in found)


def test_the_lesson_on_int8_is_two_clicks_away(visit):
    page = visit("index.html")
    page.locator("article a[href='lessons/09_post_training_quantization.html']").click()
    assert page.locator("article h1").inner_text().startswith("09 Post-training quantization")


@pytest.mark.parametrize("path", KINDS)
def test_the_page_turns_dark_and_every_colour_can_still_be_read(visit, path):
    page = visit(path, color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 80
    _assert_accessible(page, all_colours=True)


def test_a_solution_is_shown_only_when_asked_for(visit):
    page = visit("notebooks/solutions/03_structured_pruning.html")
    fold = page.locator("details.hide.above-input").first
    assert not fold.locator("pre").first.is_visible()
    fold.locator("summary").click()
    assert fold.locator("pre").first.is_visible()


# --- draw a digit -----------------------------------------------------------------------------------------------------

ONE, SEVEN = [(140, 40), (140, 240)], [(70, 50), (210, 50), (120, 240)]


def _answered(page, before=0):
    page.wait_for_function(f"document.querySelector('#answers tbody').dataset.answered > {before}", timeout=120_000)
    return page.locator("#answers tbody tr").evaluate_all(
        "rows => rows.map(({dataset, cells}) =>"
        " ({logits: JSON.parse(dataset.logits), cells: [...cells].map(cell => cell.innerText)}))"
    )


def _draw(page, strokes):
    paper = page.locator("#paper")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    first, *others = [(box["x"] + x, box["y"] + y) for x, y in strokes]
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=12)
    page.mouse.up()


@pytest.mark.parametrize(("strokes", "digit"), [(ONE, "1"), (SEVEN, "7")])
def test_a_drawn_digit_is_read_rightly(visit, strokes, digit):
    page = visit("draw.html")
    _draw(page, strokes)
    rows = _answered(page)
    assert len(rows) >= 2
    assert {row["cells"][3] for row in rows} == {digit}
    assert all(float(row["cells"][5].replace(",", "")) > 0 for row in rows)
    assert page.faults == []


def test_a_digit_in_the_corner_is_moved_to_the_middle(visit):
    page = visit("draw.html")
    _draw(page, [(x / 3, y / 3) for x, y in SEVEN])
    assert {row["cells"][3] for row in _answered(page)} == {"7"}
    seen = page.evaluate(
        "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
        ".filter((_, i) => i % 4 === 0)"
    )
    ink = 255 - torch.tensor(seen, dtype=torch.float64).reshape(28, 28)
    rows, columns = (ink > 0).any(1).nonzero(), (ink > 0).any(0).nonzero()
    assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1 == 20
    places = torch.arange(28, dtype=torch.float64)
    for across in (ink.sum(0), ink.sum(1)):
        assert float((across * places).sum() / ink.sum()) == pytest.approx(13.5, abs=0.51)


def test_the_browser_computes_what_pytorch_computes(visit):
    about = json.loads((PAGES / "networks" / site_networks.ABOUT).read_bytes())
    page, test = visit("draw.html"), load("mnist").test
    there = {row["name"] for row in about["networks"]}
    models = {n.name: site_networks.read_network(n) for n in site_networks.NETWORKS if n.name in there}
    for count, digit in enumerate(about["digits"][:3] + about["digits"][-1:]):
        page.locator(f".digits button[data-number='{digit['number']}']").press("Enter")
        rows = {row["name"]: shown for row, shown in zip(about["networks"], _answered(page, count), strict=True)}
        image = test.images[digit["number"]][None]
        for name, model in models.items():
            with torch.no_grad():
                torch.testing.assert_close(torch.tensor(rows[name]["logits"]), model(image)[0], rtol=0, atol=1e-3)
        assert f"The label is {digit['label']}." in page.locator("#verdict").inner_text()
    assert page.faults == []


def test_where_the_networks_disagree_the_page_says_so(visit):
    page = visit("draw.html")
    page.locator("#disputed button").first.click()
    said = {row["cells"][3] for row in _answered(page)}
    assert len(said) > 1
    assert page.locator("#verdict").inner_text().startswith("They disagree: ")
    assert page.locator("#answers .alone").count() >= 1


def test_the_page_says_how_many_bytes_it_loaded_and_they_are_the_files_themselves(visit):
    about = json.loads((PAGES / "networks" / site_networks.ABOUT).read_bytes())
    page = visit("draw.html")
    page.locator("#plain button").first.click()
    _answered(page)
    assert page.received < 3 * MEGABYTE
    sizes = [(PAGES / "networks" / row["file"]).stat().st_size for row in about["networks"]]
    assert sizes == [row["bytes"] for row in about["networks"]]
    assert f"({round(sum(sizes) / 1000):,} kB loaded)" in page.locator("#verdict").inner_text()
    sources = {network.name: network.source for network in site_networks.NETWORKS}
    for row in about["networks"]:
        if source := sources[row["name"]]:
            assert (CHECKPOINTS / source).read_bytes() == (PAGES / "networks" / row["file"]).read_bytes()


@pytest.mark.skipif(entropy_coding.constriction is None, reason="no wheel for Linux on aarch64")
def test_chromium_decodes_the_coded_files_bit_for_bit(visit):
    page = visit("draw.html")
    decode = """async text => {
        const { decodeNetwork } = await import(new URL("_static/networks/coded.js", location));
        const content = Uint8Array.from(atob(text), each => each.charCodeAt(0)).buffer;
        const digest = async ({ buffer }) => {
            const bytes = [...new Uint8Array(await crypto.subtle.digest("SHA-256", buffer))];
            return bytes.map(byte => byte.toString(16).padStart(2, "0")).join("");
        };
        const tensors = Object.entries(decodeNetwork(content).tensors);
        return Promise.all(tensors.map(async ([name, { values }]) => [name, await digest(values)]));
    }"""
    for path in sorted((CHECKPOINTS / "compressed").glob("*.nnz"))[::5]:
        content = path.read_bytes()
        wanted = entropy_coding.decode_tensors(content).items()
        found = page.evaluate(decode, base64.b64encode(content).decode())
        assert found == [[name, hashlib.sha256(tensor.values.tobytes()).hexdigest()] for name, tensor in wanted]


# --- let it write -----------------------------------------------------------------------------------------------------


def _write(page, **choices):
    """Make the choices, let the page write, and return the whole text."""
    for name, value in choices.items():
        field = page.locator(f"#choices [name='{name}']")
        if isinstance(value, bool):
            field.set_checked(value)
        else:
            field.select_option(str(value)) if name == "file" else field.fill(str(value))
    before = int(page.locator("#written").get_attribute("data-texts") or 0)
    page.locator("#choices button[type='submit']").press("Enter")
    page.wait_for_function(f"document.querySelector('#written').dataset.texts > {before}", timeout=120_000)
    assert re.search(r"^[\d,]+ characters, [\d,]+ a second", page.locator("#status").inner_text())
    return page.locator("#written").evaluate("each => each.textContent")


@pytest.fixture
def writing(visit):
    page = visit("write.html")
    page.wait_for_selector("html[data-writing=ready]")
    return page


def test_the_same_seed_writes_the_same_text_with_a_cache_and_without(writing):
    first = _write(writing, prompt="JULIET:", count=60, seed=3)
    assert first.startswith("JULIET:")
    assert len(first) == 67
    assert set(first) <= set(load_shakespeare().vocabulary.characters)
    assert first == _write(writing, cached=False) != _write(writing, seed=4)
    rates = writing.locator("#files tbody tr").first.locator("td").all_inner_texts()[-2:]
    assert all(int(rate.replace(",", "")) > 0 for rate in rates)
    assert writing.faults == []
    assert writing.received < 3 * MEGABYTE


def test_the_likeliest_text_is_that_of_pytorch(writing):
    text, vocabulary = "First Citizen:\n", load_shakespeare().vocabulary
    about = json.loads((PAGES / "language" / site_language.ABOUT).read_bytes())
    for index, file in enumerate(about["files"]):
        checkpoint = load_transformer(site_language.NAME)
        model, cache = site_language.rounded(checkpoint, file["bits"]), KeyValueCache(checkpoint)
        found = _write(writing, prompt=text, count=40, temperature=0, file=index)
        with torch.no_grad():
            logits = model(vocabulary.encode(found)[None], cache)[0, len(text) - 1 : -1]
        written = vocabulary.encode(found[len(text) :])
        assert float((logits.max(dim=1).values - logits.gather(1, written[:, None])[:, 0]).max()) < 1e-3, file["title"]


def test_the_browser_computes_the_logits_of_pytorch(writing):
    compute = """async ([file, form, text]) => {
        const from = name => import(new URL(`_static/networks/${name}.js`, location));
        const [{ readSafetensors }, { Transformer }] = await Promise.all([from("safetensors"), from("transformer")]);
        const content = await (await fetch(new URL(`language/${file}`, location))).arrayBuffer();
        const network = new Transformer(readSafetensors(content), form), cache = network.cache();
        return text.map(character => [...network.logits(network.read(character, cache))]);
    }"""
    about = json.loads((PAGES / "language" / site_language.ABOUT).read_bytes())
    text = load_shakespeare().test[:300]  # longer than the context: the cache forgets
    checkpoint = load_transformer(site_language.NAME)
    for file in about["files"]:
        found = torch.tensor(writing.evaluate(compute, [file["file"], about["arguments"], text.tolist()]))
        model, cache = site_language.rounded(checkpoint, file["bits"]), KeyValueCache(checkpoint)
        with torch.no_grad():
            wanted = torch.cat([model(character.view(1, 1), cache)[0] for character in text])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_writing_can_be_stopped_and_what_cannot_be_read_is_said(writing):
    writing.locator("#choices [name='count']").fill("5000")
    writing.locator("#choices [name='cached']").set_checked(False)
    writing.locator("#choices button[type='submit']").click()
    writing.wait_for_function("document.querySelector('#written').textContent.length > 8")
    writing.locator("#stop").click()
    sync_api.expect(writing.locator("#status")).to_contain_text(" a second without a cache.")
    assert len(writing.locator("#written").evaluate("each => each.textContent")) < 5000
    writing.locator("#choices [name='prompt']").fill("für")
    writing.locator("#choices button[type='submit']").click()
    sync_api.expect(writing.locator("#status")).to_contain_text('Nothing was written: the network knows no "ü".')
    assert writing.faults == []


# --- scoreboard -------------------------------------------------------------------------------------------------------


def _column(page, name):
    index = page.locator(f"#rows th[data-column='{name}']").first.evaluate("head => head.cellIndex")
    return page.locator("#rows tbody tr:not([hidden])").evaluate_all(
        f"rows => rows.map(row => row.cells[{index}].dataset.value ?? '')"
    )


def test_the_scoreboard_sorts_and_filters(visit):
    page = visit("scoreboard.html")
    everything = len(_column(page, "error"))
    head = page.locator("#rows th[data-column='error'] button")
    for turn, name in enumerate(("ascending", "descending")):
        head.press("Enter")
        errors = [float(value) for value in _column(page, "error") if value]
        assert errors == sorted(errors, reverse=bool(turn))
        assert page.locator(f"#rows th[aria-sort='{name}']").count() == 1
    page.locator("select[name=family]").select_option("low rank")
    assert set(_column(page, "family")) == {"low rank"}
    drawn = int(page.locator("#chart .drawing").get_attribute("data-points"))
    assert 0 < drawn == len(_column(page, "error")) < everything
    page.locator("select[name=across]").select_option("time")
    for name in page.locator("select[name=machine] option").all_inner_texts():
        page.locator("select[name=machine]").select_option(name)
        assert name in page.locator("#chart .drawing").get_attribute("aria-label")
    assert page.faults == []


def test_the_scoreboard_names_a_row_under_the_mouse(visit):
    page = visit("scoreboard.html")
    page.locator("select[name=network]").select_option("LeNet-5 (20-50-500)")
    page.locator("select[name=family]").select_option("dense, trained from the start")
    page.locator("#chart .points path").first.hover(force=True)
    sync_api.expect(page.locator("#chart .hoverlayer")).to_contain_text("LeNet-5 (20-50-500), dense")


def test_the_scoreboard_can_be_read_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/scoreboard.html")
    assert page.locator("#chart img").is_visible()
    records = {key_of(row) for _, rows in reference_runs().values() for row in rows if row["kind"] == "record"}
    assert page.locator("#rows tbody tr").count() == len(records)
    context.close()


def test_the_site_is_small():
    assert sum(path.stat().st_size for path in PAGES.rglob("*") if path.is_file()) < 60 * MEGABYTE
