/**
 * A program for tests: browsers by the rules of outbox.ts type into notes of a real server, and lose requests,
 * answers and tabs. At the end it prints what came of the words, as JSON.
 *
 *     PASSWORD=… node realserver.js URL E-MAIL STEPS SEED
 */
import { newId } from "./ids.ts";
import { noFields, type Sent } from "./outbox.ts";
import type { Response } from "./modelserver.ts";
import { Browser, Tab, type Server } from "./testbrowser.ts";
import type { Note } from "./types.ts";

const [url, email, steps, seed] = process.argv.slice(2) as [string, string, string, string];
let state = Number(seed) >>> 0;

/** A number from 0 to n-1 (Marsaglia's xorshift). */
function random(n: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
}

async function call(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Response & { cookie: string | null }> {
  for (;;) {
    const answer = await fetch(url + path, { method, body: body ?? null, headers: { "Content-Type": "application/json", Cookie: cookie, ...headers } });
    if (answer.status !== 429 && answer.status !== 503) {
      return { status: answer.status, body: await answer.json(), cookie: answer.headers.get("Set-Cookie") };
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

let cookie = "";
const signedIn = await call("POST", "/api/auth/login", JSON.stringify({ email, password: process.env["PASSWORD"] }));
cookie = signedIn.cookie?.split(";")[0] ?? "";

/** What a browser hears of the server when it asks. */
class Mirror implements Server {
  notes = new Map<string, Note>();
  handle(): Response {
    throw new Error("requests go to the real server");
  }
  async look() {
    this.notes.clear();
    for (let since = 0, more = true; more; ) {
      const page = (await call("GET", `/api/changes?since=${since}&limit=500`)).body as { data: { note?: Note }[]; next: number; more: boolean };
      for (const { note } of page.data) if (note) this.notes.set(note.id, note);
      [since, more] = [page.next, page.more];
    }
  }
}

async function arrive(b: Browser) {
  const sent: Sent | null = b.underWay;
  if (sent && !b.response) b.response = await call(sent.method, sent.path, sent.body, { "Idempotency-Key": sent.key });
}

const mirrors = [new Mirror(), new Mirror()];
const browsers = mirrors.map((mirror, n) => new Browser(mirror, n, newId));
const waiting = new Map<Tab, string[]>();
const safe: string[] = [];
let [words, clashes] = [0, 0];

function flush(tab: Tab) {
  tab.flush(newId());
  safe.push(...(waiting.get(tab) ?? []));
  waiting.delete(tab);
}

async function poll(n: number) {
  await mirrors[n]!.look();
  browsers[n]!.poll();
}

/** Ends the clashes of a browser with both sides. */
function resolve(b: Browser) {
  for (const [id, { entry }] of b.kept) {
    if (!entry?.parts) continue;
    clashes++;
    const lines = entry.parts.map((p) => ("text" in p ? p.text : `${p.theirs}\n${p.yours}\n`)).join("").split("\n");
    const content = lines.filter((line, n) => !line || lines.indexOf(line) === n).join("\n");
    b.step(id, { type: "resolve", text: entry.text.content!, revision: entry.base!.revision, content });
  }
}

const first = new Tab(browsers[0]!, newId(), noFields);
browsers[0]!.tabs = [first];
first.local = { ...noFields, title: "Typed", content: "one two three\n\nfour five six\n" };
flush(first);
for (const n of [0, 1]) {
  browsers[n]!.send();
  await arrive(browsers[n]!);
  browsers[n]!.hear();
  await poll(n);
}
for (let i = 0; i < Number(steps); i++) {
  const n = random(2);
  const b = browsers[n]!;
  const tab = b.tabs[random(2)] ?? new Tab(b, first.id, b.text(first.id)!);
  if (!b.tabs.includes(tab)) b.tabs.push(tab);
  const kind = random(20);
  if (kind < 8) {
    const word = `<${++words}>`;
    const lines = (tab.local.content ?? "").split("\n");
    const line = random(lines.length);
    if (random(2)) lines.splice(line, 0, word);
    else lines[line] += ` ${word}`;
    tab.local = { ...tab.local, content: lines.join("\n") };
    waiting.set(tab, [...(waiting.get(tab) ?? []), word]);
  } else if (kind < 11) flush(tab);
  else if (kind < 13) tab.show();
  else if (kind === 13) b.lose();
  else if (kind === 14 && random(3) === 0) {
    for (const gone of b.tabs) waiting.delete(gone);
    b.kill();
  } else if (kind === 15) await poll(n);
  else if (kind === 16) resolve(b);
  else if (kind === 17) b.send();
  else if (kind === 18) await arrive(b);
  else {
    b.send();
    await arrive(b);
    b.hear();
  }
}
for (const b of browsers) for (const tab of b.tabs) flush(tab);
for (let round = 0; round < 20; round++) {
  for (const n of [0, 1]) {
    resolve(browsers[n]!);
    browsers[n]!.send();
    await arrive(browsers[n]!);
    browsers[n]!.hear();
    await poll(n);
  }
}
const text = [...mirrors[0]!.notes.values()].map((note) => note.content).join("\n");
const lost = safe.filter((word) => !text.includes(word));
const unsent = browsers.flatMap((b) => [...b.kept.values()]).filter(({ entry }) => entry).length;
console.log(JSON.stringify({ words: safe.length, lost, clashes, unsent }));
