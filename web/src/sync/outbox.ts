/**
 * The rules of what was typed here and what the server has. Everything is a function of what is kept
 * of one note and of an event to what is kept then: no clock, no network, no storage. Who calls it
 * keeps the result in the same transaction that read what was kept, before anything else happens; so a
 * tab may be killed between any two steps, and two tabs may take turns.
 *
 * An entry has three texts. `base` is the note as the server had it at base.revision. `text` is what
 * a person sees here, and is derived from the base: what is in the base and not in the text was removed
 * here, what is in the text and not in the base was written here. In a clash the content is derived from
 * `fork` instead, and the base is what others made of that. Each rule below keeps this true:
 *
 * - A save names base.revision, so the server merges `text` with what others wrote since.
 * - Its answer D holds what was sent, S, and what others wrote. If the text is still S, it becomes D with D
 *   as base. If it went on to L, S is the one text that both L and D are derived from, and no revision of
 *   the server has it: L and D are merged here over S, and D is the base. If they clash, S is the fork.
 * - A request is kept before it is sent, and sent again, byte for byte under its key, until it is answered.
 *   So the server has done it once when the answer comes, and the answer is to what was kept as sent.
 * - A refusal (409 with a clash) has written nothing: the base becomes the fork, and the note in the answer the base.
 */
import { carried, isClean, mergeTags, mergeText } from "./merge.ts";
import type { Fields, MergePart, Note, Notice, Problem } from "./types.ts";

/** A note as the server had it. The content is null where only the rest is known. */
export type Known = Omit<Note, "content"> & { content: string | null };

/** The fields of a note of which the content may not be known. */
export type Text = Omit<Fields, "content"> & { content: string | null };

/** A request as it is sent and, unanswered, sent again. */
export interface Sent {
  key: string;
  method: "POST" | "PATCH";
  path: string;
  body: string;
}

/** What is kept of a note that has something the server has not. Its version tells later releases how to read it. */
export interface Entry {
  version: 1;
  id: string;
  base: Known | null;
  text: Text;
  fork: string | null;
  /** Non-null with fork. */
  parts: readonly MergePart[] | null;
  /** What a person has made of the clash so far. */
  result: string | null;
  sent: Sent | null;
  problem: Problem | null;
  /** Whether saves send the base along: the server said that it has its revision no longer. */
  sendsBase: boolean;
}

/** What is kept of a note: its entry if there is one, and what is known of the server's. */
export interface Kept {
  entry: Entry | null;
  note: Known | null;
}

export type Event =
  /**
   * A person made `text` of `from`; a field that text lacks is as there. `known` is the server's note that
   * `from` is derived from, for when that is kept no longer, and null for a new note. newId is the id if
   * the text must become another note.
   */
  | { type: "draft"; id: string; from: Text; text: Partial<Fields>; known: Known | null; newId: string }
  /** The next request may be sent, under this key. */
  | { type: "send"; key: string }
  /** The request under the key has been answered. */
  | { type: "answer"; key: string; status: number; body: unknown; newId: string }
  /** The server's note, as of now. Older revisions than what is kept have no effect. */
  | { type: "remote"; note: Known }
  /** The server has the note no longer. */
  | { type: "gone"; newId: string }
  | { type: "mend"; result: string }
  /** A person ends the clash of a text and a revision with content. */
  | { type: "resolve"; text: string; revision: number; content: string }
  | { type: "retry" };

export interface Step extends Kept {
  /** The entry of another note that takes over what was typed. Keep it in the same transaction. */
  moved: Entry | null;
  notices: Notice[];
  /** The session has ended, or is another user's: nothing can be sent until the account signs in. */
  signedOut: boolean;
  /** The server could not say yes or no: send the same again later. */
  again: boolean;
  /** Whether an event could be obeyed: false for a resolve of a clash that has changed meanwhile. */
  isDone: boolean;
}

export const noFields: Fields = {
  title: "", content: "", tags: [], color: null, isPinned: false, isFavorite: false, isArchived: false, isMarkdown: true,
  isTrashed: false,
};

const flags = ["isPinned", "isFavorite", "isArchived", "isMarkdown", "isTrashed"] as const;
const scalars = ["title", "color", ...flags] as const;
const maxTitle = 255;

/** Applies an event to what is kept. */
export function step(kept: Kept, event: Event): Step {
  switch (event.type) {
    case "draft":
      return draft(kept, event);
    case "send":
      return send(kept, event.key);
    case "answer":
      return answer(kept, event);
    case "remote":
      return remote(kept, event.note);
    case "gone":
      return gone(kept, event.newId);
    case "mend":
      return kept.entry?.parts ? done({ ...kept, entry: { ...kept.entry, result: event.result } }) : undone(kept);
    case "resolve":
      return resolve(kept, event);
    case "retry":
      return done(kept.entry ? { ...kept, entry: { ...kept.entry, problem: null } } : kept);
  }
}

/** Whether the entry has a request to send, new or again. */
export function isWaiting(entry: Entry): boolean {
  return entry.sent !== null || isSendable(entry);
}

/** Whether a new request can be made of the entry. */
function isSendable(entry: Entry): boolean {
  return !entry.sent && !entry.parts && !entry.problem && isDirty(entry);
}

/** Whether the text has something that the base has not. */
export function isDirty({ base, text }: Entry): boolean {
  return !base || Object.keys(changes(base, wire(text))).length > 0;
}

/** The words by which a note is listed: its title, or else the beginning of its first line with a word. */
export function titleOf(text: { title: string; content: string | null }): string {
  if (text.title.trim()) return text.title;
  const line = text.content?.split("\n", 200).find((line) => /[\p{L}\p{N}]/u.test(line)) ?? "";
  return [...line.replace(/^[\s#>*+-]+/, "").slice(0, 2 * maxTitle)].slice(0, maxTitle).join("").trim() || "Untitled";
}

/** The text as the server takes it: with a title, without NUL and halves of surrogate pairs. */
function wire<T extends Text>(text: T): T {
  const clean = (s: string) => s.replaceAll("\0", "").toWellFormed();
  const content = text.content === null ? null : clean(text.content);
  return { ...text, content, title: clean(titleOf(text)), tags: text.tags.map(clean) };
}

function changes(base: Text, text: Text): Partial<Fields> {
  const changed: Record<string, unknown> = {};
  for (const name of scalars) if (text[name] !== base[name]) changed[name] = text[name];
  if (text.content !== null && text.content !== base.content) changed["content"] = text.content;
  if (!sameTags(text.tags, base.tags)) changed["tags"] = text.tags;
  return changed;
}

function sameTags(a: readonly string[], b: readonly string[]) {
  return a.length === b.length && a.every((tag, n) => tag === b[n]);
}

/** The fields of a note alone. */
export function fieldsOf(note: Text): Text {
  const { title, content, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed } = note;
  return { title, content, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed };
}

function done(kept: Kept, more: Partial<Step> = {}): Step {
  return { moved: null, notices: [], signedOut: false, again: false, isDone: true, ...tidy(kept), ...more };
}

function undone(kept: Kept): Step {
  return { ...done(kept), isDone: false };
}

/** Whether two texts are the same in every field. */
export function sameText(a: Text, b: Text): boolean {
  return a.content === b.content && scalars.every((name) => a[name] === b[name]) && sameTags(a.tags, b.tags);
}

/** Drops an entry that has nothing the server has not. */
function tidy({ entry, note }: Kept): Kept {
  const needed = entry && (entry.sent || entry.parts || isDirty(entry));
  return { entry: needed ? entry : null, note };
}

function newEntry(id: string, base: Known | null, text: Text): Entry {
  return { version: 1, id, base, text, fork: null, parts: null, result: null, sent: null, problem: null, sendsBase: false };
}

/** Brings what was made of `from` here together with what others made of it. The content of mine stays where they clash. */
export function rebase(from: Text, mine: Text, theirs: Text): { text: Text; parts: MergePart[] | null } {
  const text: Text = { ...mine, tags: sameTags(mine.tags, from.tags) ? theirs.tags : mergeTags(from.tags, mine.tags, theirs.tags) };
  for (const name of scalars) if (mine[name] === from[name]) Object.assign(text, { [name]: theirs[name] });
  if (mine.content === from.content || mine.content === null) return { text: { ...text, content: theirs.content }, parts: null };
  if (theirs.content === null || theirs.content === from.content) return { text, parts: null };
  const parts = mergeText(from.content ?? "", mine.content, theirs.content);
  return isClean(parts) ? { text: { ...text, content: parts[0].text }, parts: null } : { text, parts };
}

/**
 * The entry with a text that was rebased over fork. A result that a person has begun goes on, and is the
 * text where the clash has ended.
 */
function settled(entry: Entry, fork: string | null, { text, parts }: ReturnType<typeof rebase>): Entry {
  const begun = entry.parts && entry.result !== null;
  const result = begun ? carried(entry.parts!, entry.result!, parts ?? [{ text: text.content ?? "" }]) : null;
  if (!parts) return { ...entry, text: { ...text, content: result ?? text.content }, parts, fork: null, result: null };
  return { ...entry, text, parts, fork, result };
}

function draft(kept: Kept, e: Event & { type: "draft" }): Step {
  const mine: Text = { ...e.from, ...e.text };
  const typed = mine.title !== e.from.title || mine.content !== e.from.content;
  const { entry, note } = kept;
  const current = entry?.text ?? (note && fieldsOf(note));
  // Nothing is kept any more: what was made of the known note is made of it still, and the save merges.
  if (!current) return done({ entry: newEntry(e.id, e.known, mine), note });
  let base = entry ? entry.base : note;
  if (current.content === null && mine.content !== e.from.content) {
    // Others may have changed the content to one that is not here: this one was made of the known revision.
    if (!base || typeof e.known?.content !== "string") return done(kept, asNew(e.id, e.newId, mine));
    base = { ...base, content: e.known.content, revision: e.known.revision };
  }
  const { text, parts } = rebase(e.from, mine, current);
  const notices: Notice[] = [];
  if (typed && text.isTrashed && mine.isTrashed === e.from.isTrashed) {
    text.isTrashed = false;
    notices.push({ kind: "broughtBack", id: e.id, title: titleOf(text) });
  }
  if (!entry) {
    return done({ entry: settled(newEntry(e.id, base, text), e.from.content, { text, parts }), note }, { notices });
  }
  // Two tabs typed at one place, each without seeing the other: this one's text becomes a note of its own.
  if (parts) return done(kept, asNew(e.id, e.newId, mine));
  const next = { ...entry, base, text, problem: null };
  if (entry.parts && text.content !== entry.text.content) {
    return done({ entry: settled(next, entry.fork, overFork(entry, text)), note }, { notices });
  }
  return done({ entry: next, note }, { notices });
}

/**
 * Brings an entry that could not be written for a while together with what another tab has kept of the note
 * meanwhile. `late` was made of `before`; null: the server has all of it.
 */
export function rejoin(kept: Kept, late: Entry | null, before: Entry | null, newId: string): Step {
  if (!late) return done(kept); // what is kept was made of an older base, and its save merges
  if (!kept.entry) return done({ ...kept, entry: late });
  if (late.parts) return done(kept, asNew(late.id, newId, settled(late, null, { text: late.text, parts: null }).text));
  const isOfBefore = before && !before.parts && before.base?.revision === late.base?.revision;
  const from = isOfBefore ? before.text : late.base ? fieldsOf(late.base) : noFields;
  const { content, ...rest } = late.text;
  const text: Partial<Fields> = content === null ? rest : { ...rest, content };
  return draft(kept, { type: "draft", id: late.id, from, text, known: late.base, newId });
}

/** The content of a clash, typed on, and what others made of the fork. */
function overFork(entry: Entry, text: Text) {
  const parts = mergeText(entry.fork ?? "", text.content ?? "", entry.base?.content ?? "");
  return isClean(parts) ? { text: { ...text, content: parts[0].text }, parts: null } : { text, parts };
}

function asNew(id: string, newId: string, text: Text): Pick<Step, "moved" | "notices"> {
  const kept = { ...text, content: text.content ?? "", isTrashed: false };
  return { moved: newEntry(newId, null, kept), notices: [{ kind: "keptAsNew", id, newId, title: titleOf(kept) }] };
}

function send(kept: Kept, key: string): Step {
  const { entry, note } = kept;
  if (!entry || !isSendable(entry)) return undone(kept);
  return done({ entry: { ...entry, sent: request(entry, key) }, note });
}

function request({ id, base, text, sendsBase }: Entry, key: string): Sent {
  const wired = wire(text);
  if (!base) {
    const { isTrashed: _, ...fields } = wired;
    return { key, method: "POST", path: "/api/notes", body: JSON.stringify({ id, ...fields }) };
  }
  const body: Record<string, unknown> = changes(base, wired);
  if ("title" in body || "content" in body || "tags" in body) {
    body["baseRevision"] = base.revision;
    if (sendsBase) body["base"] = { revision: base.revision, title: base.title, content: base.content ?? undefined, tags: base.tags };
  }
  return { key, method: "PATCH", path: `/api/notes/${encodeURIComponent(id)}`, body: JSON.stringify(body) };
}

/** The note as it was sent: what the request changed of the base. */
function sentText({ base }: Entry, sent: Sent): Text {
  const body = JSON.parse(sent.body) as Partial<Fields>;
  const text = fieldsOf({ ...(base ?? noFields), ...body });
  return text;
}

function answer(kept: Kept, e: Event & { type: "answer" }): Step {
  const { entry, note } = kept;
  const sent = entry?.sent;
  if (!sent || sent.key !== e.key) return undone(kept); // another tab has seen to it
  if (isOtherSession(e.status, e.body)) return done(kept, { signedOut: true });
  if (isUnsure(e.status, e.body)) return done(kept, { again: true });
  const body = e.body as Answer;
  const open: Entry = { ...entry, sent: null };
  const theirs = noteOf(body, entry.id);
  switch (e.status) {
    case 200:
    case 201:
      return theirs ? saved(open, sent, theirs, note, e.status === 201) : done(kept, { again: true });
    case 404:
    case 410:
      return gone({ entry: open, note }, e.newId);
    case 409:
      if (sent.method === "POST") return gone({ entry: open, note }, e.newId);
      if (!theirs) return done(kept, { again: true });
      return conflicted(open, sent, theirs, body.merge ?? null, note);
  }
  const problem = { status: e.status, message: body?.error ?? "", fields: body?.fields ?? {} };
  return done({ entry: { ...open, problem }, note });
}

interface Answer {
  success: boolean;
  data?: Note;
  merge?: readonly MergePart[] | null;
  error?: string;
  fields?: Record<string, string>;
}

/** Whether an answer says that there is no session, or that it is another user's than the one whom the request named. */
export function isOtherSession(status: number, body: unknown): boolean {
  return status === 401 || (status === 412 && (body as { code?: unknown } | null | undefined)?.code === "other_user");
}

/**
 * Whether an answer is none, or says neither yes nor no. One that is not in the API's shape is of something in
 * between, as of the sign-in page of a wireless network; of these only "too large" counts.
 */
function isUnsure(status: number, body: unknown): boolean {
  if (status === 413) return false;
  const isOurs = typeof body === "object" && body !== null && typeof (body as Answer).success === "boolean";
  return !isOurs || status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 507);
}

function noteOf(body: Answer, id: string): Note | null {
  const note = body.data;
  return note && note.id === id && typeof note.content === "string" && typeof note.revision === "number" ? note : null;
}

function saved(entry: Entry, sent: Sent, theirs: Note, note: Known | null, isNew: boolean): Step {
  let was = sentText(entry, sent);
  // What the server can't have, and what it has instead, are the same to a person.
  const text = { ...entry.text };
  const wired = wire(text);
  if (wired.title === was.title) text.title = was.title;
  if (wired.content === was.content) text.content = was.content;
  if (sameTags(wired.tags, was.tags)) text.tags = was.tags;
  // A note that was there already may have been created with another text: nothing is known to be in both.
  if (sent.method === "POST" && !isNew && theirs.content !== was.content) was = { ...was, content: "" };
  const merged = rebase(was, text, theirs);
  const notices: Notice[] = [];
  const typed = sent.method === "PATCH" && entry.base && (was.title !== entry.base.title || was.content !== entry.base.content);
  if (typed && theirs.isTrashed && !was.isTrashed && !text.isTrashed) {
    merged.text.isTrashed = false; // trashed elsewhere since: the next save takes it out
    notices.push({ kind: "broughtBack", id: entry.id, title: titleOf(text) });
  }
  const next = { ...entry, base: theirs, problem: null, sendsBase: false };
  return done({ entry: settled(next, was.content, merged), note: newer(theirs, note) }, { notices });
}

function conflicted(entry: Entry, sent: Sent, theirs: Note, parts: readonly MergePart[] | null, note: Known | null): Step {
  const base = entry.base!;
  if (!parts && !entry.sendsBase) return done({ entry: { ...entry, sendsBase: true }, note: newer(theirs, note) });
  const merged = rebase(base, entry.text, theirs);
  const isSame = wire(entry.text).content === sentText(entry, sent).content;
  if (parts && isSame) merged.parts = [...parts]; // the server's merge is the better one
  const next = { ...entry, base: theirs, sendsBase: false };
  return done({ entry: settled(next, base.content, merged), note: newer(theirs, note) });
}

/** What to know of a note after hearing of it once more. News without content keeps the content of the same revision. */
function newer(theirs: Known, note: Known | null): Known {
  if (!note || theirs.revision > note.revision) return theirs;
  if (theirs.revision < note.revision) return note;
  return theirs.content === null ? { ...theirs, content: note.content } : theirs;
}

function remote(kept: Kept, theirs: Known): Step {
  const note = newer(theirs, kept.note);
  const { entry } = kept;
  if (!entry?.base || entry.sent || theirs.content === null || theirs.revision < entry.base.revision) return done({ entry, note });
  if (entry.parts && theirs.revision > entry.base.revision) {
    const fork = { ...entry.base, content: entry.fork };
    const next = { ...entry, base: theirs };
    return done({ entry: settled(next, entry.fork, rebase(fork, entry.text, theirs)), note });
  }
  if (entry.base.content !== null) return done({ entry, note }); // sending merges
  return done({ entry: { ...entry, base: theirs, text: rebase(entry.base, entry.text, theirs).text }, note });
}

/** The note is gone: what was typed becomes a new one. A flag or a colour does not. */
function gone({ entry, note }: Kept, newId: string): Step {
  if (!entry) return done({ entry: null, note: null });
  if (entry.sent) return done({ entry, note: null }); // its answer tells
  const { base, text } = entry;
  const typed = !base || entry.parts || text.title !== base.title || text.content !== base.content || !sameTags(text.tags, base.tags);
  if (!typed || text.content === null) return done({ entry: null, note: null });
  return done({ entry: null, note: null }, asNew(entry.id, newId, settled(entry, null, { text, parts: null }).text));
}

function resolve(kept: Kept, e: Event & { type: "resolve" }): Step {
  const { entry, note } = kept;
  if (!entry?.parts || entry.text.content !== e.text || entry.base?.revision !== e.revision) return undone(kept);
  const text = { ...entry.text, content: e.content };
  return done({ entry: { ...entry, text, fork: null, parts: null, result: null }, note });
}

/** When requests may be sent: not before `until`, a time in ms. */
export interface Pace {
  failures: number;
  until: number;
}

export const noPause: Pace = { failures: 0, until: 0 };

const [firstPause, longestPause] = [1000, 60_000];

/**
 * The pace after a request that the server did not decide on, at the time now. retryAfter is what the server
 * asked for, in ms, or null; random is at least 0 and below 1, so that not all clients come back at once.
 */
export function slower(pace: Pace, now: number, retryAfter: number | null, random: number): Pace {
  const pause = Math.min(longestPause, firstPause * 2 ** Math.min(pace.failures, 10)) * (0.5 + random / 2);
  return { failures: pace.failures + 1, until: now + (retryAfter === null ? pause : retryAfter + random * 1000) };
}

/** Reads an entry that an earlier release may have kept. Null: this release can't read it, so it is left as it is. */
export function upgrade(kept: { version?: unknown }): Entry | null {
  return kept.version === 1 ? (kept as Entry) : null;
}
