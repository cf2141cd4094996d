"""The page table: every page is free, or referenced n > 0 times."""


class OutOfPages(Exception):
    """No page is free. The scheduler makes room before it asks, so this is a bug if it leaves the core."""


class PagePool:
    """Reference counts over a fixed number of pages.

    Pages are handed out lowest-recently-freed last, so a small working set stays in the caches.
    """

    def __init__(self, pages: int) -> None:
        if pages < 1:
            raise ValueError(f"pages: {pages} is not a pool; give at least 1")
        self.capacity = pages
        self._free = list(range(pages - 1, -1, -1))
        self._references = [0] * pages
        self._shelved = bytearray(pages)
        self.shared = 0
        """Number of pages referenced more than once, the cache of prompts left out."""
        self.idle = 0
        """Number of pages that nobody but the cache of prompts holds."""

    @property
    def free(self) -> int:
        """Number of free pages."""
        return len(self._free)

    def allocate(self) -> int:
        """A free page, referenced once."""
        if not self._free:
            raise OutOfPages(f"all {self.capacity} pages are referenced")
        page = self._free.pop()
        self._references[page] = 1
        return page

    def retain(self, page: int) -> None:
        """One more reference to a page that is in use."""
        if self._references[page] < 1:
            raise ValueError(f"page {page} is free and cannot be retained")
        self._references[page] += 1
        users = self._references[page] - self._shelved[page]
        self.shared += users == 2
        self.idle -= users == 1

    def release(self, page: int) -> None:
        """One reference less; at zero the page is free."""
        if self._references[page] - self._shelved[page] < 1:
            raise ValueError(f"page {page} is free already")
        self._references[page] -= 1
        users = self._references[page] - self._shelved[page]
        self.shared -= users == 1
        if users:
            return
        if self._shelved[page]:
            self.idle += 1
        else:
            self._free.append(page)

    def shelve(self, page: int) -> None:
        """The cache of prompts holds a page that is in use, so that it stays when nobody else does."""
        if self._references[page] < 1 or self._shelved[page]:
            raise ValueError(f"page {page} is free or in the cache already")
        self._references[page] += 1
        self._shelved[page] = 1

    def unshelve(self, page: int) -> None:
        """The cache holds a page no more."""
        if not self._shelved[page]:
            raise ValueError(f"page {page} is not in the cache")
        self._references[page] -= 1
        self._shelved[page] = 0
        if self._references[page] == 0:
            self.idle -= 1
            self._free.append(page)

    def references(self, page: int) -> int:
        """How often the page is referenced."""
        return self._references[page]

    def check_invariants(self, expected: dict[int, int]) -> None:
        """Prove that free list and counts agree with `expected` (page -> references of segments and cache)."""
        for page, count in enumerate(self._references):
            if count != expected.get(page, 0):
                raise AssertionError(f"page {page} has {count} references, its holders count {expected.get(page, 0)}")
        users = [count - shelved for count, shelved in zip(self._references, self._shelved, strict=True)]
        if self.shared != sum(count > 1 for count in users):
            raise AssertionError("the count of shared pages is wrong")
        if self.idle != sum(shelved and not count for count, shelved in zip(users, self._shelved, strict=True)):
            raise AssertionError("the count of idle pages is wrong")
        if len(self._free) != len(set(self._free)):
            raise AssertionError("a page is in the free list twice")
        if {p for p in range(self.capacity) if self._references[p] == 0} != set(self._free):
            raise AssertionError("the free list is not the set of unreferenced pages")
