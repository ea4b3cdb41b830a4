"""Settings of files."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import NoDecode

from server.setting_values import COMMAS, UNLESS_EMPTY, BucketUrl, MediaType, ProviderUrl
from server.settings import DomainSettings

MEGABYTE = 1024 * 1024


class FilesSettings(DomainSettings):
    """Where files are stored, and which are taken."""

    files_bucket: Annotated[BucketUrl | None, UNLESS_EMPTY] = Field(
        None,
        description="Where files are stored: a bucket of S3, or of what speaks its API, such as `s3://acme/files`. "
        "Unset: the folder `files` of DATA_DIR, which then has to be backed up too, and which all hosts share.",
    )
    files_s3_endpoint: Annotated[ProviderUrl | None, UNLESS_EMPTY] = Field(
        None, description="Where its API is, such as `https://s3.example.com`. Unset: that of AWS."
    )
    files_s3_region: str = Field("us-east-1", description="Its region.")
    files_s3_access_key: str = Field(
        "", description="Id of the key. Unset: what the environment has, such as the role of an instance."
    )
    files_s3_secret_key: Annotated[SecretStr | None, UNLESS_EMPTY] = Field(None, description="The key.")
    files_content_types: Annotated[tuple[MediaType, ...], NoDecode, COMMAS] = Field(
        ("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "application/pdf"),
        description="The types of files that are taken, by their content, comma separated.",
    )
    files_max_image_bytes: int = Field(5 * MEGABYTE, ge=1024, le=16 * MEGABYTE, description="Largest image, in bytes.")
    files_max_bytes: int = Field(20 * MEGABYTE, ge=1024, le=256 * MEGABYTE, description="Largest other file, in bytes.")
    files_max_image_pixels: int = Field(
        25_000_000,
        ge=10_000,
        le=100_000_000,
        description="The most pixels of an image, all its frames together. Each takes 4 bytes while it is read.",
    )
    files_most_megabytes: int = Field(
        10_240, ge=0, description="The most that a tenant may store, in megabytes. 0: no limit."
    )
