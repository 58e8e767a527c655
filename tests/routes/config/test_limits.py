"""`limits:` of a site: for every listener that says nothing else, and an environment may change them."""

from routes.config.small_site import SITE

TWO = SITE.replace(
    "  out:", "  small: {listen: mllp, port: 2576, plaintext: a test, max_message: 64KiB}\n  out:"
)
LIMITS = "limits: {max_message: 1MiB, max_connections: 9, idle_timeout: 2h}\n"


def test_a_listener_has_the_site_s_limits_unless_it_says_its_own(load) -> None:
    site = load({"ifengine.yaml": TWO + LIMITS}).site
    first, small = site.listeners["in"], site.listeners["small"]
    assert (first.max_message_bytes, small.max_message_bytes) == (1024**2, 64 * 1024)
    assert (first.max_connections, small.max_connections) == (9, 9)
    assert (first.idle_timeout_seconds, first.frame_timeout_seconds) == (7200.0, 30.0)


def test_an_environment_may_change_them(load) -> None:
    files = {"ifengine.yaml": SITE + LIMITS, "env/prod.yaml": "limits: {max_connections: 90}\n"}
    listener = load(files, env="prod").site.listeners["in"]
    assert (listener.max_connections, listener.max_message_bytes) == (90, 1024**2)


def test_what_is_no_limit_is_a_mistake(load) -> None:
    problems = load({"ifengine.yaml": SITE + "limits: {port: 3}\n"}).problems
    assert [p.code for p in problems if p.code.startswith("E")] == ["E101"]
