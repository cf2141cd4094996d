"""The tables of generated code in the kernels' notes are today's."""

import pytest

from tests.support.codegen_tables import BEGIN, END, KERNELS, PAGES


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_page_holds_what_is_generated(name: str) -> None:
    _, _, rest = (KERNELS / name).read_text().partition(BEGIN)
    told, end, _ = rest.partition(END)
    assert end
    assert told.strip() == PAGES[name]().strip(), "make it anew: python -m tests.support.codegen_tables"
