"""Tenants' templates: what they may say, and that nothing else gets through, in time and in words."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.templates import (
    FILTERS,
    NODES_MAX,
    OUTPUT_MAX_CHARACTERS,
    TEMPLATE_MAX_CHARACTERS,
    VARIABLES,
    Compiled,
    Flaw,
    compile_template,
)
from services.ingest.wording import DEFAULT_BODY, DEFAULT_SUBJECT
from tests.support.examples import shown

CONTRACT = (Path(__file__).parents[2] / "docs" / "event-contract.md").read_text()
# Of one template and one long item, however it is made. Measured: well below a tenth of this.
SECONDS_MAX = 2.0
NAMED = {name: f"<{name}>" for name in VARIABLES}


def rendered(text: str, **values: str) -> str | Flaw:
    compiled = compile_template(text)
    return compiled if isinstance(compiled, Flaw) else compiled.render({**NAMED, **values})


def flaw(text: str, **values: str) -> str:
    given = rendered(text, **values)
    assert isinstance(given, Flaw), given
    return given.says


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ icon }} {{ title }}", "<icon> <title>"),
        ("plain words", "plain words"),
        ("", ""),
        ("{% if client %}{{ client }}: {% endif %}{{ title }}", "<client>: <title>"),
        ("{% if status == 'open' %}a{% elif status == '<status>' %}b{% else %}c{% endif %}", "b"),
        ("{% if kind in ('meeting', '<kind>') and not (place == '' or link != '<link>') %}yes{% endif %}", "yes"),
        ("{% if 'wner' in owner %}yes{% endif %}", "yes"),
        ("{{ client if priority == 'high' else place }}", "<place>"),
        ("{{ title|upper }} {{ title|lower|trim }}", "<TITLE> <title>"),
        ("{{ title|truncate(4) }}", "<ti…"),
        ("{{ ''|default('none') }}{{ title|default('none') }}", "none<title>"),
        ("{# a remark #}{% raw %}{{ as it is }}{% endraw %}", "{{ as it is }}"),
        ("a\n{% if title %}\nb\n{% endif %}\nc", "a\nb\nc"),
        ("<b>{{ title }}</b>", "<b><title></b>"),
    ],
)
def test_a_template_chooses_and_joins_texts(template: str, text: str) -> None:
    assert rendered(template) == text


def test_title_writes_words_with_capitals() -> None:
    assert rendered("{{ title|title }}", title="don't call éva-lotta/bob  (now)") == "Don't Call Éva-Lotta/Bob  (Now)"


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_documented_variable_can_be_used(variable: str) -> None:
    assert rendered(f"{{{{ {variable} }}}}") == f"<{variable}>"


@pytest.mark.parametrize("name", FILTERS)
def test_every_documented_filter_can_be_used(name: str) -> None:
    argument = {"truncate": "(3)", "default": "('x')"}.get(name, "")
    assert isinstance(rendered(f"{{{{ title|{name}{argument} }}}}"), str)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ ''.__class__ }}", "looking into a value with a dot"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "a call"),
        ("{{ title['__class__'] }}", "looking into a value with brackets"),
        ("{{ title|attr('__class__') }}", "no filter `attr`"),
        ("{{ title|map('upper') }}", "no filter `map`"),
        ("{{ cycler }}", "no variable `cycler`"),
        ("{{ self }}", "no variable `self`"),
        ("{{ namespace() }}", "a call"),
        ("{{ title() }}", "a call"),
        ("{{ title.upper() }}", "a call"),
        ("{% for letter in title %}x{% endfor %}", "a loop"),
        ("{{ 'a' * 999999999 }}", "arithmetic"),
        ("{{ 10 ** 10 ** 10 }}", "arithmetic"),
        ("{{ -1 }}", "arithmetic"),
        ("{{ title ~ title }}", "joining with `~`"),
        ("{{ title % title }}", "arithmetic"),
        ("{% set x = title %}", "`set`"),
        ("{% set x %}{{ title }}{% endset %}", "`set`"),
        ("{% with x = title %}{% endwith %}", "`with`"),
        ("{% import 'os' as os %}", "`import`"),
        ("{% from 'os' import path %}", "`import`"),
        ("{% include '/etc/passwd' %}", "`include`"),
        ("{% extends 'base' %}", "`extends`"),
        ("{% block a %}{% endblock %}", "a block"),
        ("{% macro m() %}{{ m() }}{% endmacro %}", "a macro"),
        ("{% call title() %}{% endcall %}", "a call block"),
        ("{% filter upper %}x{% endfilter %}", "a filter block"),
        ("{% autoescape true %}{% endautoescape %}", "`autoescape`"),
        ("{% do title %}", "unknown tag 'do'"),
        ("{{ title is defined }}", "a test with `is`"),
        ("{{ {'a': 1} }}", "a dictionary"),
        ("{{ ('a', title) }}", "a list may hold only constants"),
        ("{{ title if client }}", "needs an `else`"),
        ("{{ title|upper('x') }}", "takes no argument"),
        ("{{ title|truncate }}", "takes one number"),
        ("{{ title|truncate(True) }}", "takes one number"),
        ("{{ title|truncate(id) }}", "takes one number"),
        ("{{ title|truncate(999999999) }}", "a number from 1 to 32,000"),
        ("{{ title|default(title) }}", "takes one text"),
        ("{{ title|default(value='x') }}", "takes no named arguments"),
        ("{{ title|truncate(*[1]) }}", "takes no named arguments"),
        ("{{ title", "unexpected end of template"),
        ("{% if title %}", "Unexpected end of template"),
        ("{{ 1 in 2 }}", "not iterable"),
        ("{% if title < 5 %}{% endif %}", "not supported"),
        ("{{ " + "(" * 3_000 + "title" + ")" * 3_000 + " }}", "nested too deeply"),
        ("{{ " + "not " * 1_500 + "title }}", "nested too deeply"),
        ("{{ " + "not " * 50 + "title }}", "nested more than"),
        ("{% if title %}" * 200 + "{% endif %}" * 200, "nested"),
        ("{{ " + "9" * 7_000 + " }}", "cannot be read"),
        ("{{ title }}" * NODES_MAX, "more than 400 parts"),
        ("{{ title|upper }}" * 50, "more than 20 filters"),
        ("x" * (TEMPLATE_MAX_CHARACTERS + 1), "longer than 8,000 characters"),
    ],
)
def test_what_is_not_allowed_is_refused_in_words(template: str, says: str) -> None:
    assert says in flaw(template)


def test_a_flaw_says_where() -> None:
    assert flaw("{{ title }}\n\n{% for x in title %}{% endfor %}") == "line 3: a loop is not allowed"
    assert flaw("a\n{{ name }}") == "line 2: there is no variable `name`"


@pytest.mark.parametrize(
    "template",
    [
        "{{ description }}" * 190,
        "{% if description|title|title|title|title|title|title == 'x' %}{% endif %}" * 3,
        "{% if '" + "a" * 50 + "b' in description %}{% endif %}" * 1,
        ("{% if '" + "a" * 50 + "b' in description %}{% endif %}") * 75,
        "{% if description in description %}{% endif %}" * 60,
        "{{ '" + "ß" * 7_000 + "'|upper|lower|upper }}",
    ],
)
@pytest.mark.parametrize("description", ["ß " * 16_000, "a" * 32_000])
def test_the_longest_way_round_is_short(template: str, description: str) -> None:
    started = time.perf_counter()
    text = rendered(template, description=description)
    assert time.perf_counter() - started < SECONDS_MAX
    assert isinstance(text, Flaw) or len(text) <= OUTPUT_MAX_CHARACTERS


def test_a_template_is_compiled_once() -> None:
    assert compile_template("{{ title }} once") is compile_template("{{ title }} once")
    assert compile_template.cache_info().maxsize


fragments = st.lists(
    st.sampled_from(
        (
            *("{{ ", " }}", "{% ", " %}", "{%- ", " -%}", "{# ", " #}", "if ", "elif ", "else ", "endif ", "for x in "),
            *(
                "endfor",
                "set x = ",
                "raw",
                "endraw",
                "title",
                "description",
                "x",
                "|",
                "upper",
                "truncate(",
                "default(",
            ),
            *("'a'", '"', "'", "1", "9" * 40, "(", ")", "[", "]", ".", "*", "**", "~", "in ", "not ", "and ", "or "),
            *("==", "<", "is ", ",", "\n", "{", "}", "%", "__class__", "macro m()", "import ", "include ", "block b"),
        )
    ),
    max_size=60,
).map("".join)
anything = st.text(max_size=200) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")) | fragments


@settings(max_examples=shown(400))
@given(anything, st.text(max_size=50))
def test_any_text_is_a_template_or_a_flaw_in_words(template: str, title: str) -> None:
    started = time.perf_counter()
    given = rendered(template, title=title)
    assert time.perf_counter() - started < SECONDS_MAX
    if isinstance(given, Flaw):
        assert 0 < len(given.says) <= 250
        assert "\n" not in given.says
    else:
        assert len(given) <= OUTPUT_MAX_CHARACTERS


def test_the_event_contract_names_every_variable_with_what_it_holds() -> None:
    section = CONTRACT.partition("The variables are texts")[2].partition("For example")[0]
    listed = [tuple(row.strip("| ").split(" | ", 1)) for row in section.splitlines() if row.startswith("| `")]
    assert listed == [(f"`{name}`", holds) for name, holds in VARIABLES.items()]


def test_the_event_contract_names_every_filter() -> None:
    (line,) = (line for line in CONTRACT.splitlines() if line.startswith("| filters |"))
    assert all(f"`{name}`" in line or f"`{name}(" in line for name in FILTERS)


def test_the_templates_in_the_event_contract_can_be_used_and_the_first_are_ours() -> None:
    examples = re.findall(r"```jinja\n(.*?)```", CONTRACT, re.DOTALL)
    assert [examples[0].strip(), examples[1]] == [DEFAULT_SUBJECT, DEFAULT_BODY]
    assert all(isinstance(compile_template(example), Compiled) for example in examples)


def test_what_may_be_put_out_is_counted_and_what_is_asked_about_is_not() -> None:
    compiled = compile_template(
        "{% if title %}{{ title|upper }}{{ title if title == 'x' else client }}{% endif %}{{ title in client }}"
    )
    assert isinstance(compiled, Compiled)
    assert (compiled.mentions("title"), compiled.mentions("client"), compiled.mentions("place")) == (2, 1, 0)
