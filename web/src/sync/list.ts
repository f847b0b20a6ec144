/** The list of notes: rows of what the server has, under what is unsent here. */
import { excerptOf, type Row } from "./db.ts";
import { titleOf, type Entry } from "./outbox.ts";
import { Value } from "./observable.ts";
import type { NoteMeta, SaveState } from "./types.ts";

/** How many changed rows are put into their places one by one; for more, all are sorted. */
const fewRows = 50;

export class List {
  readonly value = new Value<readonly NoteMeta[]>([]);
  private rows = new Map<string, Row>();
  private entries = new Map<string, Entry>();
  private shown = new Map<string, NoteMeta>();
  private changed = new Set<string>();
  private isHidden = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly stateOf: (entry: Entry) => SaveState) {}

  row(id: string): Row | undefined {
    return this.rows.get(id);
  }

  entry(id: string): Entry | undefined {
    return this.entries.get(id);
  }

  allEntries(): Iterable<Entry> {
    return this.entries.values();
  }

  allRows(): Iterable<Row> {
    return this.rows.values();
  }

  get unsent() {
    return this.entries.size;
  }

  meta(id: string): NoteMeta | undefined {
    return this.isHidden ? undefined : this.shown.get(id);
  }

  setRow(id: string, row: Row | null) {
    if (row) this.rows.set(id, row);
    else this.rows.delete(id);
    this.touch(id);
  }

  setEntry(id: string, entry: Entry | null) {
    if (entry) this.entries.set(id, entry);
    else if (!this.entries.delete(id)) return;
    this.touch(id);
  }

  /** Shows the states of what is unsent anew. */
  touchEntries() {
    for (const id of this.entries.keys()) this.touch(id);
  }

  clear() {
    for (const id of this.rows.keys()) this.touch(id);
    this.rows.clear();
  }

  /** Shows nothing, or all again. */
  hide(isHidden: boolean) {
    this.isHidden = isHidden;
    this.show();
    this.value.set(isHidden ? [] : [...this.shown.values()].sort(order));
  }

  close() {
    clearTimeout(this.timer);
  }

  private touch(id: string) {
    this.changed.add(id);
    this.timer ??= setTimeout(() => this.show(), 8);
  }

  /** Puts what has changed into the list at once. */
  show() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.changed.size) return;
    const ids = [...this.changed];
    this.changed.clear();
    const isFew = ids.length <= fewRows && !this.isHidden;
    const rows = isFew ? [...this.value.value] : [];
    for (const id of ids) {
      const old = this.shown.get(id);
      if (isFew && old) rows.splice(place(rows, old), 1);
      const next = this.metaOf(id);
      if (next) this.shown.set(id, next);
      else this.shown.delete(id);
      if (next && isFew) rows.splice(place(rows, next), 0, next);
      else if (next) rows.push(next);
    }
    if (!this.isHidden) this.value.set(isFew ? rows : merged(this.value.value.filter((row) => this.shown.get(row.id) === row), rows.sort(order)));
  }

  private metaOf(id: string): NoteMeta | null {
    const row = this.rows.get(id);
    const entry = this.entries.get(id);
    if (!entry) return row ? { ...withoutRound(row), isHere: row.excerpt !== null, state: "saved" } : null;
    const { content, ...text } = entry.text;
    const base = entry.base ?? row;
    const at = base?.updatedAt ?? timeOf(id);
    return {
      ...text, id, title: titleOf(entry.text), trashedAt: text.isTrashed ? (base?.trashedAt ?? at) : null,
      createdAt: base?.createdAt ?? at, updatedAt: at, revision: base?.revision ?? 0,
      excerpt: content === null ? (row?.excerpt ?? null) : excerptOf(content), isHere: content !== null || row?.excerpt != null,
      state: this.stateOf(entry),
    };
  }
}

function withoutRound({ round: _, ...row }: Row): Omit<Row, "round"> {
  return row;
}

/** The time in a UUIDv7, as the server writes times. */
function timeOf(id: string): string {
  const ms = parseInt(id.replaceAll("-", "").slice(0, 12), 16);
  return new Date(Number.isFinite(ms) ? ms : 0).toISOString();
}

function order(a: NoteMeta, b: NoteMeta): number {
  if (a.isFavorite !== b.isFavorite) return a.isFavorite ? -1 : 1;
  if (a.isPinned !== b.isPinned) return a.isPinned ? -1 : 1;
  if (a.updatedAt !== b.updatedAt) return a.updatedAt > b.updatedAt ? -1 : 1;
  return a.id < b.id ? 1 : a.id > b.id ? -1 : 0;
}

/** Two sorted lists in one. */
function merged(a: readonly NoteMeta[], b: readonly NoteMeta[]): readonly NoteMeta[] {
  if (!a.length) return b;
  const rows: NoteMeta[] = [];
  let i = 0;
  for (const row of b) {
    while (i < a.length && order(a[i]!, row) < 0) rows.push(a[i++]!);
    rows.push(row);
  }
  while (i < a.length) rows.push(a[i++]!);
  return rows;
}

/** Where a row is, or belongs, in sorted rows. */
function place(rows: NoteMeta[], row: NoteMeta): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (order(rows[middle]!, row) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
