"""Reports of stories, chapters and comments."""

from plinth.stories.v1 import story_report_pb2
from plinth.stories.v1.moderation_item_pb2 import ModerationItem
from plinth.stories.v1.story_report_pb2 import StoryReport

from server.domains.stories.decisions import HIDE, Grounds, decide
from server.domains.stories.moderation_items import ITEM
from server.domains.stories.moderation_queue import REPORT as REPORT_ITEM
from server.domains.stories.moderation_queue import open_item
from server.domains.stories.moderation_subjects import ModeratedSubjects
from server.domains.stories.report_rows import RECORD, REPORT, WEIGH
from server.domains.stories.report_weights import weight_of
from server.domains.stories.settings import TRUSTED, ReviewRules
from server.domains.stories.story_resource import STORY
from server.domains.stories.tables import story_reports
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.problems import StateForbids
from server.kernel.resources import Hooks, Parent, ReadRows, Resource, Service

MANY_REPORTS = Grounds("Many people have reported it.", is_automated=True)


class StoryReportService(Service[StoryReport]):
    """Reports."""

    descriptor = story_report_pb2.DESCRIPTOR.services_by_name["StoryReportService"]
    resource = Resource(
        StoryReport,
        story_reports,
        filterable=("id", "reason", "state", "weight", "create_time"),
        sortable=("create_time", "weight"),
        parent=Parent("moderation_item_id", ITEM),
    )

    def __init__(self, subjects: ModeratedSubjects, rules: ReviewRules) -> None:
        super().__init__()
        self._subjects, self._rules = subjects, rules
        self._items = ReadRows(Hooks(), ITEM)
        self._stories = ReadRows(Hooks(), STORY)

    def report_story(self, call: Call, request: story_report_pb2.ReportStoryRequest) -> StoryReport:
        """Report something."""
        held = self._subjects.seen(call, request.story_id, request.story_chapter_id, request.story_comment_id)
        user_id = self._stories.owner_of_new(call)
        subject = held.subject
        if not held.is_shown:
            raise self._forbidden(subject.id, "Only what is shown is reported.", "NOT_SHOWN")
        if subject.author_id == user_id:
            raise self._forbidden(subject.id, "Nobody reports their own work.", "OWN")
        item_id = open_item(call, REPORT_ITEM, subject)
        report = self._stored(call, item_id, request)
        score = float(call.writes.run(WEIGH, tenant=call.tenant_id, item=item_id).row(0)["score"])
        if score >= self._rules.of(str(call.tenant_id)).hide_score:
            held.hide()
            decide(call, self._item(call, item_id), HIDE, MANY_REPORTS)
        # Moderators alone see who has reported.
        call.audience = user_id
        return report

    def _stored(self, call: Call, item_id: str, request: story_report_pb2.ReportStoryRequest) -> StoryReport:
        user_id = call.caller.user_id
        record = call.writes.run(RECORD, tenant=call.tenant_id, user=user_id).first() or {"agreed": 0, "disagreed": 0}
        is_moderator = call.access is not None and TRUSTED in call.access.permissions
        result = call.writes.run(
            REPORT,
            tenant=call.tenant_id,
            id=new_id(),
            item=item_id,
            user=user_id,
            reason=request.reason,
            text=request.text,
            weight=weight_of(record["agreed"], record["disagreed"], is_moderator=is_moderator),
        )
        return self.rows.get(call, str(result.row(0)["id"]))

    def _item(self, call: Call, item_id: str) -> ModerationItem:
        return self._items.get(call, item_id)

    def _forbidden(self, resource_id: str, fault: str, state: str) -> StateForbids:
        metadata = {"resource_type": self.rows.type, "resource": resource_id, "state": state}
        return StateForbids(fault, metadata=metadata)
