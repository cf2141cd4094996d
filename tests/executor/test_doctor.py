"""The doctor looks at the real machine; where it finds nothing wrong, a jail has to run."""

import pytest

from executor import ExecutorConfig
from executor.doctor import run_checks, works

pytestmark = pytest.mark.sandbox


def test_every_failed_check_says_the_fix() -> None:
    checks = run_checks()
    assert [check.name for check in checks] == [
        "python",
        "proc",
        "nsjail",
        "namespaces",
        "cgroups",
        "users",
        "seccomp",
        "cpp",
        "javascript",
        "jail",
        "fork server",
    ]
    for check in checks:
        assert check.detail
        assert check.ok == (not check.fix)


def test_where_the_parts_are_well_the_jail_is() -> None:
    checks = run_checks()
    if all(check.ok for check in checks[:-2]):
        assert all(check.ok for check in checks[-2:]), checks[-2:]
        assert works()


def test_what_is_wrong_is_found() -> None:
    checks = {check.name: check for check in run_checks(ExecutorConfig(nsjail="/bin/true", cgroup_backend="none"))}
    assert not checks["nsjail"].ok and "/bin/true" in checks["nsjail"].detail
    assert not checks["cgroups"].ok and 'allow_weaker = ["memory-per-process"' in checks["cgroups"].fix
    assert not checks["jail"].ok
