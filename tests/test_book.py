"""The built book: warnings are errors, nothing is asked of anybody, every link leads somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
LOADS = {"script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"), "video": ("src",), "audio": ("src",),
         "embed": ("src",), "object": ("data",)}
OUTSIDE = re.compile(r"^\s*(?:[a-z]+:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What the tests ask of a page: what it loads, where it links, its anchors, its images, its inline scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[dict] = []
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs[name] for name in LOADS.get(tag, ()) if attrs.get(name)]
        if tag == "link" and attrs.get("href"):
            # Only these make a browser fetch something; the others (next, prev, canonical) are links.
            fetched = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload"} & set(attrs["rel"].split())
            (self.loads if fetched else self.links).append(attrs["href"])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "img":
            self.images.append(attrs)
        # A name is an anchor on a link only; elsewhere (a button of a form, what a page says of itself) it is something else.
        self.anchors |= {attrs[name] for name in ("id", "name" if tag == "a" else "id") if attrs.get(name)}
        self._inside = tag if tag in ("script", "style") else ""
        if "style" in attrs:
            self.inline += attrs["style"] or ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.inline += data


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The book, built once as ``make book`` builds it, into a folder of its own."""
    out = tmp_path_factory.mktemp("book")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "--all", "-W", "--keep-going", "-n", "--path-output", str(out), str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, "\n".join(line for line in (done.stdout + done.stderr).splitlines() if re.search("WARNING|ERROR|rror:", line))
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}


def test_every_page_of_the_contents_is_built(site):
    listed = re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text())
    assert listed
    assert all((site / f"{name}.html").is_file() for name in listed)


def test_pages_load_nothing_from_elsewhere(pages):
    outside = {(path.name, address) for path, page in pages.items() for address in page.loads if OUTSIDE.match(address)}
    assert not outside


def test_what_pages_load_is_there(site, pages):
    missing = set()
    for path, page in pages.items():
        for address in page.loads:
            if not address.startswith("data:") and not (path.parent / unquote(urlsplit(address).path)).is_file():
                missing.add((path.name, address))
    assert not missing


def test_inline_scripts_and_styles_name_no_address(pages):
    found = {(path.name, address) for path, page in pages.items() for address in re.findall(r"https?://[^\s\"')]+", page.inline)}
    assert not {(name, address) for name, address in found if "www.w3.org" not in address}


def test_stylesheets_load_nothing_from_elsewhere(site):
    pattern = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']*""")
    assert not {(path.name, hit) for path in site.rglob("*.css") for hit in pattern.findall(path.read_text(encoding="utf-8"))}


def test_files_that_stylesheets_name_are_there(site):
    named = {
        (path, unquote(urlsplit(address).path))
        for path in site.rglob("*.css")
        for address in re.findall(r"""url\(\s*["']?([^"')]+)""", path.read_text(encoding="utf-8"))
        if not address.startswith(("data:", "#"))
    }
    assert named
    assert not {(path.name, address) for path, address in named if not (path.parent / address).is_file()}


def test_links_to_elsewhere_are_encrypted(pages):
    elsewhere = {(path.name, link) for path, page in pages.items() for link in page.links if urlsplit(link).netloc}
    assert elsewhere
    assert not {(name, link) for name, link in elsewhere if urlsplit(link).scheme != "https"}


def test_what_opens_and_what_scrolls_works_with_a_keyboard(pages):
    toggles = tables = formulas = 0
    for path in pages:
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for toggle in page.find_all("summary"):
            toggles += 1
            assert toggle.get("aria-label") or toggle.get_text(strip=True), f"{path.name}: what does {toggle} open?"
        for table in page.select("div.pst-scrollable-table-container"):
            tables += 1
            assert table.get("tabindex") == "0" and table.get("aria-label"), path.name
        for formula in page.select("div.math-display"):
            formulas += 1
            assert formula.get("tabindex") == "0", path.name
        assert not [box for box in page.find_all(role="list") if not box.find(role="listitem") and not box.find("li")], path.name
    assert toggles and tables and formulas


def test_no_script_for_math_or_diagrams(site):
    names = " ".join(path.name.lower() for path in site.rglob("*.js"))
    text = " ".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    for script in ("mathjax", "katex", "mermaid", "require.min.js"):
        assert script not in names and f"{script}." not in text.lower()


def test_math_is_mathml(pages):
    page = next(path for path in pages if path.name == "evidence.html").read_text(encoding="utf-8")
    assert 'display="block"' in page and 'display="inline"' in page
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert 'class="math' not in text.replace('class="math-display"', "")
        assert not re.search(r"\\\(|\\\[\s*\\", re.sub(r"<pre.*?</pre>|<script.*?</script>", "", text, flags=re.DOTALL)), path.name


def test_links_within_the_book_lead_somewhere(pages):
    dead = set()
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or OUTSIDE.match(link):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target not in pages:
                if not target.is_file():
                    dead.add((path.name, link))
            elif parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                dead.add((path.name, link))
    assert not dead


def test_images_are_described(pages):
    bare = {(path.name, image.get("src", "")[:60]) for path, page in pages.items() for image in page.images if not (image.get("alt") or "").strip()}
    assert not bare
    named = {(path.name, image["alt"]) for path, page in pages.items() for image in page.images if image["alt"].startswith(("../", "_images"))}
    assert not named, "the alt text is only the file's name"


def test_samples_of_every_world_stand_in_the_page(site):
    from finetunelab.worlds import generators

    text = (site / "book" / "offline-world.html").read_text(encoding="utf-8")
    boxes = dict(re.findall(r'<details class="world">\s*<summary><b>(\w+)</b>.*?<ol>(.*?)</ol>', text, re.DOTALL))
    assert set(boxes) == set(generators())
    assert all(box.count("<li>") == 10 for box in boxes.values())


def test_profiles_stand_in_the_set_up_page(site):
    from finetunelab.profiles import PROFILES

    text = (site / "book" / "setup.html").read_text(encoding="utf-8")
    assert all(model in text for profile in PROFILES.values() for model in profile.models.values())


def test_the_evidence_page_says_what_is_measured(site):
    from finetunelab.experiments import experiments

    text = (site / "book" / "evidence.html").read_text(encoding="utf-8")
    claims = [claim.id for experiment in experiments().values() for claim in experiment.claims]
    assert all(claim in text for claim in claims) if claims else "No claim has been measured yet" in text


def test_tables_were_measured_on_the_worlds_as_they_are():
    from finetunelab.worlds import frozen_hash, generators

    tables = json.loads((BOOK / "tables.json").read_text())
    assert tables["world_hash"] == frozen_hash(), "measure them again: make tables"
    assert {row["name"] for row in tables["surface"] if not row["real"]} == set(generators())
    assert all(row["accuracy"] < 0.99 and row["accuracy"] > row["majority"] + 0.1 for row in tables["baselines"] if not row["real"])


def test_one_baseline_comes_out_as_recorded(book_module):
    tables = json.loads((BOOK / "tables.json").read_text())
    recorded = next(row for row in tables["baselines"] if row["name"] == "spam in posts")
    assert abs(book_module("build_tables").world_baseline("spam in posts")["accuracy"] - recorded["accuracy"]) <= 0.005


@pytest.fixture
def book_module(monkeypatch):
    """Import a module of the book's own: the page builder, or a Sphinx extension."""
    import importlib

    monkeypatch.syspath_prepend(str(BOOK))
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    return importlib.import_module


def test_an_unknown_part_of_a_page_stops_the_build(book_module):
    rendered = book_module("rendered")
    assert "nano" in rendered.fill("% rendered: profiles\n")
    with pytest.raises(Exception, match="no part 'profilez'"):
        rendered.fill("% rendered: profilez\n")


def test_only_the_first_effect_of_a_page_names_its_interval(book_module):
    page = "{{ A1_value }} {{ A1_effect }}, {{ B2_gap_effect }} and {{ A1_effect }}, {{ B2_verdict }}"
    named = book_module("rendered").name_once(page)
    assert named == "{{ A1_value }} {{ A1_effect }}, {{ B2_gap_again }} and {{ A1_again }}, {{ B2_verdict }}"
    assert book_module("rendered").name_once("no number") == "no number"


def test_cells_with_a_bar_do_not_break_a_table(book_module):
    table = book_module("measured").table(["a"], [["x|y"]])
    assert r"x\|y" in table


def test_only_tables_too_wide_for_a_phone_scroll(book_module):
    measured = book_module("measured")
    narrow, wide = (measured.table(["task", "share"], [["word " * n, "0.50"]]) for n in (2, 12))
    assert ":::" not in narrow and wide.startswith(":::{div} wide\n\n| task | share |") and wide.endswith("\n\n:::")


def test_tables_of_chapter_1_are_means_over_the_seeds_in_their_places(book_module, tmp_path, monkeypatch):
    from finetunelab.evidence.store import save_rows

    measured = book_module("measured")
    monkeypatch.setattr(measured, "BOOK", tmp_path)
    (tmp_path / "evidence").mkdir()
    save_rows(tmp_path / "evidence" / "A5.csv", [
        {"seed": seed, "arm": arm, "recipes": 10, "perplexity": thai * factor, "French perplexity": french * factor}
        for arm, thai, french in (("French", 2, 30), ("novice", 5, 70)) for seed, factor in ((0, 1), (1, 4))
    ])
    assert "| 10 | 4.00 | 10.00 | 60.0 | 140 |" in measured.chef(), "geometric means: those of x and 4x are 2x"
    save_rows(tmp_path / "evidence" / "A5.real.csv", [
        {"seed": seed, "arm": arm, "recipes": 30, "bits per byte": bits + seed} for arm, bits in (("first", 1.5), ("random", 4.0)) for seed in (0, 1)
    ])
    assert "| 30 | 2.00 | 4.50 |" in measured.real_chef()
    save_rows(tmp_path / "evidence" / "A2.real.csv", [
        {"seed": 0, "arm": "ours", "labels": 100, "accuracy": 0.9}, {"seed": 1, "arm": "ours", "labels": 100, "accuracy": 0.8},
        {"seed": 0, "arm": "ours", "labels": 20, "accuracy": 0.7}, {"seed": 0, "arm": "words", "labels": 100, "accuracy": 0.6},
        {"seed": 0, "arm": "ours", "needed": "> 100"},
    ])
    table = measured.real_labels()
    assert "| Labels | 20 | 100 |" in table and "| ours | 0.70 | 0.85 |" in table and "| words |  | 0.60 |" in table


def test_tables_of_chapter_3_weigh_what_was_counted_and_leave_out_what_was_not(book_module, tmp_path, monkeypatch):
    from finetunelab.evidence.store import save_rows

    measured = book_module("measured")
    monkeypatch.setattr(measured, "BOOK", tmp_path)
    (tmp_path / "evidence").mkdir()
    assert measured.new_language() == measured.behavior_kinds() == measured.clinic_knowledge() == measured.NOT_YET
    save_rows(tmp_path / "evidence" / "C3.csv", [
        *({"seed": seed, "arm": "n-gram", "language": 0.5 + seed} for seed in (0, 1)),
        *({"seed": seed, "arm": "before", "language": 3 + seed, "town": 0.25} for seed in (0, 1)),
    ])
    assert measured.new_language().index("| the base, before | 3.50 | 0.250 |") < measured.new_language().index("| n-gram model | 1.00 |  |")
    save_rows(tmp_path / "evidence" / "C5.csv", [
        {"seed": seed, "arm": arm, "kind": kind, "n": n, "followed": followed}
        for kind, arm, found in (
            ("count", "base", ((10, 0), (10, 0))), ("count", "after SFT", ((10, 0.5), (30, 0.9))),
            ("yes_no", "base", ((5, 0), (5, 0.2))), ("yes_no", "after SFT", ((5, 1), (5, 1))),
        )
        for seed, (n, followed) in enumerate(found)
    ])
    table = measured.behavior_kinds()
    save_rows(tmp_path / "evidence" / "C8.csv", [
        {"seed": seed, "arm": "filtered", "answers": 4800, "right": 0.9 - 0.1 * seed, "followed": 0.4 + 0.1 * seed} for seed in (0, 1)
    ])
    assert "| filtered | 4,800 | 0.85 | 0.450 |" in measured.who_writes()
    assert table.index("| yes no | 1.00 | 0.10 |") < table.index("| count | 0.80 | 0.00 |")


def test_tables_of_the_loop_have_its_seeds_or_means_over_them(book_module, tmp_path, monkeypatch):
    from finetunelab.evidence.store import save_rows

    measured = book_module("measured")
    monkeypatch.setattr(measured, "BOOK", tmp_path)
    (tmp_path / "evidence").mkdir()
    tables = (measured.loop_gain, measured.loop_starts, measured.small_and_large, measured.alignment_tax, measured.overoptimized, measured.methods)
    assert {table() for table in tables} == {measured.NOT_YET}

    def saved(name: str, **rows: dict) -> None:
        """Save two seeds of each arm, whose numbers differ by 0.2."""
        save_rows(tmp_path / "evidence" / f"{name}.csv", [
            {"seed": seed, "arm": arm.replace("_", " "), **{k: v + 0.2 * seed if isinstance(v, float) else v for k, v in row.items()}}
            for seed in (0, 1) for arm, row in rows.items()
        ])

    same = {"worth": 0.5, "coherence": 0.7, "score": 0.0, "KL": 0.0, "words": 30}
    saved("D4", SFT=same, PPO=same | {"worth": 0.6, "KL": 9.0}, **{"PPO ": {"step": 1, "kl": 3.0}})
    assert "| 1 | 0.50 | 0.60 | 0.70 | 0.00 | 9 | 30 |" in measured.loop_gain()
    assert "| 2 | 0.70 | 0.80 | 0.90 | 0.20 | 9 | 30 |" in measured.loop_gain() and measured.loop_gain().count("\n| ") == 4
    save_rows(tmp_path / "evidence" / "D1.csv", [
        {"seed": seed, "arm": "from the base", "reward": reward, "worth": worth + 0.2 * seed}
        for seed in (0, 1) for reward, worth in (("", 0.1), ("dense", 0.2), ("sparse", 0.3))
    ])
    assert "| from the base | 0.20 | 0.30 | 0.40 |" in measured.loop_starts()
    saved("D5", **{"small,_PPO": {"worth": 0.7, "preferred to it": 0.5}, "large,_SFT": {"worth": 0.6, "preferred to it": 0.3}})
    assert "| small, PPO | 0.80 |  |" in measured.small_and_large() and "| large, SFT | 0.70 | 0.40 |" in measured.small_and_large()
    save_rows(tmp_path / "evidence" / "D6.csv", [
        *({"seed": 0, "arm": arm, "half": half, "step": step, "worth": worth}
          for arm in ("no penalty", "tuned penalty", "true grades as reward")
          for half, worths in (("A", (0.1, 0.9, 0.3)), ("B", (0.2, 0.4, 0.8))) for step, worth in zip((0, 8, 16), worths, strict=True)),
        {"seed": 0, "arm": "best of n", "n": 2, "worth": 0.5},
    ])
    assert "| 1 |" + 3 * " 0.20, 0.40, 0.80 |" in measured.overoptimized(), "the peak is where half A has it"
    saved("D8", SFT={"followed": 0.5, "remembered": 0.6})
    assert "| SFT | 0.600 | 0.700 |" in measured.alignment_tax()
    saved("D7", DPO={"training FLOPs": 2e12, "inference FLOPs": 3e8, "worth": 0.5, "KL": 1.5, "wins": 0.6})
    assert "| DPO | 2.0 | 300 | 0.60 | 1.60 | 0.70 |" in measured.methods()

    save_rows(tmp_path / "evidence" / "E1.csv", [
        {"seed": seed, "task": task, "labels": labels, "k": k, "accuracy": score} for seed in (0, 1) for task, labels, k, score in (
            ("seen", "arbitrary", 0, 0.5), ("seen", "arbitrary", 16, 0.8 + 0.2 * seed), ("seen", "arbitrary", 16, ""), ("seen", "arbitrary", 8, ""), ("seen", "shuffled", 0, 0.1),
            ("posts", "arbitrary", 0, 0.4),
        )
    ])
    assert "| seen concepts | 0.50 | 0.90 |" in measured.demonstrations() and "| posts, spam or not | 0.40 |  |" in measured.demonstrations()
    saved("E5", oracle_passage={"right": 0.5, "plain": 0.6, "paraphrased": 0.4})
    assert "| oracle passage | 0.60 | 0.70 | 0.50 |" in measured.retrieval_answers()
    recalls = {"recall@1": 0.1, "recall@5": 0.2, "recall@10": 0.3}
    saved("E5.real", BM25=recalls | {"answer": 0.4, "answer, paragraph given": 0.5})
    saved("E5.pages", BM25=recalls)
    assert "| paragraphs | BM25 | 0.20 | 0.30 | 0.40 | 0.50 | 0.60 |" in measured.real_retrieval()
    assert "| pages by title | BM25 | 0.20 | 0.30 | 0.40 |  |  |" in measured.real_retrieval()
    saved("E4", nightly={"right": 0.5, "stale": 0.1, "a_day": 2e9, "a_question": 5e7})
    assert "| nightly | 0.60 | 0.20 | 2.0 | 0.05 |" in measured.changing_facts()
    save_rows(tmp_path / "evidence" / "E4-nights.csv", [
        {"seed": 900, "data": data, "passes": 5, "rate": rate, "right": right, "flops": 2e10}
        for data, rate, right in (("articles", 0.001, 0.2), ("articles", 0.003, 0.4), ("both", 0.003, 0.9), ("both", 0.001, 0.3))
    ])
    assert "| articles | 5 | 0.40 | 20 |\n| both | 5 | 0.90 | 20 |" in measured.nights(), "at the best of the rates"
    save_rows(tmp_path / "evidence" / "E6.csv", [
        {"seed": seed, "arm": "no filter", "kind": kind, "asked": 100, "right": right, "leaks": leaks}
        for seed in (0, 1) for kind, right, leaks in (("own", 0.7 + 0.2 * seed, ""), ("gap", "", 3))
    ])
    assert "| no filter | 0.80 | 6 of 200 |" in measured.attempts_to_learn()
    save_rows(tmp_path / "evidence" / "E7.csv", [
        {"seed": seed, "failure": failure, "guard": guard, "error": error + 0.2 * seed, "right": 0.5}
        for seed in (0, 1) for failure in ("distractors", "stale", "contradiction", "no_answer", "planted", "ordinary")
        for guard, error in (("no guard", 0.6), ("guarded", 0.1))
    ])
    assert "| an old edition | 0.70 | 0.20 | 0.50 | 0.50 |" in measured.retrieval_failures() and measured.retrieval_failures().count("\n| ") == 8


def test_the_table_of_speeds_and_what_was_not_measured(book_module, tmp_path, monkeypatch):
    rendered = book_module("rendered")
    monkeypatch.setattr(rendered, "BOOK", tmp_path)
    assert rendered.bench() == "Not measured yet." and rendered.bench_goals().count("not measured here") == 2
    row = {"method": "lora", "arm": "ours", "tokens_per_second": 1234.5, "interval": [1000, 2000], "of_bare": [0.95, 0.91, 0.99],
           "cpu_of_bare": [0.96, 0.95, 0.97], "mfu": 0.314, "peak_bytes": 2**30, "loss": 1.23456}
    entry = {"model": {"name": "qwen3-0.6b", "parameters": 10}, "device": "cpu", "threads": 1, "commit": "abc", "command": "finetunelab bench sft",
             "data": {"name": "lengths", "conversations": 2, "tokens": 5, "longest": 64, "filled": 0.9},
             "rows": [row, row | {"arm": "trl", "tokens_per_second": 500.0}]}
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "bench-cpu.json").write_text(json.dumps([entry]))
    table = rendered.bench()
    assert "| LoRA | `finetunelab` | 1,234 (1,000 to 2,000) | 0.95 (0.91 to 0.99) | 0.96 (0.95 to 0.97) | 31% | 1,024 | 1.2346 |" in table
    assert "**qwen3-0.6b**, 10 parameters, on cpu, 1 thread." in table
    assert rendered.bench_goals().count("not measured here") == 1 and "| 2.5 times, 31% (lora, cpu) |" in rendered.bench_goals()
    assert rendered.bench_rl() == "Not measured yet."
    row = {"seconds": 1.5, "interval": [1.4, 1.6], "cpu_seconds": 1.2, "tokens_per_second": 2345.6, "generated_per_second": 5000.0, "length": 42.25}
    ours = row | {"arm": "ours", "shares": {"generation": 0.42, "scoring": 0.15, "update": 0.43}, "of_rloo": [2.0, 1.9, 2.1]}
    loop = {**entry, "command": "finetunelab bench rl", "settings": {"responses": 64, "tokens": 72}, "rows": [row | {"arm": "rloo", "shares": {}}, ours]}
    (tmp_path / "evidence" / "bench-cpu.json").write_text(json.dumps([entry, loop]))
    assert rendered.bench() == table and "Ours takes a step 2.0 (1.9 to 2.1) times as fast." in rendered.bench_rl()
    assert "| `finetunelab`, PPO | 1.50 (1.40 to 1.60) | 1.20 | 2,346 | 5,000 | 42% | 15% | 43% | 42.2 |" in rendered.bench_rl()
    assert "| trl, RLOO | 1.50 (1.40 to 1.60) | 1.20 | 2,346 | 5,000 |  |  |  | 42.2 |" in rendered.bench_rl()
    assert rendered.bench_index() == "Not measured yet."
    speeds = {name: {"per_second": value} for name, value in (("one", 1500.4), ("one_exact", 60.0), ("filtered", 300.0))}
    size = {"vectors": 1_000_000, "kind": "hnsw", "recall": 0.9754, **speeds, "of_exact": 25.04, "cpu_of_exact": 24.0, "bytes_a_vector": 4321.4,
            "add_seconds": 0.0012, "delete_seconds": 0.0034, "fill_cpu_seconds": 301.2}
    index = {"command": "finetunelab bench index", "commit": "abc", "faiss": "1.2", "faiss_threads": 2, "settings": {"queries": 100}, "rows": [size]}
    (tmp_path / "evidence" / "bench-cpu.json").write_text(json.dumps([entry, index]))
    assert rendered.bench() == table
    assert "| 1,000,000 | hnsw | 0.975 | 1,500 | 60 | 25.0 | 24.0 | 300 | 4,321 | 1.2 | 3.4 | 301 |" in rendered.bench_index()


def test_the_glossary_is_long_enough_and_in_order():
    text = (BOOK / "glossary.md").read_text()
    terms = re.findall(r"^(\S.*)\n  \S", text, re.MULTILINE)
    assert len(terms) >= 60
    assert [term.lower() for term in terms] == sorted(term.lower() for term in terms)


def test_no_result_is_typed_by_hand():
    """A share or a percentage in prose comes from a results file; only the level of an interval is ours to write."""
    typed = {}
    for path in BOOK.glob("*.md"):
        text = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found = [hit for hit in re.findall(r"(?<![\d.\w])(?:0?\.\d+|\d+(?:\.\d+)?\s?%)", text) if hit.replace(" ", "") != "95%"]
        if found and path.name != "glossary.md":
            typed[path.name] = found
    assert not typed
