/** Brings what has changed on the server since last time: docs/SYNC.md. */
import * as api from "./api.ts";
import type { Cursor, Store, Update } from "./db.ts";
import { newId } from "./ids.ts";
import { step, type Kept, type Known } from "./outbox.ts";

export interface CatchUp {
  /** What became of notes. */
  updates(updates: Map<string, Update>): void;
  /** How many notes a catch-up from the beginning has brought; null: it is complete. */
  progress(notes: number | null): void;
}

const beginning: Cursor = { since: 0, isStartingOver: true, round: 1 };

/** Reads how far the store has heard of changes. */
export async function cursorOf(store: Store): Promise<Cursor> {
  return (await store.getState<Cursor>("cursor")) ?? beginning;
}

/** A status of the server that ends a catch-up. */
export class Refused extends Error {
  constructor(readonly reply: api.Reply) {
    super(`changes: status ${reply.status}`);
  }
}

/** Brings all changes, page by page. Fails with Refused or Unreachable; what came before is kept. */
export async function catchUp(client: api.Client, store: Store, on: CatchUp, signal: AbortSignal): Promise<Cursor> {
  let cursor = await cursorOf(store);
  let brought = 0;
  for (;;) {
    // The first time, only what the list needs: a page of texts ends at 1 MiB. Later all of it, to be read offline.
    const reply = await client.changes(cursor.since, cursor.isStartingOver);
    if (signal.aborted) return cursor;
    if (reply.status === 410) {
      cursor = { since: 0, isStartingOver: true, round: cursor.round + 1 };
      continue;
    }
    const page = reply.body;
    if (reply.status !== 200 || !Array.isArray(page?.data)) throw new Refused(reply);
    const isLast = cursor.isStartingOver && !page.more;
    cursor = { ...cursor, since: page.next };
    const changes = page.data.map((change): [string, (kept: Kept) => ReturnType<typeof step>] => [change.id, (kept) => apply(kept, change)]);
    if (changes.length || page.more) on.updates(await store.updateAll(cursor, changes));
    brought += changes.length;
    if (cursor.isStartingOver) on.progress(brought);
    if (isLast) {
      on.updates(await drop(store, cursor));
      cursor = { ...cursor, isStartingOver: false };
    }
    if (!page.more) {
      await store.updateAll(cursor, []);
      on.progress(null);
      return cursor;
    }
  }
}

function apply(kept: Kept, change: api.Change): ReturnType<typeof step> {
  if (!("note" in change)) return step(kept, { type: "gone", newId: newId() });
  const note: Known = { ...change.note, content: change.note.content ?? null };
  return step(kept, { type: "remote", note });
}

/** Drops what a catch-up from the beginning has not brought. */
async function drop(store: Store, cursor: Cursor): Promise<Map<string, Update>> {
  const gone: [string, (kept: Kept) => ReturnType<typeof step>][] = [];
  for await (const rows of store.rows()) {
    for (const row of rows) if (row.round < cursor.round) gone.push([row.id, (kept) => step(kept, { type: "gone", newId: newId() })]);
  }
  return store.updateAll(cursor, gone);
}
