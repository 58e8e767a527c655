"""What the process takes from its environment, beside the site file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ifengine.errors import SettingsError
from ifengine.routes.config.models import SiteConfig
from ifengine.store.registry import STORES, StoreKind

STORE_VARIABLE = "IFENGINE_STORE"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process runs its site."""

    site: SiteConfig
    store_kind: StoreKind
    stop_grace_seconds: float = 40.0  # longer than the usual ack_timeout of a destination

    @property
    def kek_path(self) -> Path:
        """Return the file of the key-encryption key."""
        return Path(self.site.kek.removeprefix("file:"))


def read_settings(site: SiteConfig, environ: Mapping[str, str]) -> Settings:
    """Combine the site with the environment.

    Raises:
        SettingsError: a store that forgets is asked for outside a test site.
    """
    kind = environ.get(STORE_VARIABLE, "sqlite")
    for known in STORES:
        if kind == known:
            if known == "memory" and site.environment != "test":
                raise SettingsError(
                    f"{STORE_VARIABLE}=memory forgets every message when it stops",
                    hint="only a site with `environment: test` may use it",
                )
            return Settings(site, known)
    raise SettingsError(f"{STORE_VARIABLE} names no store", hint=f"one of {', '.join(STORES)}")
