"""What a process, or this one, shows to Prometheus."""

import aiohttp
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from calbus.metric import CATALOGUE

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def here() -> Series:
    """The series of this process."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("calbus_") and not sample.name.endswith("_created")
    }


async def of_port(port: int) -> Series:
    """The series of the process that answers on this admin port."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("calbus_")
    }


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of the series of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (of, has), value in series.items() if of == name and wanted <= has)


def unforeseen(series: Series) -> set[str]:
    """Series with a label, or a label's value, that the catalogue does not list."""
    foreseen = {name: one for one in CATALOGUE.values() for name in one.exposed_as}
    found = set()
    for name, labels in series:
        one = foreseen.get(name)
        if one is None or {label for label, _ in labels} - {"le"} != set(one.labels):
            found.add(name)
            continue
        found |= {
            f"{name}: {label}={value}" for label, value in labels if label != "le" and value not in one.labels[label]
        }
    return found
