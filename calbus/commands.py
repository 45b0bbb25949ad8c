"""What the kernel adds to the `calbus` command line. Names and sentences only: see `calbus.announced`."""

from calbus.announced import Announced

migrate = Announced("Bring the database to the newest schema.", "calbus.store.migrate_command:command")
publish = Announced(
    "Publish the events of a JSON Lines file, each line a CloudEvent in JSON.", "calbus.bus.publish_command:command"
)
topics = Announced(
    "Make the topics that are not there yet; those that are stay as they are.", "calbus.bus.topics_command:command"
)
