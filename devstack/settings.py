"""The settings of the stack, read from the environment. Only settings and the places derived from them live here;
nothing is created or started."""

import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from devstack.errors import DevstackError

REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """What a person may decide about the stack; `devstack/README.md` explains each."""

    model_config = SettingsConfigDict(env_prefix="CALBUS_", frozen=True, env_ignore_empty=True)

    kafka_bootstrap: str | None = None
    """A broker to use instead of starting one: `host:port[,host:port]`."""
    postgres_dsn: str | None = None
    """A database to use instead of starting one."""
    devstack_kafka: Literal["apache", "embedded"] | None = None
    """Forces the engine; one that cannot be had is then an error."""
    devstack_fsync: bool = True
    """Whether PostgreSQL waits for the disk at a commit. Off is faster, and loses data only if the machine dies."""
    cache_dir: Path | None = None
    """Where Apache Kafka is kept between runs; by default `.cache` at the repository root."""

    @property
    def cache_path(self) -> Path:
        """The cache directory; outside a checkout (an installed wheel) it is the user's own."""
        if self.cache_dir is not None:
            return self.cache_dir.expanduser().absolute()
        if (REPOSITORY / "pyproject.toml").is_file():
            return REPOSITORY / ".cache"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calbus"


def from_environment() -> Settings:
    """The settings as the environment has them; raises `DevstackError` that names each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"CALBUS_{str(one['loc'][0]).upper()} is wrong: {one['msg']}" for one in error.errors()]
        raise DevstackError("; ".join(wrong)) from None
