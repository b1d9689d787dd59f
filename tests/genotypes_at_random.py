"""Genotypes of any shape, for hypothesis."""

from hypothesis import strategies as st

from archselect.genotype import CellGenotype, Genotype, Input

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    cells = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        inputs = draw(st.integers(1, 3))
        nodes = []
        for state in range(inputs, inputs + draw(st.integers(1, 4))):
            sources = draw(st.lists(st.integers(0, state - 1), min_size=1, unique=True))
            nodes.append(tuple(Input(draw(NAMES), source) for source in sources))
        cells.append(CellGenotype(name, inputs, tuple(nodes)))
    return Genotype(tuple(cells))
