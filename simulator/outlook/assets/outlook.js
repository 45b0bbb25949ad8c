// The page: it draws a week, keeps it as the mailbox is, and does what a person does as the mailbox's owner.
// Whatever comes from a mailbox is put in as text, never as markup.

import {
  DAY, STEP, columns, dayNumber, isStrip, longDay, read, readDay, snap, strips, weekTitle, weekday, write, writeDay, writeTime,
} from "./wall.js";

const byId = (id) => document.getElementById(id);
const HOUR_PX = 48;
const SHOW_AS = { free: "free", tentative: "tentative", busy: "busy", oof: "away", workingElsewhere: "working elsewhere", unknown: "unknown" };
const ICONS = {
  lock: ["M4.5 7V5a3.5 3.5 0 0 1 7 0v2", "M3.5 7h9v6.5h-9z"],
  repeat: ["M3 8a5 5 0 0 1 8.5-3.5L13 6", "M13 3v3h-3", "M13 8a5 5 0 0 1-8.5 3.5L3 10", "M3 13v-3h3"],
};

const state = {
  tenant: "", user: "", day: "", week: null, events: new Map(), saving: 0, stale: false, dragging: false,
  loading: false, saves: 0, drawn: "", clockAhead: 0, stream: null, focusNext: "", drawnOnce: false,
};

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add(name);
  for (const shape of ICONS[name]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

// ---- The server

async function call(method, path, body) {
  const options = { method, headers: body ? { "Content-Type": "application/json" } : {}, body: body && JSON.stringify(body) };
  const answer = await fetch(path, options);
  const document = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document?.error || "The simulator refused."), { status: answer.status });
  return document;
}

const mailboxPath = () =>
  `/outlook/api/tenants/${encodeURIComponent(state.tenant)}/users/${encodeURIComponent(state.user)}`;
const eventPath = (id) => `${mailboxPath()}/events/${encodeURIComponent(id)}`;

let toastTimer = 0;
function tell(sentence) {
  byId("toast").textContent = sentence;
  byId("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { byId("toast").hidden = true; }, 6000);
}
const say = (sentence) => { byId("said").textContent = sentence; };

// ---- Mailboxes

async function loadMailboxes() {
  const { tenants } = await call("GET", "/outlook/api/tenants");
  drawMailboxes(tenants);
  byId("filter").oninput = () => drawMailboxes(tenants);
}

const initials = (name) => name.split(/[\s.@_-]+/).filter(Boolean).slice(0, 2).map((word) => word[0].toUpperCase()).join("");
const hue = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 25, 7);

function drawMailboxes(tenants) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const list = byId("mailboxes");
  list.replaceChildren();
  for (const tenant of tenants) {
    const users = tenant.users.filter((user) => `${user.upn} ${user.name}`.toLowerCase().includes(wanted));
    if (!users.length) continue;
    list.append(make("h2", "tenant", tenant.domain || tenant.id));
    for (const user of users.slice(0, 200)) {
      const link = make("a", "mailbox");
      link.href = `/outlook/${encodeURIComponent(tenant.id)}/${encodeURIComponent(user.upn)}`;
      if (tenant.id === state.tenant && user.upn.toLowerCase() === state.user.toLowerCase()) link.setAttribute("aria-current", "page");
      const badge = make("i", `preset${hue(user.upn)}`, initials(user.name));
      badge.setAttribute("aria-hidden", "true");
      const label = make("span", "", user.name);
      label.append(make("small", "", user.upn));
      link.append(badge, label);
      if (user.mailbox !== "ok") link.append(make("em", "", user.mailbox.replaceAll("_", " ")));
      link.title = user.upn;
      list.append(link);
    }
    if (users.length > 200) list.append(make("p", "empty", `${users.length - 200} more: type a name above.`));
  }
  if (!list.childElementCount) list.append(make("p", "empty", wanted ? "Nobody has that name." : "There is no tenant yet."));
}

// ---- The week

async function loadWeek() {
  const { day, saves } = state;
  const week = await call("GET", `${mailboxPath()}/week${day ? `?day=${day}` : ""}`);
  if (day !== state.day || saves !== state.saves || state.dragging) { state.stale = true; return; }
  const known = state.events;
  const sameWeek = state.week?.monday === week.monday;
  const print = JSON.stringify({ ...week, now: "" });
  if (print === state.drawn) return;
  state.week = week;
  state.events = new Map(week.events.map((event) => [event.id, withTimes(event)]));
  state.clockAhead = read(week.now) * 60000 - Date.now();
  const arrived = sameWeek ? [...state.events.values()].filter((event) => known.get(event.id)?.etag !== event.etag) : [];
  draw(new Set(arrived.map((event) => event.id)));
  state.drawn = print;
}

const withTimes = (event) => ({ ...event, from: read(event.start), until: read(event.end) });

// Drawing while a person drags, or while a change is on its way, would take it out of their hands; and of two answers
// on their way at once the older could come last.
async function refresh() {
  if (state.dragging || state.saving || state.loading) { state.stale = true; return; }
  state.stale = false;
  state.loading = true;
  try {
    await loadWeek();
  } catch (error) {
    if (error.status) tell(error.message);
  } finally {
    state.loading = false;
    if (state.stale) refresh();
  }
}

const nowMinutes = () => Math.floor((Date.now() + state.clockAhead) / 60000);

function draw(arrived = new Set()) {
  const { week } = state;
  state.drawn = "";
  const monday = readDay(week.monday);
  const focused = state.focusNext || document.activeElement?.dataset?.id || "";
  state.focusNext = "";
  byId("welcome").hidden = true;
  byId("calendar").hidden = false;
  byId("title").textContent = weekTitle(monday);
  byId("zone").textContent = `Time zone: ${week.time_zone}`;
  byId("goto").value = week.monday;
  byId("who").replaceChildren(week.name, make("small", "", week.upn));
  document.title = `${week.name} · Outlook simulator`;
  drawFrame(week, monday);
  drawStrips(monday, arrived);
  drawColumns(monday, arrived);
  drawNow();
  if (!state.drawnOnce) {
    state.drawnOnce = true;
    byId("scroll").scrollTop = Math.max(0, (week.working.from_minute / 60 - 0.75) * HOUR_PX);
  }
  if (focused) [...document.querySelectorAll(".event")].find((element) => element.dataset.id === focused)?.focus({ preventScroll: true });
}

function drawFrame(week, monday) {
  const days = [...Array(7).keys()];
  const today = Math.floor((nowMinutes() - monday) / DAY);
  byId("days").replaceChildren(...days.map((day) => {
    const head = make("div", day === today ? "day today" : "day", weekday(monday + day * DAY));
    head.prepend(make("b", "", dayNumber(monday + day * DAY)));
    if (day === today) head.setAttribute("aria-current", "date");
    return head;
  }));
  byId("hours").replaceChildren(...[...Array(23).keys()].map((index) => {
    const label = make("span", "", `${String(index + 1).padStart(2, "0")}:00`);
    label.style.top = `${(index + 1) * HOUR_PX}px`;
    return label;
  }));
  byId("columns").replaceChildren(...days.map((day) => {
    const column = make("div", day === today ? "column today" : "column");
    column.dataset.day = day;
    if (week.working.days.includes(day)) {
      const work = make("div", "work");
      work.style.top = `${(week.working.from_minute / 60) * HOUR_PX}px`;
      work.style.height = `${(Math.max(0, week.working.to_minute - week.working.from_minute) / 60) * HOUR_PX}px`;
      column.append(work);
    }
    return column;
  }));
}

function drawStrips(monday, arrived) {
  const row = byId("all-day");
  const placed = strips([...state.events.values()], monday);
  row.style.setProperty("--lanes", Math.max(1, placed.lanes));
  row.replaceChildren(...[...Array(7).keys()].map((day) => {
    const slot = make("div", "slot");
    slot.style.left = `${(day * 100) / 7}%`;
    return slot;
  }));
  for (const { event, first, last, lane } of placed.strips) {
    const element = eventElement(event, arrived.has(event.id));
    element.classList.add("strip");
    element.classList.toggle("before", event.from < monday);
    element.classList.toggle("after", event.until > monday + 7 * DAY);
    element.style.top = `calc(${lane} * var(--lane) + 4px)`;
    element.style.left = `calc(${(first * 100) / 7}% + 3px)`;
    element.style.width = `calc(${((last - first + 1) * 100) / 7}% - 7px)`;
    row.append(element);
  }
}

function drawColumns(monday, arrived) {
  const parts = columns([...state.events.values()], monday);
  parts.forEach((ofDay, day) => {
    const column = byId("columns").children[day];
    for (const part of ofDay) {
      const { event } = part;
      const element = eventElement(event, arrived.has(event.id));
      const height = Math.max(((part.to - part.from) / 60) * HOUR_PX - 2, 19);
      element.style.top = `${(part.from / 60) * HOUR_PX + 1}px`;
      element.style.height = `${height}px`;
      element.style.left = `calc((100% - 10px) * ${part.lane / part.lanes} + 2px)`;
      element.style.width = `calc((100% - 10px) * ${part.span / part.lanes} - 2px)`;
      element.classList.toggle("short", height < 34);
      element.classList.toggle("narrow", part.span < part.lanes);
      element.classList.toggle("before", part.from === 0 && event.from < readDay(state.week.monday) + day * DAY);
      element.classList.toggle("after", event.until > readDay(state.week.monday) + (day + 1) * DAY);
      if (!element.classList.contains("after")) element.append(make("span", "grip"));
      column.append(element);
    }
  });
}

function colorClass(name) {
  const category = state.week.categories.find((known) => known.name.toLowerCase() === name.toLowerCase());
  return category ? category.color : "unlisted";
}

function eventElement(event, arrived) {
  const element = make("div", "event");
  element.dataset.id = event.id;
  element.tabIndex = 0;
  element.setAttribute("role", "button");
  element.setAttribute("aria-label", describe(event));
  element.setAttribute("aria-describedby", "keys");
  element.classList.add(event.show_as);
  if (event.categories.length) element.classList.add(colorClass(event.categories[0]));
  if (arrived) element.classList.add("arrived");
  const marks = make("span", "marks");
  if (event.recurring) marks.append(icon("repeat"));
  if (event.private) marks.append(icon("lock"));
  const name = make("span", "name", event.subject);
  if (event.categories.length > 1) {
    const dots = make("span", "dots");
    for (const other of event.categories.slice(1, 5)) dots.append(make("i", colorClass(other)));
    name.append(dots);
  }
  const when = event.all_day ? "" : `${writeTime(event.from)} – ${writeTime(event.until)}`;
  element.append(marks, name);
  if (when) element.append(make("span", "when", when));
  if (event.location) element.append(make("span", "where", event.location));
  element.title = describe(event);
  return element;
}

function describe(event) {
  const days = event.all_day ? (event.until - event.from) / DAY : 0;
  const until = Math.floor(event.until / DAY) === Math.floor(event.from / DAY) ? writeTime(event.until) : `${longDay(event.until)} ${writeTime(event.until)}`;
  const when = event.all_day
    ? `all day ${longDay(event.from)}${days > 1 ? ` to ${longDay(event.until - DAY)}` : ""}`
    : `${longDay(event.from)}, ${writeTime(event.from)} to ${until}`;
  const more = [SHOW_AS[event.show_as], event.private ? "private" : "", event.recurring ? "repeats" : "", event.location, ...event.categories];
  return [event.subject || "(no subject)", when, ...more].filter(Boolean).join(", ");
}

function drawNow() {
  document.querySelector(".now")?.remove();
  if (!state.week) return;
  const minutes = nowMinutes() - readDay(state.week.monday);
  const column = byId("columns").children[Math.floor(minutes / DAY)];
  if (minutes < 0 || !column) return;
  const line = make("div", "now");
  line.style.top = `${((minutes % DAY) / 60) * HOUR_PX}px`;
  column.append(line);
}

// ---- Changes

function busy(change) {
  state.saving += change;
  state.saves += 1;
  byId("calendar").setAttribute("aria-busy", String(state.saving > 0));
}

async function save(work, said) {
  busy(1);
  try {
    await work();
    if (said) say(said);
    return true;
  } catch (error) {
    tell(error.status ? error.message : "The simulator cannot be reached.");
    return false;
  } finally {
    busy(-1);
    if (!state.saving) refresh();
  }
}

// Changes of one event go one after the other, so that quick keys arrive in order.
const lines = new Map();
function inLine(id, work) {
  const turn = (lines.get(id) || Promise.resolve()).then(work);
  lines.set(id, turn);
  return turn.finally(() => { if (lines.get(id) === turn) lines.delete(id); });
}

function moveTo(event, from, until) {
  if (from === event.from && until === event.until) { draw(); return; }
  const moved = { ...event, from, until, start: write(from), end: write(until) };
  state.events.set(event.id, moved);
  draw();
  const times = { start: moved.start, end: moved.end, all_day: event.all_day };
  save(() => inLine(event.id, () => call("PATCH", eventPath(event.id), times)), `Moved: ${describe(moved)}`);
}

function remove(event) {
  state.events.delete(event.id);
  draw();
  save(() => inLine(event.id, () => call("DELETE", eventPath(event.id))), `Deleted: ${event.subject || "(no subject)"}`);
}

// ---- Dragging

function dayAt(x, area) {
  const box = area.getBoundingClientRect();
  return Math.min(6, Math.max(0, Math.floor(((x - box.left) / box.width) * 7)));
}
function minuteAt(y) {
  return ((y - byId("columns").getBoundingClientRect().top) / HOUR_PX) * 60;
}

// Follows the pointer until it is let go; Escape and a lost pointer end it without effect.
function follow(down, { start, move, drop, cancel, click }) {
  let began = false;
  const far = (event) => Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > 4;
  const end = () => {
    removeEventListener("pointermove", onMove);
    removeEventListener("pointerup", onUp);
    removeEventListener("pointercancel", onCancel);
    removeEventListener("keydown", onKey, true);
    document.body.classList.remove("dragging", "resizing");
    state.dragging = false;
  };
  const onMove = (event) => {
    if (!began && !far(event)) return;
    if (!began) { began = true; state.dragging = true; start?.(); }
    move(event);
  };
  const onUp = (event) => {
    end();
    if (began) drop(event); else click?.(event);
    if (state.stale) refresh();
  };
  const onCancel = () => { end(); cancel?.(); if (state.stale) refresh(); };
  const onKey = (event) => { if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); onCancel(); } };
  addEventListener("pointermove", onMove);
  addEventListener("pointerup", onUp);
  addEventListener("pointercancel", onCancel);
  addEventListener("keydown", onKey, true);
}

function dragEvent(down, element) {
  const event = state.events.get(element.dataset.id);
  if (!event) return;
  const strip = isStrip(event);
  const area = byId(strip ? "all-day" : "columns");
  const grabbedDay = dayAt(down.clientX, area);
  const grabbedMinute = minuteAt(down.clientY);
  const target = { from: event.from, until: event.until };
  follow(down, {
    start() { document.body.classList.add("dragging"); element.classList.add("dragged"); },
    move(pointer) {
      const days = dayAt(pointer.clientX, area) - grabbedDay;
      const minutes = strip ? 0 : snap(event.from + minuteAt(pointer.clientY) - grabbedMinute) - event.from;
      target.from = event.from + days * DAY + minutes;
      target.until = target.from + event.until - event.from;
      const width = area.getBoundingClientRect().width / 7;
      element.style.transform = `translate(${days * width}px, ${(minutes / 60) * HOUR_PX}px)`;
      const when = element.querySelector(".when");
      if (when && !event.all_day) when.textContent = `${writeTime(target.from)} – ${writeTime(target.until)}`;
    },
    drop() { state.focusNext = event.id; moveTo(event, target.from, target.until); },
    cancel() { draw(); },
    click() { element.focus(); edit(event); },
  });
}

function resizeEvent(down, element) {
  const event = state.events.get(element.dataset.id);
  if (!event) return;
  const height = element.getBoundingClientRect().height;
  let until = event.until;
  follow(down, {
    start() { document.body.classList.add("resizing"); element.classList.add("dragged"); },
    move(pointer) {
      until = Math.max(event.from + STEP, snap(event.until + ((pointer.clientY - down.clientY) / HOUR_PX) * 60));
      element.style.height = `${Math.max(10, height + ((until - event.until) / 60) * HOUR_PX)}px`;
      const when = element.querySelector(".when");
      if (when) when.textContent = `${writeTime(event.from)} – ${writeTime(until)}`;
    },
    drop() { state.focusNext = event.id; moveTo(event, event.from, until); },
    cancel() { draw(); },
    click() { edit(event); },
  });
}

function sketchEvent(down, column) {
  const midnight = readDay(state.week.monday) + Number(column.dataset.day) * DAY;
  const first = Math.floor(minuteAt(down.clientY) / 30) * 30;
  let span = [first, Math.min(first + 30, DAY)];
  const sketch = make("div", "sketch");
  const drawSketch = () => {
    sketch.style.top = `${(span[0] / 60) * HOUR_PX}px`;
    sketch.style.height = `${((span[1] - span[0]) / 60) * HOUR_PX}px`;
    sketch.textContent = `${writeTime(midnight + span[0])} – ${writeTime(midnight + span[1])}`;
  };
  column.append(sketch);
  drawSketch();
  const begin = () => { edit(null, { from: midnight + span[0], until: midnight + span[1], all_day: false }); };
  follow(down, {
    move(pointer) {
      const here = Math.min(DAY, Math.max(0, snap(minuteAt(pointer.clientY))));
      span = here > first ? [first, Math.max(here, first + STEP)] : [here, first + 30];
      drawSketch();
    },
    drop: begin,
    click: begin,
    cancel() { sketch.remove(); },
  });
}

function sketchDays(down) {
  const row = byId("all-day");
  const monday = readDay(state.week.monday);
  const first = dayAt(down.clientX, row);
  const begin = (up) => {
    const days = [first, dayAt(up.clientX, row)].sort((a, b) => a - b);
    edit(null, { from: monday + days[0] * DAY, until: monday + (days[1] + 1) * DAY, all_day: true });
  };
  follow(down, { move() {}, drop: begin, click: begin });
}

byId("calendar").addEventListener("pointerdown", (down) => {
  if (down.button !== 0 || !state.week) return;
  const element = down.target.closest(".event");
  if (element) {
    down.preventDefault();
    element.focus({ preventScroll: true });
    if (down.target.closest(".grip")) resizeEvent(down, element); else dragEvent(down, element);
  } else if (down.target.closest(".column") && down.pointerType !== "touch") {
    down.preventDefault();
    sketchEvent(down, down.target.closest(".column"));
  } else if (down.target.closest("#all-day")) {
    down.preventDefault();
    sketchDays(down);
  }
});

// ---- Keys

const MOVES = { ArrowUp: -STEP, ArrowDown: STEP, ArrowLeft: -DAY, ArrowRight: DAY };

byId("calendar").addEventListener("keydown", (key) => {
  const element = key.target.closest(".event");
  const event = element && state.events.get(element.dataset.id);
  if (!event || key.ctrlKey || key.altKey || key.metaKey) return;
  if (key.key === "Enter" || key.key === " ") edit(event);
  else if (key.key === "Delete" || key.key === "Backspace") removeByKey(event);
  else if (key.key in MOVES) moveByKey(event, MOVES[key.key], key.shiftKey);
  else return;
  key.preventDefault();
});

function moveByKey(event, minutes, resizes) {
  const vertical = Math.abs(minutes) < DAY;
  if (vertical && isStrip(event)) return;
  state.focusNext = event.id;
  if (resizes && vertical) moveTo(event, event.from, Math.max(event.from + STEP, event.until + minutes));
  else if (!resizes) moveTo(event, event.from + minutes, event.until + minutes);
  document.querySelector(".event:focus")?.scrollIntoView({ block: "nearest" });
}

function removeByKey(event) {
  const all = [...document.querySelectorAll(".event")];
  const at = all.findIndex((element) => element.dataset.id === event.id);
  state.focusNext = (all[at + 1] || all[at - 1])?.dataset.id || "";
  remove(event);
}

document.addEventListener("keydown", (key) => {
  if (byId("editor").open || !state.week || key.target.matches("input, select") || key.ctrlKey || key.altKey || key.metaKey) return;
  if (key.key === "PageUp") go(-7);
  else if (key.key === "PageDown") go(7);
  else if (key.key === "t" || key.key === "T") show("");
  else if (key.key === "n" || key.key === "N") newEvent();
  else return;
  key.preventDefault();
});

// ---- The editor

let edited = null;

function newEvent() {
  const monday = readDay(state.week.monday);
  const now = nowMinutes();
  const inWeek = now >= monday && now < monday + 7 * DAY;
  const from = inWeek ? Math.ceil(now / 30) * 30 : monday + state.week.working.from_minute;
  edit(null, { from, until: from + 30, all_day: false });
}

function edit(event, times = event) {
  edited = event;
  byId("editor-title").textContent = event ? (event.recurring ? "This occurrence" : "Event") : "New event";
  byId("subject").value = event?.subject ?? "";
  byId("all-day-check").checked = times.all_day;
  byId("private").checked = event?.private ?? false;
  byId("show-as").value = event && event.show_as in SHOW_AS && event.show_as !== "unknown" ? event.show_as : times.all_day ? "free" : "busy";
  byId("delete").hidden = !event;
  byId("problem").textContent = "";
  writeTimes(times);
  const mine = event?.categories ?? [];
  const names = new Set([...state.week.categories.map((category) => category.name), ...mine]);
  byId("categories").replaceChildren(...[...names].map((name) => {
    const chip = make("label", `chip ${colorClass(name)}`);
    const box = make("input");
    box.type = "checkbox";
    box.value = name;
    box.checked = mine.includes(name);
    chip.append(box, name);
    return chip;
  }));
  byId("editor").showModal();
  byId("subject").focus();
}

function writeTimes({ from, until, all_day }) {
  byId("start-date").value = writeDay(from);
  byId("start-time").value = writeTime(from);
  byId("end-date").value = writeDay(all_day ? Math.max(until - DAY, from) : until);
  byId("end-time").value = writeTime(until);
  for (const id of ["start-time", "end-time"]) byId(id).hidden = all_day;
}

function readTimes() {
  const allDay = byId("all-day-check").checked;
  if (allDay) return { all_day: true, from: readDay(byId("start-date").value), until: readDay(byId("end-date").value) + DAY };
  const moment = (end) => read(`${byId(`${end}-date`).value}T${byId(`${end}-time`).value}`);
  return { all_day: false, from: moment("start"), until: moment("end") };
}

byId("all-day-check").addEventListener("change", () => {
  const allDay = byId("all-day-check").checked;
  if (!allDay && byId("start-time").value === byId("end-time").value) {
    byId("start-time").value = "09:00";
    byId("end-time").value = "09:30";
  }
  for (const id of ["start-time", "end-time"]) byId(id).hidden = allDay;
});

// When the start moves, the end moves with it.
let heldTimes = null;
for (const id of ["start-date", "start-time"]) {
  byId(id).addEventListener("focus", () => { heldTimes = readTimes(); });
  byId(id).addEventListener("change", () => {
    const now = readTimes();
    if (heldTimes && now.from > now.until - (now.all_day ? DAY : 0)) writeTimes({ ...now, until: now.from + heldTimes.until - heldTimes.from });
    heldTimes = readTimes();
  });
}

function problemWith({ from, until }) {
  if (Number.isNaN(from) || Number.isNaN(until)) return "Fill in both dates and times.";
  return until < from ? "The event ends before it begins." : "";
}

byId("form").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const times = readTimes();
  const problem = problemWith(times);
  if (problem) { byId("problem").textContent = problem; return; }
  const body = {
    subject: byId("subject").value,
    all_day: times.all_day,
    show_as: byId("show-as").value,
    private: byId("private").checked,
    categories: [...byId("categories").querySelectorAll(":checked")].map((box) => box.value),
  };
  const before = edited;
  const moved = !before || before.from !== times.from || before.until !== times.until || before.all_day !== times.all_day;
  if (moved) Object.assign(body, { start: write(times.from), end: write(times.until) });
  if (before) body.etag = before.etag;
  byId("save").disabled = true;
  busy(1);
  try {
    const made = await (before ? call("PATCH", eventPath(before.id), body) : call("POST", `${mailboxPath()}/events`, body));
    state.focusNext = made.id;
    say(`Saved: ${describe(withTimes(made))}`);
    byId("editor").close();
  } catch (error) {
    byId("problem").textContent = error.status ? error.message : "The simulator cannot be reached.";
  } finally {
    byId("save").disabled = false;
    busy(-1);
    refresh();
  }
});
byId("cancel").addEventListener("click", () => byId("editor").close());
byId("delete").addEventListener("click", () => { byId("editor").close(); if (edited) remove(edited); });
byId("editor").addEventListener("close", () => { edited = null; document.querySelector(".sketch")?.remove(); });
byId("editor").addEventListener("pointerdown", (down) => { if (down.target === byId("editor")) byId("editor").close(); });

// ---- Going from week to week

function show(day) {
  state.day = day;
  const address = new URL(location.href);
  if (day) address.searchParams.set("week", day); else address.searchParams.delete("week");
  history.replaceState(null, "", address);
  refresh();
}
const go = (days) => show(writeDay(readDay(state.day || state.week.monday) + days * DAY));

byId("today").addEventListener("click", () => show(""));
byId("previous").addEventListener("click", () => go(-7));
byId("next").addEventListener("click", () => go(7));
byId("new").addEventListener("click", newEvent);
byId("goto").addEventListener("change", () => { if (byId("goto").value) show(byId("goto").value); });

// ---- Following the mailbox

function followMailbox() {
  const live = byId("live");
  const stream = new EventSource(`${mailboxPath()}/stream`);
  state.stream = stream;
  const connected = (yes) => {
    live.hidden = false;
    live.classList.toggle("lost", !yes);
    live.textContent = yes ? "Live" : "Reconnecting…";
  };
  stream.onopen = () => connected(true);
  stream.onmessage = () => { connected(true); refresh(); };
  stream.onerror = () => {
    connected(false);
    // After an answer that was no stream the browser gives up; we do not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(followMailbox, 2000);
  };
}

async function open() {
  const [, , tenant, user] = location.pathname.split("/").map(decodeURIComponent);
  state.tenant = tenant || "";
  state.user = user || "";
  state.day = new URLSearchParams(location.search).get("week") || "";
  byId("welcome").hidden = Boolean(state.user);
  await loadMailboxes();
  if (!state.user) return;
  try {
    await loadWeek();
  } catch (error) {
    byId("welcome").hidden = false;
    tell(error.message);
  }
  followMailbox();
  setInterval(drawNow, 30000);
}

open().catch((error) => tell(error.message));
