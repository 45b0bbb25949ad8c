// Wall-clock arithmetic and the placing of events, without a browser. A time is minutes since 1970 on the wall's clock,
// so a day always has 24 hours here, as it has in Outlook's grid; the server knows about daylight saving time.

export const DAY = 1440;
export const STEP = 15;

export const read = (text) => Date.parse(`${text.slice(0, 16)}Z`) / 60000;
export const readDay = (text) => Date.parse(`${text}T00:00Z`) / 60000;
export const write = (minutes) => new Date(minutes * 60000).toISOString().slice(0, 16);
export const writeDay = (minutes) => write(minutes).slice(0, 10);
export const writeTime = (minutes) => write(minutes).slice(11);
export const snap = (minutes, step = STEP) => Math.round(minutes / step) * step;

const formats = new Map();
function format(minutes, name, options) {
  if (!formats.has(name)) formats.set(name, new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }));
  return formats.get(name).format(new Date(minutes * 60000));
}
export const weekday = (minutes) => format(minutes, "weekday", { weekday: "short" });
export const dayNumber = (minutes) => format(minutes, "day", { day: "numeric" });
export const longDay = (minutes) => format(minutes, "long", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const month = (minutes) => format(minutes, "month", { month: "long" });
const year = (minutes) => format(minutes, "year", { year: "numeric" });

export function weekTitle(monday) {
  const sunday = monday + 6 * DAY;
  const end = `${dayNumber(sunday)} ${month(sunday)} ${year(sunday)}`;
  if (year(monday) !== year(sunday)) return `${dayNumber(monday)} ${month(monday)} ${year(monday)} – ${end}`;
  if (month(monday) !== month(sunday)) return `${dayNumber(monday)} ${month(monday)} – ${end}`;
  return `${dayNumber(monday)} – ${end}`;
}

// Events that last a day or longer lie in the row at the top, as in Outlook.
export const isStrip = (event) => event.all_day || event.until - event.from >= DAY;

// The parts of the shorter ones, day by day: {event, day, from, to, lane, lanes, span}, times in minutes of the day.
export function columns(events, monday) {
  const days = Array.from({ length: 7 }, () => []);
  for (const event of events) {
    if (isStrip(event)) continue;
    for (let day = 0; day < 7; day += 1) {
      const midnight = monday + day * DAY;
      const from = Math.max(event.from - midnight, 0);
      const to = Math.min(Math.max(event.until, event.from) - midnight, DAY);
      const touches = from < DAY && (to > 0 || (event.from === event.until && event.from === midnight));
      if (touches && (event.from >= midnight || to > 0)) days[day].push({ event, day, from, to: Math.max(to, from) });
    }
  }
  return days.map(sideBySide);
}

// Lanes for parts that overlap: each group of parts that touch one another shares the width of the day, and a part
// spans the lanes to its right that are free.
function sideBySide(parts) {
  const shown = (part) => Math.max(part.to, part.from + STEP * 1.4);
  parts.sort((a, b) => a.from - b.from || b.to - a.to || (a.event.id < b.event.id ? -1 : 1));
  let group = [];
  let end = -1;
  const settle = () => {
    const lanes = Math.max(0, ...group.map((part) => part.lane)) + 1;
    for (const part of group) {
      part.lanes = lanes;
      const right = group.filter((other) => other.lane > part.lane && other.from < shown(part) && shown(other) > part.from);
      part.span = Math.min(lanes, ...right.map((other) => other.lane)) - part.lane;
    }
  };
  for (const part of parts) {
    if (part.from >= end) { settle(); group = []; end = -1; }
    const taken = new Set(group.filter((other) => shown(other) > part.from).map((other) => other.lane));
    part.lane = 0;
    while (taken.has(part.lane)) part.lane += 1;
    group.push(part);
    end = Math.max(end, shown(part));
  }
  settle();
  return parts;
}

// The strips of the row at the top: {event, first, last, lane}, days from 0 to 6.
export function strips(events, monday) {
  const rows = [];
  const found = [];
  const long = events.filter(isStrip).sort((a, b) => a.from - b.from || b.until - a.until || (a.id < b.id ? -1 : 1));
  for (const event of long) {
    const first = Math.max(0, Math.floor((event.from - monday) / DAY));
    const last = Math.min(6, Math.ceil((event.until - monday) / DAY) - 1);
    if (first > 6 || last < first) continue;
    let lane = 0;
    while ((rows[lane] ?? -1) >= first) lane += 1;
    rows[lane] = last;
    found.push({ event, first, last, lane });
  }
  return { lanes: rows.length, strips: found };
}
