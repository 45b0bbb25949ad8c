"""`python -m devstack.demo.deliver`: the recorded day for a calbus and a simulator that run already, in containers say.

Puts the five organisations' directories into the simulator and publishes the day. Starts and judges nothing.
"""

import asyncio
from typing import Annotated

from pydantic import Field, SecretStr

from calbus.bus.publish import publish
from calbus.command import command_of
from calbus.settings import KafkaSettings, NotEmpty
from calbus.telemetry import configure_logging, log
from devstack.demo import recording
from devstack.demo.recording import Directory
from simulator.client import App, SimulatorAdmin


class DeliverSettings(KafkaSettings):
    """Where the day goes."""

    simulator_url: Annotated[str, Field(pattern=r"^http://[^\s]+[^/\s]$")]
    """The simulator's plain address, without a slash at the end."""
    client_id: Annotated[str, NotEmpty]
    """The application that the directories grant their calendars to: calbus's own."""
    client_secret: Annotated[SecretStr, NotEmpty]
    """That application's secret, as the services have it."""


async def put_directory(office: SimulatorAdmin, directory: Directory, client_id: str, secret: str) -> None:
    """A directory with its users and their calendars, which grants the application what calbus needs."""
    app = App(client_id, secret=secret, roles=("Calendars.ReadWrite", "MailboxSettings.ReadWrite"))
    await office.put_tenant(directory.id, apps=[app], domain=directory.domain)
    for address, name in directory.users.items():
        await office.put_user(directory.id, address, display_name=name, time_zone=directory.time_zone)
    for address, editors in directory.edit_access.items():
        for editor in editors:
            await office.share_calendar(directory.id, address, "write", editor, name=directory.users[editor])


async def deliver(settings: DeliverSettings) -> int:
    """Fill the simulator, then publish; gives the number of messages. Done again, it changes nothing."""
    secret = settings.client_secret.get_secret_value()
    async with SimulatorAdmin.connect(settings.simulator_url) as office:
        for directory in recording.directories():
            await put_directory(office, directory, settings.client_id, secret)
    messages = recording.settings() + [message for part in recording.day() for message in part.messages]
    return (await publish(settings, messages)).total()


def _deliver(settings: DeliverSettings) -> None:
    """Put the organisations of the recorded day into a running simulator, and publish the day."""
    published = asyncio.run(deliver(settings))
    log.info("the day is published", messages=published)


command = command_of("deliver", DeliverSettings, _deliver, configure_logging)

if __name__ == "__main__":
    command()
