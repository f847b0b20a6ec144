/** The state that all views share. */
import { computed, effect, signal, untracked } from "@preact/signals";
import { request, requestAs } from "./api.ts";
import { signalOf } from "./observe.ts";
import { parseQuery, type Folder } from "./query.ts";
import { openSync } from "./sync/sync.ts";
import type { Fields, NoteMeta } from "./sync/types.ts";

export const sync = openSync();
export const syncState = signalOf(sync.state);
export const notes = signalOf(sync.list);

/** Whether an account's notes are shown. */
export const isOpen = computed(() => syncState.value.account !== null && syncState.value.session !== "ended");

/** What the address bar says: /n/ID#in=archive&q=words, or #account. */
export interface Route {
  note: string | null;
  page: "notes" | "account";
  folder: Folder;
  query: string;
}

function readRoute(): Route {
  const hash = new URLSearchParams(location.hash.slice(1));
  const folder = hash.get("in");
  return {
    note: /^\/n\/([^/]+)$/.exec(location.pathname)?.[1] ?? null,
    page: hash.has("account") ? "account" : "notes",
    folder: folder === "archive" || folder === "trash" ? folder : "notes",
    query: hash.get("q") ?? "",
  };
}

export const route = signal<Route>(readRoute());
window.addEventListener("popstate", () => {
  lateUrl = null;
  route.value = readRoute();
});

/** Shows what `to` says, and leaves the rest as it is. */
export function go(to: Partial<Route>, how: "push" | "replace" | "replaceSoon" = "push"): void {
  const next: Route = { ...route.value, page: "notes", ...to };
  const hash = new URLSearchParams();
  if (next.page === "account") hash.set("account", "");
  if (next.folder !== "notes") hash.set("in", next.folder);
  if (next.query !== "") hash.set("q", next.query);
  const text = hash.toString().replace("account=", "account");
  const url = (next.note ? `/n/${next.note}` : "/") + (text && "#" + text);
  writeUrl();
  if (how === "push") history.pushState(null, "", url);
  else if (how === "replace") history.replaceState(null, "", url);
  else {
    // Browsers take their time over it, and typing comes first.
    lateUrl = url;
    setTimeout(writeUrl, 200);
  }
  route.value = next;
}

let lateUrl: string | null = null;

function writeUrl(): void {
  if (lateUrl !== null) history.replaceState(null, "", lateUrl);
  lateUrl = null;
}

export const query = computed(() => parseQuery(route.value.query, route.value.folder));

export function metaOf(id: string | null): NoteMeta | undefined {
  notes.value; // it changes with them
  return id === null ? undefined : sync.meta(id);
}

const searches = computed(() => {
  const q = query.value;
  return q.words.length > 0 || q.tags || q.isPinned || q.isFavorite || q.before || q.after ? q : null;
});

/** The ids that the search has found here. */
const found = signal<readonly string[]>([]);
let searched: typeof searches.value = null;
effect(() => {
  const wanted = searches.value;
  notes.value; // what is found changes with the notes, but typing in one of them comes first
  if (wanted === null) return;
  const stop = new AbortController();
  const search = () => sync.search(wanted, (result) => (found.value = result.ids), stop.signal);
  const timer = wanted === searched ? setTimeout(search, 500) : void search();
  searched = wanted;
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
});

/** The ids that the server has found besides, in texts that are not here. */
const foundThere = signal<readonly string[]>([]);
effect(() => {
  const { query: text, folder } = route.value;
  foundThere.value = [];
  if (query.value.words.length === 0 || notes.peek().every((n) => n.isHere)) return;
  const stop = new AbortController();
  const asked = text + (folder === "archive" ? " is:archived" : folder === "trash" ? " is:trashed" : "");
  const timer = setTimeout(async () => {
    const answer = await request<{ data: { id: string }[] }>("GET", `/api/notes?limit=100&q=${encodeURIComponent(asked)}`).catch(() => null);
    if (answer && !stop.signal.aborted) foundThere.value = answer.data.map((n) => n.id);
  }, 250);
  return () => {
    stop.abort();
    clearTimeout(timer);
  };
});

/** The notes in the list, in its order. */
export const rows = computed<readonly NoteMeta[]>(() => {
  if (searches.value !== null) {
    notes.value; // what is known of them changes with them
    return [...new Set([...found.value, ...foundThere.value])].flatMap((id) => sync.meta(id) ?? []);
  }
  const { isTrashed = false, isArchived } = query.value;
  return notes.value.filter((n) => n.isTrashed === isTrashed && (isArchived === undefined || n.isArchived === isArchived));
});

const counts = new Map<string, number>();
let counted: readonly NoteMeta[] = [];
let sorted: [string, number][] = [];

/** All tags with the number of notes that have them, the most used first. */
export const tags = computed(() => {
  // Of the many notes few change at once: only what is between them is counted anew.
  const next = notes.value;
  const shorter = Math.min(next.length, counted.length);
  let from = 0;
  while (from < shorter && next[from] === counted[from]) from++;
  let tail = 0;
  while (tail < shorter - from && next[next.length - 1 - tail] === counted[counted.length - 1 - tail]) tail++;
  const changes = new Map<string, number>();
  const count = (rows: readonly NoteMeta[], by: number) => {
    for (let i = from; i < rows.length - tail; i++) {
      if (!rows[i]!.isTrashed) for (const tag of rows[i]!.tags) changes.set(tag, (changes.get(tag) ?? 0) + by);
    }
  };
  count(counted, -1);
  count(next, 1);
  counted = next;
  let isChanged = false;
  for (const [tag, by] of changes) {
    if (by === 0) continue;
    isChanged = true;
    const left = (counts.get(tag) ?? 0) + by;
    if (left > 0) counts.set(tag, left);
    else counts.delete(tag);
  }
  if (isChanged) sorted = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  return sorted;
});

/** The notes that actions of the list are for. */
export const selected = signal<ReadonlySet<string>>(new Set());
/** The note that the keyboard is on in the list. */
export const cursor = signal<string | null>(null);

/** What a person is told for a moment, with an action to take it back. */
export interface Toast {
  text: string;
  undo?: () => unknown;
}
export const toast = signal<Toast | null>(null);
const undos: (() => unknown)[] = [];

export function tell(text: string, undo?: () => unknown): void {
  toast.value = undo ? { text, undo: () => undoLast() } : { text };
  if (undo) undos.push(undo);
}

export function undoLast(): void {
  const undo = undos.pop();
  if (!undo) {
    tell("Nothing to undo");
    return;
  }
  toast.value = { text: "Undone" };
  Promise.resolve(undo()).catch((err) => tell("Not undone: " + (err instanceof Error ? err.message : String(err)), undo));
}

/** What actions are for: the selection, else the note that is open, else the one that the keyboard is on. */
export function targets(): string[] {
  if (selected.value.size > 0) return [...selected.value];
  const id = route.value.note ?? cursor.value;
  return id === null ? [] : [id];
}

export function newNote(fields: Partial<Fields> = {}): string {
  const tag = query.value.tags?.[0];
  const id = sync.create({ isMarkdown: true, tags: tag ? [tag] : [], ...fields });
  const view = sync.open(id).value;
  if ((fields.title || fields.content) && view !== null && typeof view === "object") void sync.draft(view, fields);
  go({ note: id, folder: "notes" });
  return id;
}

type Flag = "isPinned" | "isFavorite" | "isArchived";
const flagWords: Record<Flag, [string, string]> = {
  isPinned: ["Pinned", "Unpinned"],
  isFavorite: ["Added to favourites", "Removed from favourites"],
  isArchived: ["Archived", "Taken out of the archive"],
};

/** Turns a flag of notes on, or off if all of them have it. */
export async function toggle(flag: Flag, ids = targets()): Promise<void> {
  const before = ids.flatMap((id) => metaOf(id) ?? []);
  if (before.length === 0) return;
  const on = !before.every((n) => n[flag]);
  await sync.change(ids, { [flag]: on });
  tell(countOf(flagWords[flag][on ? 0 : 1], ids), () =>
    Promise.all(before.map((n) => sync.change([n.id], { [flag]: n[flag] }))),
  );
}

export async function setColor(color: string | null, ids = targets()): Promise<void> {
  await sync.change(ids, { color });
}

export async function trash(ids = targets()): Promise<void> {
  if (ids.length === 0) return;
  if (ids.every((id) => metaOf(id)?.isTrashed)) {
    await sync.change(ids, { isTrashed: false });
    tell(countOf("Taken out of the trash", ids));
    return;
  }
  const undo = await sync.trash(ids);
  leave(ids);
  tell(countOf("Moved to the trash", ids), undo);
}

export async function removeForGood(ids = targets()): Promise<void> {
  const what = ids.length === 1 ? "this note and its history" : `these ${ids.length} notes and their history`;
  if (ids.length === 0 || !confirm(`Delete ${what} for good? This can't be undone.`)) return;
  try {
    await sync.remove(ids);
    leave(ids);
    tell(countOf("Deleted", ids));
  } catch (err) {
    tell(err instanceof Error ? err.message : String(err));
  }
}

function leave(ids: readonly string[]): void {
  selected.value = new Set();
  if (route.value.note && ids.includes(route.value.note)) go({ note: null });
}

function countOf(text: string, ids: readonly string[]): string {
  return ids.length === 1 ? text : `${text}: ${ids.length} notes`;
}

/** What a person has chosen. It is kept in the account, and here for the next start. */
export interface Preferences {
  theme: "system" | "light" | "dark";
  /** Whether single letters are shortcuts. */
  shortcuts: boolean;
  editor: "rich" | "plain";
  searches: string[];
}
const initial: Preferences = { theme: "system", shortcuts: true, editor: "rich", searches: [] };
const kept = "notesd.preferences";
export const preferences = signal<Preferences>({ ...initial, ...parsed(localStorageItem()) });
effect(() => {
  document.documentElement.dataset.theme = preferences.value.theme;
});

function localStorageItem(): string | null {
  try {
    return localStorage.getItem(kept);
  } catch {
    return null; // it is refused
  }
}

function parsed(text: string | null): Partial<Preferences> {
  try {
    return JSON.parse(text ?? "{}") as Partial<Preferences>;
  } catch {
    return {};
  }
}

/** What other apps keep in the preferences of the account that `of` names. */
let others: { of: string; kept: Record<string, unknown> } | null = null;

export function prefer(change: Partial<Preferences>): void {
  preferences.value = { ...preferences.value, ...change };
  keepPreferences();
  const { session, account } = syncState.value;
  if (session === "active" && others?.of === account?.id) {
    void request("PATCH", "/api/auth/me", { preferences: { ...others?.kept, web: preferences.value } }).catch(() => undefined);
  }
}

function keepPreferences(): void {
  try {
    localStorage.setItem(kept, JSON.stringify(preferences.value));
  } catch {
    // They are in force until the page is closed.
  }
}

/** Takes over what the account prefers. */
async function fetchPreferences(of: string): Promise<void> {
  const me = await request<{ data: { preferences?: Record<string, unknown> | null } }>("GET", "/api/auth/me", undefined, of).catch(() => null);
  if (!me || syncState.value.account?.id !== of) return;
  const { web, ...rest } = me.data.preferences ?? {};
  others = { of, kept: rest };
  if (web && typeof web === "object") {
    preferences.value = { ...initial, ...web };
    keepPreferences();
  }
}

let [shownBefore, preferencesOf] = ["", ""];
effect(() => {
  const { session, account } = syncState.value;
  requestAs(account?.id ?? null);
  if (account && account.id !== shownBefore) {
    if (shownBefore) untracked(forgetAccount);
    shownBefore = account.id;
  }
  const asked = session === "active" ? (account?.id ?? "") : "";
  if (asked && asked !== preferencesOf) void fetchPreferences(asked);
  preferencesOf = asked;
});

/** Takes what an account has done and looked for out of the way of the next one. */
function forgetAccount(): void {
  others = null;
  undos.length = 0;
  toast.value = null;
  selected.value = new Set();
  cursor.value = null;
  preferences.value = { ...preferences.peek(), searches: [] };
  keepPreferences();
  go({ page: "notes", note: null, folder: "notes", query: "" }, "replace");
}
