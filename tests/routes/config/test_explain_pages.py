"""Each longer page shows a mistake and its repair, and `check` agrees with both."""

from pathlib import Path

import pytest

from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.explain_pages import PAGES, Page, Where
from ifengine.routes.config.loading import load_site
from routes.config.small_site import SITE, write_site

CHANNEL = {
    "ifengine": "ifengine: 1\n",
    "channel": "channel: one\n",
    "from": "from: in\n",
    "types": "types: [ORU^R01]\n",
    "to": "to:\n  lab: {connection: out}\n",
}


def codes_of(folder: Path, page: Page, fragment: str) -> set[str]:
    files = {"channels/tables/ward.csv": "from,to\n4W,W4\n"}
    env = None
    if page.where is Where.SITE:
        without = SITE.partition("connections:")[0]
        lines = fragment.replace("connections:\n", "", 1)
        base = SITE.removeprefix(without)
        files["ifengine.yaml"] = without + base + lines + "\n"
    elif page.where is Where.OVERLAY:
        env = "prod"
        files["env/prod.yaml"] = fragment + "\n"
    elif page.where is Where.STEPS:
        body = "".join(f"  {line}\n" for line in fragment.splitlines())
        files["channels/one.yaml"] = "".join(CHANNEL.values()) + f"steps:\n{body}"
    else:
        first = fragment.partition(":")[0]
        kept = [text for name, text in CHANNEL.items() if name != first]
        files["channels/one.yaml"] = "".join(kept) + fragment + "\n"
    write_site(folder, files)
    return {problem.code for problem in load_site(folder, env=env, environ={}).problems}


@pytest.mark.parametrize("code", PAGES)
def test_the_wrong_fragment_gives_the_code_and_the_right_one_does_not(
    code: str, tmp_path: Path
) -> None:
    page = PAGES[code]
    assert code in codes_of(tmp_path / "wrong", page, page.wrong)
    right = codes_of(tmp_path / "right", page, page.right)
    assert code not in right
    assert not [other for other in right if other.startswith("E")], right


def test_a_page_belongs_to_a_code_and_the_others_have_one_sentence() -> None:
    assert set(PAGES) <= set(CODES)
    assert len(PAGES) > 20
