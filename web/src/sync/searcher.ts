/** Searches the texts that are kept in the browser, in a worker: they are read once, and searched in memory beside the page. */
import { openDB } from "idb";
import { fold } from "./search.ts";
import { maskOf, Texts } from "./texts.ts";

declare const self: DedicatedWorkerGlobalScope;

/** Open comes first, with the name of the database. */
export type Asked = { open: string } | { changed: readonly string[] } | { search: number; words: readonly string[] };
/** The ids of the numbers from `from` on, or the numbers and masks that a search has found (see Texts.find). */
export type Told = { from: number; ids: string[] } | { search: number; numbers: Uint32Array; masks: Int32Array };

const batch = 1000;
const texts = new Texts();
let names = 0;
let ready = Promise.resolve();
let read: (id: string) => Promise<string | null> = () => Promise.resolve(null);
let newest = 0;

self.onmessage = ({ data }: MessageEvent<Asked>) => {
  if ("search" in data) newest = data.search;
  ready = ready.then(async () => {
    if ("open" in data) await open(data.open);
    else if ("changed" in data) for (const id of data.changed) keep([{ id, content: await read(id) }]);
    else await search(data.search, data.words);
  });
};

async function search(asked: number, words: readonly string[]): Promise<void> {
  if (asked !== newest) return;
  const { numbers, masks } = texts.find(words);
  for (const [number, id] of texts.others) {
    const mask = maskOf(fold((await read(id)) ?? ""), words);
    if (asked !== newest) return;
    if (mask === 0) continue;
    numbers.push(number);
    masks.push(mask);
  }
  const found = { search: asked, numbers: Uint32Array.from(numbers), masks: Int32Array.from(masks) };
  self.postMessage(found satisfies Told, [found.numbers.buffer, found.masks.buffer]);
}

async function open(name: string): Promise<void> {
  const db = await openDB(name, undefined, { blocking: () => db.close() });
  read = async (id) => ((await db.get("bodies", id)) as { content: string } | undefined)?.content ?? null;
  for (let after = ""; ; ) {
    const bodies = (await db.getAll("bodies", IDBKeyRange.lowerBound(after, true), batch)) as { id: string; content: string }[];
    if (!bodies.length) return;
    after = bodies.at(-1)!.id;
    keep(bodies);
  }
}

function keep(bodies: readonly { id: string; content: string | null }[]): void {
  const from = names;
  const ids: string[] = [];
  for (const { id, content } of bodies) {
    if (texts.set(id, content) < names) continue;
    ids.push(id);
    names++;
  }
  if (ids.length) self.postMessage({ from, ids } satisfies Told);
}
