"""Feature flags, and their evaluation."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.flags.feature_flags import FeatureFlagService
from server.domains.flags.flag_evaluation import FlagEvaluationService
from server.domains.flags.tables import feature_flag_evaluations, feature_flags
from server.kernel.module import Expire, Module, Serve
from server.kernel.privacy import NotPersonal

KEPT = timedelta(days=90)
MODULE = Module(
    "flags",
    services=(
        Serve(FeatureFlagService, lambda platform: FeatureFlagService(platform.clock)),
        Serve(
            FlagEvaluationService,
            lambda platform: FlagEvaluationService(platform.database, platform.generations, platform.clock),
        ),
    ),
    roles={
        "editor": ("flags.*",),
        "member": ("flags.*.read", "flags.flags.evaluate"),
        "viewer": ("flags.*.read", "flags.flags.evaluate"),
        "employee": ("flags.flags.evaluate",),
        "partner": ("flags.flags.evaluate",),
    },
    grants=Grants(dispatch_writes=("feature_flag_evaluations",)),
    retention=(Expire(table=feature_flag_evaluations, by="day", after=KEPT, every_tenant=True),),
    erases=(
        NotPersonal(
            feature_flags,
            *("key", "description", "variants", "off_variant", "rules", "default_serving", "prerequisites"),
            why="of a program",
        ),
        NotPersonal(feature_flag_evaluations, "day", "variant", why="counts"),
    ),
)
