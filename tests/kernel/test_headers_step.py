"""headers: fields that headers fill, where the request leaves them empty."""

from typing import Any

import pytest
from plinth.files.v1.asset_upload_pb2 import AppendToAssetUploadRequest as Append
from plinth.files.v1.asset_upload_pb2 import CreateAssetUploadRequest as Create

from server.kernel.call import Call
from server.kernel.problems import Malformed
from server.kernel.steps.headers import Headers, header_fields
from tests.kernel.calls import GET, POLICIES, Context

CREATE_UPLOAD = POLICIES["/plinth.files.v1.AssetUploadService/CreateAssetUpload"]
APPEND = POLICIES["/plinth.files.v1.AssetUploadService/AppendToAssetUpload"]


def filled(request: Any, **headers: str) -> Any:
    method = CREATE_UPLOAD if isinstance(request, Create) else APPEND
    guard = Headers().guard(method)
    assert guard is not None
    guard(Call(method, Context(**headers)), request)
    return request


def test_what_is_empty_is_filled_and_what_is_set_stays() -> None:
    assert filled(Create(), upload_length="7", upload_metadata="a Yg==") == Create(length=7, metadata="a Yg==")
    assert filled(Create(length=3), upload_length="7") == Create(length=3)
    assert filled(Create()) == Create()


def test_a_zero_that_was_sent_is_there() -> None:
    assert filled(Append(), upload_offset="0").HasField("offset")
    assert filled(Append(offset=0), upload_offset="5") == Append(offset=0)
    assert not filled(Append()).HasField("offset")


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", "0x1", " 1", "9" * 10, "\u0661"])
def test_what_is_no_whole_number_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        filled(Create(), upload_length=text)
    assert refused.value.metadata == {"field": "upload-length"}


def test_most_rpcs_have_no_such_field() -> None:
    assert Headers().guard(GET) is None
    assert [name for _, name in header_fields(APPEND.descriptor.input_type)] == ["upload-offset"]
