"""TLS towards clients."""

import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from plinth.sites.v1 import page_pb2, page_pb2_grpc

from tests.certificates import make_certificate
from tests.edge.gateway import PAGES, PATIENCE, running

pytestmark = pytest.mark.heavy


def test_every_protocol_over_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with running(tls_certificate=certificate, tls_key=key) as gateway:
        trust = ssl.create_default_context(cafile=str(certificate))
        for two, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
            with httpx.Client(http2=two, verify=trust, timeout=PATIENCE) as client:
                answer = client.get(f"https://{gateway.address}{PAGES}")
                assert (answer.status_code, answer.http_version) == (200, version)
                assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
                refused = client.get(f"https://{gateway.address}/nope")
                assert "strict-transport-security" in refused.headers
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(gateway.address, credentials) as channel:
            pages: Any = page_pb2_grpc.PageServiceStub
            pages(channel).GetPage(page_pb2.GetPageRequest(), timeout=PATIENCE)
        assert gateway.backend.calls[-1].metadata["x-forwarded-proto"] == "https"


def test_old_tls_and_plain_http_are_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with running(tls_certificate=certificate, tls_key=key) as gateway:
        old = ssl.create_default_context(cafile=str(certificate))
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with httpx.Client(verify=old, timeout=PATIENCE) as client, pytest.raises(httpx.TransportError):
            client.get(f"https://{gateway.address}{PAGES}")
        with httpx.Client(timeout=PATIENCE) as client, pytest.raises(httpx.TransportError):
            client.get(f"http://{gateway.address}{PAGES}")
