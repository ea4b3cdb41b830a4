"""Search of pages: what is found by which words, in which order, and what is not found."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from plinth.sites.v1.page_pb2 import CreatePageRequest, ListPagesRequest, Page, UndeletePageRequest, UpdatePageRequest

from tests.clients import Tenant, another_tenant, problem, rows
from tests.contract.instances import made

Find = Callable[..., list[str]]


def make(tenant: Tenant, title: str, **body: Any) -> str:
    """A page. Returns its id."""
    page: str = made(tenant, f"{tenant.path}/pages", {"title": title, **body})["id"]
    return page


def over_rest(tenant: Tenant, **options: Any) -> list[str]:
    response = tenant.rest.get(f"{tenant.path}/pages", options)
    assert response.status_code == 200, response.text
    return [page["title"] for page in response.json()["pages"]]


def over_grpc(tenant: Tenant, **options: Any) -> list[str]:
    answer = tenant.stubs.pages.ListPages(ListPagesRequest(tenant_id=tenant.id, **options))
    return [page.title for page in answer.pages]


@pytest.fixture(params=[over_rest, over_grpc])
def find(request: pytest.FixtureRequest) -> Find:
    """Both doors to the list: returns titles."""
    door: Find = request.param
    return door


@pytest.fixture(scope="module")
def library(first_tenant: Tenant) -> Tenant:
    """A tenant with pages in several languages. Tests only read."""
    tenant = another_tenant(first_tenant)
    make(tenant, "دليل مكة", slug="makkah")
    make(tenant, "Zürich", slug="z1", description="The lake and the old town")
    make(tenant, "Zuerich", slug="z2")
    make(tenant, "Restaurants in Zurich", slug="z3")
    make(tenant, "Opening hours", slug="hours", description="When the restaurants of Zürich open")
    make(tenant, "東京タワー", slug="tokyo")
    make(tenant, "Invoice 20261", slug="invoice")
    return tenant


ZURICH = ["Restaurants in Zurich", "Zürich", "Opening hours", "Zuerich"]


@pytest.mark.parametrize(
    ("q", "titles"),
    [
        ("مكة", ["دليل مكة"]),
        ("مَكَّه", ["دليل مكة"]),
        # Title before description. `zuerich` has one letter more, so it comes last.
        ("zurich", ZURICH),
        ("ZURICH", ZURICH),
        # What is spelled in either way is found by the umlaut.
        ("Zürich", ["Restaurants in Zurich", "Zuerich", "Zürich", "Opening hours"]),
        ("Zuerich", ["Zuerich", "Zürich", "Opening hours", "Restaurants in Zurich"]),
        # The beginning of the last word.
        ("rest", ["Restaurants in Zurich", "Opening hours"]),
        ("zurich rest", ["Restaurants in Zurich", "Opening hours"]),
        ("rest zurich", []),
        # A letter missing, added, replaced, in another place.
        ("restuarants", ["Restaurants in Zurich", "Opening hours"]),
        ("restarants", ["Restaurants in Zurich", "Opening hours"]),
        ("restauurants", ["Restaurants in Zurich", "Opening hours"]),
        ("restaurents", ["Restaurants in Zurich", "Opening hours"]),
        ("rastaurents", []),
        ("hhurs", ["Opening hours"]),
        # Every word has to be there, in any order and in any field.
        ("town Zürich", ["Zürich"]),
        ("lake zurch town", ["Zürich"]),
        ("town opening", []),
        ("zurich nowhere", []),
        # A number with another digit is another number.
        ("20261", ["Invoice 20261"]),
        ("20262", []),
        # The slug is found by its words too.
        ("makkah", ["دليل مكة"]),
        ("京", ["東京タワー"]),
        ("東京", ["東京タワー"]),
        ("京東", []),
        ("!?", []),
    ],
)
def test_what_is_found_and_in_which_order(library: Tenant, find: Find, q: str, titles: list[str]) -> None:
    assert find(library, q=q) == titles


def test_a_word_itself_comes_before_longer_ones_and_those_before_typos(tenant: Tenant, find: Find) -> None:
    for title in ("housing", "houses", "house", "hours", "horse"):
        make(tenant, title, description="house" if title == "hours" else "")
    # `hours` has the word in its description.
    assert find(tenant, q="house") == ["house", "hours", "houses", "horse"]


def test_equal_pages_are_newest_first(tenant: Tenant, find: Find) -> None:
    for number in range(3):
        make(tenant, f"Page number {number}")
    assert find(tenant, q="number") == ["Page number 2", "Page number 1", "Page number 0"]


def test_the_pages_of_a_search(tenant: Tenant) -> None:
    for number in range(5):
        make(tenant, f"Museum {number}", description="museums" if number % 2 else "")
    make(tenant, "Mseum")
    expected = over_grpc(tenant, q="museum")
    assert len(expected) == 6
    found, token = [], ""
    while True:
        request = ListPagesRequest(tenant_id=tenant.id, q="museum", page_size=2, page_token=token, include_total=True)
        answer = tenant.stubs.pages.ListPages(request)
        assert answer.total_size == 6
        found += [page.title for page in answer.pages]
        token = answer.next_page_token
        if not token:
            break
    assert found == expected
    assert over_grpc(tenant, q="museum", skip=4) == expected[4:]
    assert over_grpc(tenant, q="museum", order_by="title") == sorted(expected)
    first = tenant.rest.get(f"{tenant.path}/pages", {"q": "museum", "pageSize": 2}).json()
    for other in ({"q": "museums"}, {}):
        refused = tenant.rest.get(f"{tenant.path}/pages", {**other, "pageToken": first["nextPageToken"]})
        assert (refused.status_code, problem(refused).reason) == (400, "PAGE_TOKEN_INVALID")


def test_the_total_of_nothing(tenant: Tenant) -> None:
    for q in ("nothing", "nothing at all", "?"):
        answer = tenant.rest.get(f"{tenant.path}/pages", {"q": q, "includeTotal": True}).json()
        assert answer == {"pages": [], "nextPageToken": "", "totalSize": 0}


def test_a_search_is_narrowed_by_the_filter(tenant: Tenant, find: Find) -> None:
    make(tenant, "Draft guide", slug="draft")
    published = make(tenant, "Published guide", slug="published")
    assert tenant.rest.post(f"{tenant.path}/pages/{published}/publish").status_code == 200
    assert find(tenant, q="guide", filter="status = PUBLISHED") == ["Published guide"]
    assert find(tenant, q="guide", filter='slug = "draft"') == ["Draft guide"]
    assert find(tenant, q="guide published", filter="status = DRAFT") == []


def test_another_tenant_s_pages_are_never_found(library: Tenant, tenant: Tenant, find: Find) -> None:
    make(tenant, "Zurich only")
    assert find(tenant, q="zurich") == ["Zurich only"]
    for q in ("مكة", "restaurants", "restuarants", "rest", "town lake"):
        assert find(library, q=q)
        assert find(tenant, q=q) == []


def test_a_change_is_found_at_once(tenant: Tenant, find: Find) -> None:
    page = make(tenant, "Before", slug="page", description="constant")
    assert find(tenant, q="before") == ["Before"]
    assert tenant.rest.patch(f"{tenant.path}/pages/{page}", {"title": "Afterwards"}).status_code == 200
    assert find(tenant, q="before") == []
    assert find(tenant, q="afterwords") == find(tenant, q="constant") == ["Afterwards"]
    # The same word in a heavier field.
    other = make(tenant, "Elsewhere", slug="other", description="constant")
    assert find(tenant, q="constant") == ["Elsewhere", "Afterwards"]
    assert tenant.rest.patch(f"{tenant.path}/pages/{page}", {"title": "Constant"}).status_code == 200
    assert find(tenant, q="constant") == ["Constant", "Elsewhere"]
    assert tenant.rest.delete(f"{tenant.path}/pages/{other}").status_code == 204


def test_deleted_pages_are_found_again_when_they_are_back(tenant: Tenant, find: Find) -> None:
    page = make(tenant, "Here and gone")
    assert find(tenant, q="gone") == ["Here and gone"]
    assert tenant.rest.delete(f"{tenant.path}/pages/{page}").status_code == 204
    assert find(tenant, q="gone") == []
    assert words_of(tenant, page) == set()
    tenant.stubs.pages.UndeletePage(UndeletePageRequest(tenant_id=tenant.id, page_id=page))
    assert find(tenant, q="gone") == ["Here and gone"]


def test_a_copy_is_found(tenant: Tenant, find: Find) -> None:
    page = make(tenant, "Original")
    assert tenant.rest.post(f"{tenant.path}/pages/{page}/duplicate", {"title": "Facsimile"}).status_code == 201
    assert find(tenant, q="facsimile") == ["Facsimile"]


def test_the_words_of_a_page_go_with_its_row(tenant: Tenant) -> None:
    page = make(tenant, "Purged")
    assert words_of(tenant, page) == {"", "purged"}
    rows(tenant.stack, "DELETE FROM pages WHERE id = %s RETURNING id", page)
    assert words_of(tenant, page) == set()


def test_nothing_is_written_when_no_word_changes(tenant: Tenant) -> None:
    page = make(tenant, "Same words", slug="same")
    query = "SELECT xmin::text, ctid::text, word FROM pages_words WHERE resource_id = %s ORDER BY word"
    before = rows(tenant.stack, query, page)
    update = Page(title="WORDS, same!", description="words")
    request = UpdatePageRequest(
        tenant_id=tenant.id, page_id=page, page=update, update_mask=FieldMask(paths=["title", "description"])
    )
    assert tenant.stubs.pages.UpdatePage(request).title == "WORDS, same!"
    assert rows(tenant.stack, query, page) == before


def test_a_write_that_fails_leaves_no_words(tenant: Tenant, find: Find) -> None:
    make(tenant, "First", slug="taken")
    refused = tenant.rest.post(f"{tenant.path}/pages", {"title": "Second", "slug": "taken"})
    assert refused.status_code == 409
    assert find(tenant, q="second") == []
    assert rows(tenant.stack, "SELECT word FROM pages_typos WHERE tenant_id = %s AND word = 'second'", tenant.id) == []


def test_pages_that_are_made_at_once_are_all_found(tenant: Tenant) -> None:
    """They bring the same new words, in different orders."""
    words = ["aardvark", "beaver", "chinchilla", "dormouse"]
    calls = [
        tenant.stubs.pages.CreatePage.future(
            CreatePageRequest(tenant_id=tenant.id, page=Page(title=" ".join(words[n % 4 :] + words[: n % 4])))
        )
        for n in range(12)
    ]
    assert len({call.result().id for call in calls}) == 12
    for word in ("aardvark", "beavers", "chinchila", "dormuose"):
        assert len(over_grpc(tenant, q=word)) == 12


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({"q": "a b c d e f g h i j k"}, 422, "q"),
        ({"q": "x" * 201}, 422, "q"),
        ({"q": "gone", "showDeleted": True}, 422, "showDeleted"),
    ],
)
def test_what_is_refused(library: Tenant, options: dict[str, Any], status: int, field: str) -> None:
    response = library.rest.get(f"{library.path}/pages", options)
    assert response.status_code == status
    assert list(problem(response).violations) == [field]


def test_a_search_is_not_cached(tenant: Tenant) -> None:
    """A row that is changed behind the cache is seen at once."""
    make(tenant, "Seen once")
    assert over_rest(tenant, q="seen") == ["Seen once"]
    rows(tenant.stack, "UPDATE pages SET title = 'Seen again' WHERE tenant_id = %s RETURNING id", tenant.id)
    assert over_rest(tenant, q="seen") == ["Seen again"]


def words_of(tenant: Tenant, page: str) -> set[str]:
    """The stored words of a page."""
    return {row["word"] for row in rows(tenant.stack, "SELECT word FROM pages_words WHERE resource_id = %s", page)}
