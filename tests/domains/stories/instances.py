"""How stories, their chapters, comments and ratings are made and changed."""

import secrets
from typing import Any

from tests.clients import Rest, Tenant, new_member, rows, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made
from tests.stack import wait_for

STORIES = "/api/v1/stories"
SETTINGS, QUEUE = "/api/v1/moderation/settings", "/api/v1/moderation/queue"
SHOW = "UPDATE stories SET state = 3, publish_time = now(), revision_number = 1 WHERE id = %s RETURNING id"
TOLD = "SELECT 1 FROM notifications WHERE tenant_id = %s AND user_id = %s AND workflow = 'moderation-decision'"
OK = 200
OTHERS: dict[tuple[str, str], Rest] = {}
"""Other people, by tenant and role."""


def new_story(**body: Any) -> dict[str, Any]:
    """The JSON of a story."""
    return {"title": unique("Planted"), "body": "<p>Once upon a time.</p>", "summary": unique("Planted")} | body


def submit(tenant: Tenant, story_id: str) -> dict[str, Any]:
    """A draft that is submitted: published at once where its author moderates."""
    return made(tenant, f"{STORIES}/{story_id}/submit", {}, 200)


def published(tenant: Tenant, **body: Any) -> dict[str, Any]:
    """A story that everyone sees, also of somebody whose stories wait."""
    story = submit(tenant, made(tenant, STORIES, new_story(**body))["id"])
    if story["state"] != "STATE_PUBLISHED":
        rows(tenant.stack, SHOW, story["id"])
        story = tenant.rest.get(f"{STORIES}/{story['id']}").json()
    return story


def _story(tenant: Tenant) -> Named:
    """With a bookmark of its author, who follows themselves."""
    story = published(tenant, title=f"{MARK}-{tenant.subdomain}", slug=unique("story"), tags=["planted"])
    for path in (f"{STORIES}/{story['id']}/bookmark", f"/api/v1/authors/{tenant.owner.id}/follow"):
        assert tenant.rest.put(path, {}).status_code == OK
    assert _other(tenant, "member").put(f"{STORIES}/{story['id']}/ratings", {"stars": 4}).status_code == OK
    named = {"story_id": story["id"], "etag": story["etag"], "slug": story["slug"]}
    return named | {"author_id": tenant.owner.id, "tag": "planted"}


def _draft_story(tenant: Tenant) -> Named:
    story = made(tenant, STORIES, new_story())
    named = {"story_id": story["id"], "etag": story["etag"], "slug": story["slug"]}
    return named | {"author_id": tenant.owner.id, "tag": "planted"}


def new_chapter() -> dict[str, Any]:
    """The JSON of a chapter."""
    return {"title": unique("Planted"), "body": "<p>It went on.</p>"}


def _chapter(tenant: Tenant) -> Named:
    """With a sibling. Their ids are in another order than they have."""
    story = published(tenant)
    path = f"{STORIES}/{story['id']}/chapters"
    first, second = (made(tenant, path, new_chapter()) for _ in range(2))
    named = {"story_chapter_id": first["id"], "story_id": story["id"], "etag": first["etag"]}
    return named | {"ids": [second["id"], first["id"]]}


def _shown_chapters(tenant: Tenant) -> Named:
    """Those that others see as well."""
    named = _chapter(tenant)
    for chapter_id in named["ids"]:
        rows(tenant.stack, SHOW.replace("stories", "story_chapters"), chapter_id)
    path = f"{STORIES}/{named['story_id']}/chapters/{named['story_chapter_id']}"
    return {**named, "etag": tenant.rest.get(path).json()["etag"]}


def _revision(tenant: Tenant) -> Named:
    """With another one, so that a page of one has a next."""
    story = published(tenant)
    path = f"{STORIES}/{story['id']}"
    assert tenant.rest.patch(path, {"summary": unique("Changed")}).status_code == OK
    revision = tenant.rest.get(f"{path}/revisions").json()["storyRevisions"][-1]
    return {"story_revision_id": revision["id"], "story_id": story["id"], "etag": revision["etag"]}


def new_comment() -> dict[str, Any]:
    """The JSON of a comment."""
    return {"body": f"<p>{unique('Planted')}</p>"}


def _comment(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next, and a reply."""
    story = published(tenant)
    path = f"{STORIES}/{story['id']}/comments"
    comment, sibling = (made(tenant, path, new_comment()) for _ in range(2))
    made(tenant, path, new_comment() | {"parentId": sibling["id"]})
    place = f"{path}/{comment['id']}"
    assert tenant.rest.patch(place, new_comment()).status_code == OK
    assert _other(tenant, "member").put(f"{place}/vote", {"isHelpful": True}).status_code == OK
    comment = tenant.rest.get(place).json()
    named = {"story_comment_id": comment["id"], "story_id": story["id"], "etag": comment["etag"]}
    return named | {"reason": "Planted", "author_id": tenant.owner.id, "parent_id": sibling["id"]}


def _hidden_comment(tenant: Tenant) -> Named:
    named = _comment(tenant)
    hide = "UPDATE story_comments SET state = 3 WHERE id = %s RETURNING id"
    rows(tenant.stack, hide, named["story_comment_id"])
    return named


def _settings(tenant: Tenant) -> Named:
    changed = tenant.rest.patch(SETTINGS, {"hideScore": 100 - secrets.randbelow(10)})
    assert changed.status_code == OK, changed.text
    return {"etag": changed.json()["etag"]}


# Other people -------------------------------------------------------------------------------------------------------


def _other(tenant: Tenant, role: str) -> Rest:
    """Somebody else of the tenant, always the same one for a role."""
    if (tenant.id, role) not in OTHERS:
        _, session = new_member(tenant, role)
        OTHERS[tenant.id, role] = Rest(tenant.stack, session.access_token)
    return OTHERS[tenant.id, role]


def posted(rest: Rest, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What somebody makes or does over REST."""
    answer = rest.post(path, body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _submitted(tenant: Tenant) -> dict[str, Any]:
    """An item of the queue: a story of somebody else that waits."""
    author = _other(tenant, "member")
    story = posted(author, STORIES, new_story())
    posted(author, f"{STORIES}/{story['id']}/submit", {})
    query = {"filter": f'subject_id = "{story["id"]}"'}
    return dict(tenant.rest.get(QUEUE, query).json()["moderationItems"][0])


def theirs(tenant: Tenant) -> dict[str, Any]:
    """A published story of somebody else."""
    item = _submitted(tenant)
    posted(tenant.rest, f"{QUEUE}/{item['id']}/approve", {"etag": item["etag"]})
    return dict(tenant.rest.get(f"{STORIES}/{item['storyId']}").json())


def _item(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    item, _ = (_submitted(tenant) for _ in range(2))
    return {"moderation_item_id": item["id"], "etag": item["etag"], "reason": "Planted"}


def _reported(tenant: Tenant) -> dict[str, Any]:
    """A report of a story of the owner."""
    story = published(tenant)
    return posted(_other(tenant, "member"), f"{STORIES}/{story['id']}/report", {"reason": "REASON_SPAM"})


def _report(tenant: Tenant) -> Named:
    """With that of somebody else, so that a page of one has a next."""
    story = published(tenant)
    path = f"{STORIES}/{story['id']}/report"
    report, _ = (posted(_other(tenant, role), path, {"reason": "REASON_SPAM"}) for role in ("member", "editor"))
    named = {"story_report_id": report["id"], "moderation_item_id": report["moderationItemId"]}
    return named | {"etag": report["etag"], "reason": 1}


def _removed(tenant: Tenant) -> str:
    """A decision that removes a story of the owner."""
    path, editor = f"{QUEUE}/{_reported(tenant)['moderationItemId']}", _other(tenant, "editor")
    body = {"etag": editor.get(path).json()["etag"], "reason": "Planted"}
    return str(posted(editor, f"{path}/reject", body)["decisionId"])


def _decision(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next. Its author has been told."""
    decision_id, _ = (_removed(tenant) for _ in range(2))
    wait_for(lambda: len(rows(tenant.stack, TOLD, tenant.id, tenant.owner.id)) > 1, what="the author to be told")
    answer = tenant.rest.get(f"/api/v1/moderation/decisions/{decision_id}").json()
    named = {"moderation_decision_id": decision_id, "etag": answer["etag"], "author_id": tenant.owner.id}
    return named | {"text": "Planted"}


# Mutations ----------------------------------------------------------------------------------------------------------


def _draft(sweep: Any) -> dict[str, Any]:
    """Another story, which is a draft."""
    return {"storyId": made(sweep.tenant, STORIES, new_story())["id"]}


def _waiting(sweep: Any) -> dict[str, Any]:
    """Another story, which waits."""
    path = f"{STORIES}/{made(sweep.tenant, STORIES, new_story())['id']}"
    story = made(sweep.tenant, f"{path}/submit", {}, 200)
    # What moderators submit waits for nobody: it is put back as if it had.
    rows(sweep.tenant.stack, "UPDATE stories SET state = 2 WHERE id = %s RETURNING id", story["id"])
    return {"storyId": story["id"]}


def _draft_chapter(sweep: Any) -> dict[str, Any]:
    """Another chapter, which is a draft."""
    story = published(sweep.tenant)
    return {"storyId": story["id"], "storyChapterId": made(sweep.tenant, _chapters(story), new_chapter())["id"]}


def _chapters(story: dict[str, Any]) -> str:
    return f"{STORIES}/{story['id']}/chapters"


def _commented(sweep: Any, mode: str = "COMMENT_MODE_OPEN") -> dict[str, Any]:
    """A comment of somebody else on a story of the owner."""
    story = published(sweep.tenant, commentMode=mode)
    comment = posted(_other(sweep.tenant, "member"), f"{STORIES}/{story['id']}/comments", new_comment())
    return {"storyId": story["id"], "storyCommentId": comment["id"]}


def _pending(sweep: Any) -> dict[str, Any]:
    return _commented(sweep, "COMMENT_MODE_MODERATED")


def _to_decide(sweep: Any) -> dict[str, Any]:
    item = _submitted(sweep.tenant)
    return {"moderationItemId": item["id"], "etag": item["etag"]}


def _to_claim(sweep: Any) -> dict[str, Any]:
    return {"moderationItemId": _submitted(sweep.tenant)["id"]}


def _claimed(sweep: Any) -> dict[str, Any]:
    item = _to_claim(sweep)
    posted(sweep.tenant.rest, f"{QUEUE}/{item['moderationItemId']}/claim", {})
    return item


def _to_ignore(sweep: Any) -> dict[str, Any]:
    """Reports of what somebody else wrote."""
    story = theirs(sweep.tenant)
    report = posted(sweep.tenant.rest, f"{STORIES}/{story['id']}/report", {"reason": "REASON_SPAM"})
    path = f"{QUEUE}/{report['moderationItemId']}"
    return {"moderationItemId": report["moderationItemId"], "etag": sweep.tenant.rest.get(path).json()["etag"]}


def _theirs(sweep: Any) -> dict[str, Any]:
    return {"storyId": theirs(sweep.tenant)["id"]}


INSTANCES = {
    "plinth.stories.v1.Story": Instance(_story, new_story, unshown=_draft_story),
    "plinth.stories.v1.StoryChapter": Instance(_shown_chapters, new_chapter, unshown=_chapter),
    "plinth.stories.v1.StoryRevision": Instance(_revision),
    "plinth.stories.v1.StoryComment": Instance(_comment, new_comment, unshown=_hidden_comment),
    "plinth.stories.v1.StorySettings": Instance(_settings, lambda: {"hideScore": 9 + secrets.randbelow(80)}),
    "plinth.stories.v1.ModerationItem": Instance(_item),
    "plinth.stories.v1.ModerationDecision": Instance(_decision),
    "plinth.stories.v1.StoryReport": Instance(_report),
}
MUTATIONS = (
    Mutation("StorySettingsService/UpdateStorySettings", lambda _: {"updateMask": "hideScore"}, mask=("hide_score",)),
    Mutation("StoryService/CreateStory"),
    Mutation("StoryService/UpdateStory", lambda _: {"updateMask": "summary"}, mask=("summary",)),
    Mutation("StoryService/SubmitStory", _draft),
    Mutation("StoryService/WithdrawStory", _waiting),
    # Before further ones are made, since it names all of them.
    Mutation("StoryChapterService/ReorderStoryChapters"),
    Mutation("StoryChapterService/CreateStoryChapter"),
    Mutation("StoryChapterService/UpdateStoryChapter", lambda _: {"updateMask": "title"}, mask=("title",)),
    Mutation("StoryChapterService/SubmitStoryChapter", _draft_chapter),
    Mutation("StoryChapterService/WithdrawStoryChapter", before="SubmitStoryChapter"),
    Mutation("StoryChapterService/DeleteStoryChapter"),
    Mutation("StoryChapterService/UndeleteStoryChapter", before="DeleteStoryChapter"),
    Mutation("StoryCommentService/CreateStoryComment"),
    Mutation("StoryCommentService/UpdateStoryComment", lambda _: {"updateMask": "body"}, mask=("body",)),
    Mutation("StoryCommentService/VoteOnStoryComment", _commented),
    Mutation("StoryCommentService/WithdrawVoteOnStoryComment", _commented),
    Mutation("StoryCommentService/ApproveStoryComment", _pending),
    Mutation("StoryCommentService/RemoveStoryComment", _commented),
    Mutation("StoryCommentService/DeleteStoryComment"),
    Mutation("StoryCommentService/UndeleteStoryComment", before="DeleteStoryComment"),
    Mutation("StoryRatingService/RateStory", lambda sweep: _theirs(sweep) | {"stars": 4}),
    Mutation("StoryRatingService/DeleteStoryRating"),
    Mutation("StoryReadingService/BookmarkStory"),
    Mutation("StoryReadingService/RemoveStoryBookmark"),
    Mutation("StoryReadingService/SetStoryProgress", lambda _: {"storyChapterId": "", "position": 0.5}),
    Mutation("StoryReadingService/FollowAuthor"),
    Mutation("StoryReadingService/UnfollowAuthor", before="FollowAuthor"),
    Mutation(
        "StoryReportService/ReportStory",
        lambda sweep: _theirs(sweep) | {"storyChapterId": "", "storyCommentId": "", "reason": "REASON_SPAM"},
    ),
    Mutation("ModerationItemService/ClaimModerationItem", _to_claim),
    Mutation("ModerationItemService/ReleaseModerationItem", _claimed),
    Mutation("ModerationItemService/ApproveModerationItem", _to_decide),
    Mutation("ModerationItemService/RejectModerationItem", _to_decide),
    Mutation("ModerationItemService/IgnoreModerationItem", _to_ignore),
    Mutation("ModerationItemService/EscalateModerationItem", _to_decide),
    Mutation(
        "ModerationAppealService/AppealModerationDecision",
        lambda sweep: {"moderationDecisionId": _removed(sweep.tenant)},
    ),
    Mutation("StoryService/UnpublishStory"),
    Mutation("StoryService/DeleteStory"),
    Mutation("StoryService/UndeleteStory", before="DeleteStory"),
)
