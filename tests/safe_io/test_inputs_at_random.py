"""Texts, tables and overrides at random: each is a value or a `ValueError` with a message, and round trips hold.

The fast tests try a few hundred, the slow ones ten thousand per property; of overrides, each of which composes the
whole config, five hundred.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tests.command import CONFIGS
from tests.genotypes_at_random import NAMES, genotypes
from tests.test_every_option import options

from archselect.evaluation import NASBench201Table
from archselect.evaluation.nasbench201 import ACCURACIES, COLUMNS
from archselect.genotype import Genotype
from archselect.pipeline.command_line import register_resolvers
from archselect.safe_io.config import read_config
from archselect.safe_io.files import parse_json
from archselect.utils.errors import is_user_error


def tried(few: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a property: `many=False` with `few` examples, `many=True`, which is slow, with 10,000."""

    def mark(body: Callable[..., None]) -> Callable[..., None]:
        quiet = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)

        def property_holds(many: bool, tmp_path: Path) -> None:
            given_body = given(st.data())(lambda data: body(data, tmp_path))
            settings(quiet, max_examples=10_000 if many else few)(given_body)()

        property_holds.__name__ = property_holds.__qualname__ = body.__name__
        both = [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.slow)]
        return pytest.mark.parametrize("many", both)(property_holds)

    return mark


def value_or_sentence(read: Callable[[], Any]) -> Any:
    """Return what is read; None where a `ValueError` says in words why there is nothing."""
    try:
        return read()
    except ValueError as error:
        assert len(str(error).split()) > 3 and len(str(error)) < 2000, repr(error)
        return None


@st.composite
def arches(draw: st.DrawFn) -> str:
    """A cell in NAS-Bench-201's notation, of one to four nodes and any operations."""
    nodes = range(1, draw(st.integers(1, 4)) + 1)
    return "+".join("|" + "".join(f"{draw(NAMES)}~{source}|" for source in range(node)) for node in nodes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(st.sampled_from(["cells", "name", "inputs", "nodes", "x"]), part, max_size=4)
    ),
    max_leaves=12,
)


def damaged(data: st.DataObject, text: str) -> str:
    """Return a text with a piece taken out, repeated or replaced."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    piece = data.draw(st.sampled_from(["", text[start:end] * 2, "٣", "\0", "@", "~", "|", "//", ":", "9" * 30, "None"]))
    return text[:start] + piece + text[end:]


@tried(few=40)
def test_every_genotype_is_read_back_from_every_form_as_it_was(data: st.DataObject, folder: Path) -> None:
    genotype, arch = data.draw(genotypes()), data.draw(arches())
    for text in (genotype.to_text(), genotype.to_json()):
        assert Genotype.parse(text) == genotype
    override = OverridesParser.create().parse_override(f"genotype={genotype.to_text()}")
    assert Genotype.parse(str(override.value())) == genotype  # Hydra's own grammar reads it
    assert Genotype.from_text(Genotype.parse(arch).to_text()).to_nasbench201() == arch


@tried(few=40)
def test_a_damaged_genotype_is_another_one_or_a_sentence(data: st.DataObject, folder: Path) -> None:
    genotype = data.draw(genotypes())
    text = damaged(data, data.draw(st.sampled_from([genotype.to_text(), genotype.to_json()]) | arches()))
    forms = ("from_text", "from_json", "from_official", "from_nasbench201", "parse")
    for read in (getattr(Genotype, form) for form in forms):
        found = value_or_sentence(lambda read=read: read(text))
        if found is not None:
            assert Genotype.from_text(found.to_text()) == found == Genotype.from_json(found.to_json())


@tried(few=40)
def test_any_json_is_a_genotype_or_a_sentence(data: st.DataObject, folder: Path) -> None:
    value = data.draw(JSON)
    value_or_sentence(lambda: Genotype.from_json(json.dumps(value)))
    value_or_sentence(lambda: parse_json(data.draw(st.text(max_size=30))))


CELLS = st.one_of(
    st.floats(0, 100).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e999", "True", "0x10", "1_0", "None", "9" * 40, '"', "\0", "a,b", "٣"]
    ),
    st.text(max_size=6),
    arches(),
)
ROW = st.tuples(
    st.integers(0, 20_000).map(str) | CELLS, arches() | CELLS, *[st.floats(0, 100).map(str) | CELLS] * len(ACCURACIES)
)


@tried(few=30)
def test_any_csv_is_a_table_or_a_sentence(data: st.DataObject, folder: Path) -> None:
    head = data.draw(st.just(COLUMNS) | st.permutations(COLUMNS) | st.lists(st.text(max_size=5), max_size=9))
    rows = data.draw(st.lists(ROW | st.lists(CELLS, max_size=10), max_size=4))
    text = "\n".join(",".join(line) for line in (head, *rows))
    (folder / "table.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    check_table(folder / "table.csv")


@tried(few=30)
def test_any_parquet_is_a_table_or_a_sentence(data: st.DataObject, folder: Path) -> None:
    from pyarrow import parquet

    number = data.draw(st.integers(0, 3))
    kinds = st.sampled_from([st.floats(0, 100), st.floats(), st.integers(-5, 2**62), st.text(max_size=4), st.none()])
    kinds |= st.sampled_from(
        [st.booleans(), st.binary(max_size=3), st.lists(st.integers(0, 3), max_size=2), st.dates()]
    )
    columns = {
        name: pyarrow.array(data.draw(st.lists(data.draw(kinds), min_size=number, max_size=number)))
        for name in data.draw(st.just(COLUMNS) | st.lists(st.sampled_from(COLUMNS), unique=True))
    }
    parquet.write_table(pyarrow.table(columns), folder / "table.parquet")
    content = (folder / "table.parquet").read_bytes()
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content = content[:place] + data.draw(st.binary(max_size=4)) + content[place + 1 :]
        (folder / "table.parquet").write_bytes(content)
    check_table(folder / "table.parquet")


def check_table(path: Path) -> None:
    table = value_or_sentence(lambda: NASBench201Table(path))
    if table is not None:
        for arch in table._rows:
            result = table.look_up(Genotype.from_nasbench201(arch))
            assert result.arch == arch and 0 <= result.cifar10_test <= 100
            assert 1 <= result.rank <= result.of == len(table)


@pytest.fixture(scope="module")
def tree() -> list[str]:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return list(options(compose("train")))


GROUPS = {
    folder.name: [file.stem for file in sorted(folder.glob("*.yaml"))]
    for folder in CONFIGS.iterdir()
    if folder.is_dir()
}
del GROUPS["hydra"], GROUPS["analysis"]
VALUES = st.one_of(
    st.integers(-3, 10**6).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["null", "true", "[]", "{}", "[1,2]", "{a: 1}", "'", '"', "???", "${seed}", "${nothing}", "\\", "é"]
    ),
    st.text(max_size=8),
    JSON.map(json.dumps),
)


@st.composite
def overrides(draw: st.DrawFn, places: list[str]) -> str:
    group = draw(st.sampled_from(sorted(GROUPS)))
    member = draw(st.sampled_from(GROUPS[group]) | st.text(max_size=5))
    sign = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
    place = draw(st.sampled_from(places) | st.text("abc._/@", max_size=8))
    return draw(st.sampled_from([f"{group}={member}", f"{sign}{place}={draw(VALUES)}", f"~{place}", draw(VALUES)]))


@pytest.mark.parametrize("many", [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.slow)])
def test_overrides_compose_or_end_in_a_sentence_of_the_command_line(many: bool, tree: list[str]) -> None:
    """The kinds of errors that `archselect.pipeline.command_line.launch` shows as a sentence, and no others."""

    @settings(max_examples=500 if many else 6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(overrides(tree), max_size=2))
    def check(typed: list[str]) -> None:
        try:
            config = compose("train", overrides=typed)
            OmegaConf.to_container(config, resolve=True)
        except Exception as error:
            if not is_user_error(error, composing=True):
                raise
            assert str(error)

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        check()


@tried(few=50)
def test_what_hydra_wrote_is_read_back_and_any_yaml_is_a_config_or_a_sentence(
    data: st.DataObject, folder: Path
) -> None:
    words = st.text("abc 1.-#:[]{}'\"\\é\n\t", max_size=8)
    config = data.draw(st.dictionaries(NAMES, words | st.floats(allow_nan=False) | st.integers() | st.lists(words)))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)), encoding="utf-8")
    assert read_config(folder / "config.yaml", folder) == config
    text = data.draw(st.text("ab:-[]{}&*!'\"$ \n#?|>%@`,0x1.\t", max_size=40) | JSON.map(yaml.safe_dump))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    value_or_sentence(lambda: read_config(folder / "config.yaml", folder))
