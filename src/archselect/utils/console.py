"""How sentences are shown on a console."""

from rich.console import Console
from rich.table import Table

TITLE_WIDTH = 10


def print_titled(console: Console, title: str, words: str) -> None:
    """Print words, as markup, beside a title: wrapped between words on a terminal, and as one line in a file."""
    if not console.is_terminal:
        console.print(f"{title:<{TITLE_WIDTH}} {words}", highlight=False, soft_wrap=True)
        return
    columns = Table.grid(padding=(0, 1, 0, 0))
    columns.add_column(width=TITLE_WIDTH)
    columns.add_column(overflow="fold")
    columns.add_row(title, words)
    console.print(columns, highlight=False)
