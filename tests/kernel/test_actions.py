"""Actions: which state a resource gets, and where one has no states."""

import pytest
from plinth.stories.v1.story_pb2 import Story
from plinth.stories.v1.story_settings_pb2 import StorySettings

from server.domains.stories.settings import StorySettingsService
from server.domains.stories.story_resource import STORY
from server.kernel.problems import StateForbids
from server.kernel.resources import Hooks, ResourceRows


def test_an_action_changes_a_copy() -> None:
    rows: ResourceRows[Story] = ResourceRows(Hooks(), STORY)
    before = Story(state=Story.STATE_SUBMITTED, title="Fog")
    assert rows.acted(before, "withdraw") == Story(state=Story.STATE_DRAFT, title="Fog")
    assert before.state == Story.STATE_SUBMITTED
    with pytest.raises(StateForbids):
        rows.acted(before, "unpublish")


def test_a_resource_without_states_has_no_actions() -> None:
    rows: ResourceRows[StorySettings] = ResourceRows(Hooks(), StorySettingsService.resource)
    with pytest.raises(LookupError, match="declares no states"):
        rows.acted(StorySettings(), "withdraw")
