"""When a server has settled: two looks in a row that find nothing at work, and the same counts."""

from benchmarks.load.scrape import Scraper
from engine.exposition import Book, key
from engine.metric_words import PRIORITIES

RUNNING = key("thresher_solves_running", model="m")
ENDED = key("thresher_solves_total", model="m", outcome="solved", priority=PRIORITIES[0])
TOKENS = key("thresher_generated_tokens_total", model="m")


class Looks(Scraper):
    """Finds these, one after the other."""

    def __init__(self, *books: Book) -> None:
        super().__init__("127.0.0.1:1")
        self.left = list(books)

    async def scrape(self) -> Book:
        return self.left.pop(0)


async def test_a_look_into_the_middle_of_an_end_is_not_the_last() -> None:
    works: Book = {RUNNING: 1.0, ENDED: 6.0, TOKENS: 60.0}
    half: Book = {RUNNING: 0.0, ENDED: 6.0, TOKENS: 70.0}
    late: Book = {RUNNING: 0.0, ENDED: 7.0, TOKENS: 70.0}
    for found in ((works, half, late, late), (works, works, late, late), (half, late, late), (late, late)):
        looks = Looks(*found)
        assert await looks.settled() == late
        assert looks.left == []
