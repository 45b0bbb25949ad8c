"""Messages as they travel: for each event type a complete one and the smallest, shown in the generated documents.

Each is valid against its model and its JSON Schema (a test holds that). Names and domains are invented.
"""

from typing import Any

from schemas.fields import Model
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted
from schemas.results import DeadLetter, Outcome, Wakeup
from schemas.switches import AccountSettings, ProjectSettings, TenantSettings

Example = dict[str, Any]

EXAMPLES: dict[type[Model], dict[str, Example]] = {
    ActionUpserted: {
        "complete": {
            "tenant": "contoso",
            "source": "erp",
            "id": "A-2026-01873",
            "revision": 7,
            "title": "Replace the pump in boiler room 2",
            "description": "The spare part is in rack C4.\nReport at the gate first.",
            "link": "https://erp.example.com/actions/A-2026-01873",
            "start": "2026-03-31T09:00",
            "end": "2026-03-31T11:30",
            "all_day": False,
            "time_zone": "Europe/Amsterdam",
            "status": "active",
            "project": "maintenance-north",
            "owner": "u-1042",
            "assignees": ["u-2077", "u-2081"],
            "place": "Plant North, boiler room 2",
            "priority": "high",
            "reminder_minutes": 30,
            "private": False,
        },
        "all_day": {
            "tenant": "contoso",
            "source": "erp",
            "id": "A-2026-01900",
            "revision": 1,
            "title": "Stocktaking",
            "start": "2026-12-30",
            "end": "2027-01-01",
            "all_day": True,
            "assignees": ["u-2077"],
        },
        "minimal": {"tenant": "contoso", "source": "erp", "id": "A-2026-01901", "revision": 1, "title": "Call back"},
    },
    ActionDeleted: {
        "complete": {"tenant": "contoso", "source": "erp", "id": "A-2026-01873", "revision": 8},
    },
    ContactUpserted: {
        "complete": {
            "tenant": "contoso",
            "source": "crm",
            "id": "C-55310",
            "revision": 3,
            "title": "Yearly review",
            "description": "Bring the figures of the last quarter.",
            "link": "https://crm.example.com/contacts/C-55310",
            "start": "2026-04-02T13:30:00+02:00",
            "duration": "PT1H30M",
            "all_day": False,
            "time_zone": "Europe/Amsterdam",
            "status": "open",
            "project": "sales",
            "owner": "u-1042",
            "assignees": ["u-1042"],
            "place": "Example Lane 1, Utrecht",
            "priority": "normal",
            "reminder_minutes": 60,
            "private": True,
            "contact_kind": "visit",
            "client": {"id": "R-9001", "name": "Fabrikam B.V."},
        },
        "minimal": {"tenant": "contoso", "source": "crm", "id": "C-55311", "revision": 1, "title": "First call"},
    },
    ContactDeleted: {
        "complete": {"tenant": "contoso", "source": "crm", "id": "C-55310", "revision": 4},
    },
    TenantSettings: {
        "complete": {
            "tenant": "contoso",
            "revision": 2,
            "enabled": True,
            "directory": "contoso.example.com",
            "time_zone": "Europe/Amsterdam",
            "default_duration_minutes": 45,
        },
        "minimal": {
            "tenant": "contoso",
            "revision": 1,
            "enabled": False,
            "directory": "0f3c2a9e-6d51-4f5e-9d0a-1f2b3c4d5e6f",
        },
    },
    ProjectSettings: {
        "complete": {
            "tenant": "contoso",
            "revision": 4,
            "project": "maintenance-north",
            "enabled": True,
            "name": "Maintenance, northern plants",
            "default_duration_minutes": 120,
        },
        "minimal": {"tenant": "contoso", "revision": 1, "project": "sales", "enabled": True},
    },
    AccountSettings: {
        "complete": {
            "tenant": "contoso",
            "revision": 5,
            "user": "u-2077",
            "mailbox": "planner.north@contoso.example.com",
            "allowed": True,
            "blocked": False,
            "direction": "up",
            "projects": ["maintenance-north", "maintenance-south"],
        },
        "minimal": {
            "tenant": "contoso",
            "revision": 1,
            "user": "u-1042",
            "mailbox": "sales@contoso.example.com",
            "allowed": True,
        },
    },
    Outcome: {
        "applied": {
            "tenant": "contoso",
            "source": "erp",
            "kind": "action",
            "id": "A-2026-01873",
            "revision": 7,
            "assignee": "u-2077",
            "entry_id": "5b6a7c1e-2f0d-5c3b-9a48-7d1e0f2a3b4c",
            "plan": 7,
            "ending": "applied",
            "reason": "written",
            "message": "The calendar shows this revision.",
            "next_actor": "nobody",
            "remedy": "",
            "decided_at": "2026-03-30T14:02:11.482913Z",
        },
        "withdrawn": {
            "tenant": "contoso",
            "source": "erp",
            "kind": "action",
            "id": "A-2026-01873",
            "revision": 7,
            "assignee": "u-2081",
            "entry_id": "c0a9d4f2-8e57-5d16-b3c1-2a6f9e8d7b05",
            "plan": 9,
            "ending": "withdrawn",
            "reason": "project_not_enabled",
            "message": "The item's project is not enabled.",
            "next_actor": "upstream",
            "remedy": "Enable the project for synchronisation.",
            "decided_at": "2026-03-30T14:02:11.482913Z",
        },
    },
    DeadLetter: {
        "complete": {
            "reason": "invalid_data",
            "detail": "start: is not a date (2026-03-31) or a time (2026-03-31T09:00, "
            "2026-03-31T09:00:00+02:00) in the years 1970 to 2099",
            "topic": "calbus.actions.v1",
            "partition": 3,
            "offset": 90210,
            "timestamp_ms": 1774879331482,
            "original_bytes": 1822,
            "original_kept": True,
            "consumer_group": "ingest",
            "dead_at": "2026-03-30T14:02:12.000731Z",
        },
    },
    Wakeup: {
        "complete": {"tenant": "contoso", "entry_id": "5b6a7c1e-2f0d-5c3b-9a48-7d1e0f2a3b4c"},
    },
}
"""By model and by what the example shows. Where every field must be given, the complete one is also the smallest."""
