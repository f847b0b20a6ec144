import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ModelServer } from "./modelserver.ts";
import { noFields, rejoin, step, type Event, type Kept, type Step } from "./outbox.ts";
import { Browser, Tab } from "./testbrowser.ts";
import type { Note } from "./types.ts";

type Action = [kind: string, browser: number, where: number, more: number];

const kinds = [
  "type", "type", "type", "type", "type", "flush", "flush", "flush", "send", "send", "arrive", "arrive", "hear", "hear", "poll", "show", "show", "pollMeta",
  "step", "step", "step", "lose", "kill", "open", "create", "removeLine", "flag", "thin", "forgetKeys", "signOut", "signIn", "otherIn", "otherOut", "erase", "refuse", "accept", "trash", "delete",
  "resolve", "mend",
];

const action: fc.Arbitrary<Action> = fc.tuple(fc.constantFrom(...kinds), fc.nat(1), fc.nat(99), fc.nat(99));

/** Runs the actions in a world of two browsers. */
function run(actions: Action[]) {
  let last = 0;
  const ids = () => `id-${++last}`;
  const server = new ModelServer();
  server.handle({ key: ids(), method: "POST", path: "/api/notes", body: JSON.stringify({ id: "n", ...noFields, title: "n", content: "one two three\n\nfour\n" }) });
  const browsers = [0, 1].map((n) => new Browser(server, n, ids));
  for (const b of browsers) b.poll();
  const typed = new Map<Tab, string[]>(); // what is typed and not kept yet
  const safe = new Set<string>(); // tokens that must be found
  const exempt = new Set<string>(); // tokens that somebody removed
  const doubled = new Set<string>(); // tokens that somebody wrote twice, by keeping both sides of a clash
  const tokensOf = (text: string | null | undefined) => text?.match(/<\d+>/g) ?? [];

  const open = (b: Browser, where: number) => {
    const there = [...b.kept.keys()].filter((id) => b.text(id)?.content != null);
    const id = there[where % Math.max(1, there.length)];
    if (id === undefined) return undefined;
    const tab = new Tab(b, id, b.text(id)!);
    b.tabs = [...b.tabs.slice(-2), tab];
    return tab;
  };
  const tabOf = (b: Browser, where: number) => b.tabs[where % Math.max(1, b.tabs.length)] ?? open(b, where);
  const flush = (tab: Tab) => {
    tab.flush(ids());
    for (const token of typed.get(tab) ?? []) safe.add(token);
    typed.delete(tab);
  };

  for (const [kind, number, where, more] of actions) {
    const b = browsers[number]!;
    switch (kind) {
      case "type": {
        const tab = tabOf(b, where);
        if (!tab) break;
        const token = `<${++last}>`;
        const lines = (tab.local.content ?? "").split("\n");
        const line = more % lines.length;
        if (more % 3 === 0) lines.splice(line, 0, token);
        else lines[line] += ` ${token}`;
        tab.local = { ...tab.local, content: lines.join("\n") };
        typed.set(tab, [...(typed.get(tab) ?? []), token]);
        break;
      }
      case "removeLine": {
        const tab = tabOf(b, where);
        if (!tab) break;
        const lines = (tab.local.content ?? "").split("\n");
        const [removed] = lines.splice(more % lines.length, 1);
        for (const token of tokensOf(removed)) exempt.add(token);
        tab.local = { ...tab.local, content: lines.join("\n") };
        break;
      }
      case "flag": {
        const tab = tabOf(b, where);
        if (tab) tab.local = { ...tab.local, isPinned: !tab.local.isPinned, tags: [`t${more % 5}`] };
        break;
      }
      case "erase":
        // A session keeps what was typed first, and its tabs have seen what is kept.
        for (const tab of b.tabs) {
          flush(tab);
          tab.show();
        }
        for (const [id, { entry }] of b.kept) b.kept.set(id, { entry, note: null });
        break;
      case "trash": {
        const tab = tabOf(b, where);
        if (tab) tab.local = { ...tab.local, isTrashed: true };
        break;
      }
      case "open": open(b, where); break;
      case "create": b.tabs = [...b.tabs.slice(-2), new Tab(b, ids(), noFields)]; break;
      case "flush": { const tab = tabOf(b, where); if (tab) flush(tab); break; }
      case "show": tabOf(b, where)?.show(); break;
      case "send": b.send(); break;
      case "arrive": b.arrive(); break;
      case "hear": b.hear(); break;
      case "step": b.send(); b.arrive(); b.hear(); break;
      case "poll": b.poll(); break;
      case "pollMeta": b.poll(true); break;
      case "lose": b.lose(); break;
      case "kill": for (const tab of b.tabs) typed.delete(tab); b.kill(); break;
      case "thin": for (const [id, versions] of server.versions) for (const r of versions.keys()) if (r < (server.notes.get(id)?.revision ?? 0)) versions.delete(r); break;
      case "forgetKeys": server.keys.clear(); break;
      case "signOut": server.isSignedIn = false; break;
      case "signIn": server.isSignedIn = true; break;
      case "otherIn": server.isOther = true; break;
      case "otherOut": server.isOther = false; break;
      case "refuse": server.refuses = [400, 413, 422, 429, 503, 507][more % 6]!; break;
      case "accept": server.refuses = 0; break;
      case "delete": {
        if (more > 20) break;
        const id = [...server.notes.keys()][where % Math.max(1, server.notes.size)];
        if (id === undefined) break;
        for (const token of tokensOf(server.notes.get(id)!.content)) exempt.add(token);
        server.delete(id);
        break;
      }
      case "mend":
      case "resolve":
        for (const [id, { entry }] of b.kept) {
          if (!entry?.parts) continue;
          const content = entry.parts.map((p) => ("text" in p ? p.text : p.theirs + "\n" + p.yours)).join("");
          tokensOf(content).forEach((t, i, all) => all.indexOf(t) < i && doubled.add(t));
          if (kind === "mend") b.step(id, { type: "mend", result: content });
          // What of the three texts is not in the result was removed by a person.
          else if (b.step(id, { type: "resolve", text: entry.text.content!, revision: entry.base!.revision, content }).isDone) {
            for (const text of [entry.text.content, entry.base!.content]) for (const t of tokensOf(text)) if (!content.includes(t)) exempt.add(t);
          }
        }
        break;
    }
  }

  // All comes to rest.
  server.isSignedIn = true;
  server.isOther = false;
  server.refuses = 0;
  for (const b of browsers) for (const tab of b.tabs) flush(tab);
  for (let round = 0; round < 200; round++) {
    for (const b of browsers) {
      for (const id of [...b.kept.keys()]) b.step(id, { type: "retry" });
      b.send();
      b.arrive();
      b.hear();
      b.poll();
    }
  }
  return { server, browsers, safe, exempt, doubled };
}

/** Sequences in which words were lost or doubled once. */
const examples: Action[][] = [
  // Others have changed a note, and of that only the rest is known when somebody types on.
  [["type", 1, 0, 0], ["flush", 1, 0, 0], ["step", 1, 0, 0], ["type", 0, 0, 1], ["pollMeta", 0, 0, 0], ["type", 0, 0, 1]],
  // The copies are erased after the answer to a save, and somebody types on.
  [["type", 0, 0, 0], ["flush", 0, 0, 0], ["step", 0, 0, 0], ["type", 0, 0, 7], ["erase", 0, 0, 0], ["type", 0, 0, 0], ["flush", 0, 0, 0],
    ["type", 0, 0, 0], ["resolve", 0, 0, 0], ["type", 0, 0, 0]],
  // The server has forgotten key and base of a save that it has done, and others have changed the line below.
  [["type", 0, 0, 0], ["flush", 0, 0, 0], ["send", 0, 0, 0], ["type", 0, 0, 0], ["type", 0, 0, 3], ["arrive", 0, 0, 0], ["type", 0, 0, 38],
    ["type", 0, 0, 5], ["removeLine", 1, 0, 0], ["type", 0, 0, 5], ["type", 0, 0, 0], ["type", 0, 0, 20], ["type", 0, 0, 0], ["type", 0, 0, 0],
    ["type", 0, 0, 0], ["type", 0, 0, 0], ["type", 0, 0, 0], ["lose", 0, 0, 0], ["thin", 0, 0, 0], ["type", 0, 0, 0], ["type", 0, 0, 92],
    ["forgetKeys", 0, 0, 0]],
];

const { RUNS, SEED, REPLAY } = process.env; // a failure says its seed and path

test("what was kept is on the server, in a clash, or still in the outbox", () => {
  fc.assert(
    fc.property(fc.array(action, { minLength: 20, maxLength: 90 }), (actions) => {
      const { server, browsers, safe, exempt, doubled } = run(actions);
      const texts = [...server.notes.values()].map((n) => n.content);
      for (const b of browsers) {
        for (const [id, { entry }] of b.kept) {
          if (!entry) continue;
          assert.ok(entry.parts, `note ${id} of browser ${b.number} still waits: ${JSON.stringify(entry)}`);
          texts.push(entry.text.content ?? "", ...entry.parts.map((p) => ("text" in p ? p.text : p.theirs + p.yours)));
        }
      }
      const all = texts.join("\n");
      for (const token of safe) assert.ok(exempt.has(token) || all.includes(token), `${token} is lost`);
      for (const note of server.notes.values()) {
        const tokens = (note.content.match(/<\d+>/g) ?? []).filter((t) => !doubled.has(t));
        assert.equal(new Set(tokens).size, tokens.length, `doubled in ${JSON.stringify(note.content)}`);
      }
    }),
    {
      numRuns: Number(RUNS ?? 1000), examples: examples.map((actions): [Action[]] => [actions]),
      ...(SEED && { seed: Number(SEED) }), ...(REPLAY && { path: REPLAY }),
    },
  );
});

const rest = { ...noFields, id: "n", title: "n", trashedAt: null, createdAt: "2026-01-02T03:04:05.678Z", updatedAt: "2026-01-02T03:04:05.678Z" };
const noteWith = (revision: number, content: string): Note => ({ ...rest, revision, content });
const draft = (from: string, content: string, known: Note | null): Event =>
  ({ type: "draft", id: "n", from: { ...noFields, title: "n", content: from }, text: { content }, known, newId: "new" });
const answer = (status: number, body: object): Event => ({ type: "answer", key: "k", status, body: { success: status < 300, ...body }, newId: "new" });

function after(kept: Kept, ...events: Event[]): Step {
  let last: Step | undefined;
  for (const event of events) last = step(last ?? kept, event);
  return last!;
}

const first = noteWith(1, "one\n");
const sent = [draft("one\n", "one\nmine\n", first), { type: "send", key: "k" }] as const;

test("typed on while the answer has lines of others", () => {
  const { entry } = after({ entry: null, note: first }, ...sent, draft("one\nmine\n", "one\nmine and more\n", first),
    answer(200, { data: noteWith(3, "one\nmine\ntheirs\n") }));
  assert.equal(entry?.parts, null);
  assert.equal(entry?.text.content, "one\nmine and more\ntheirs\n");
  assert.equal(entry?.base?.revision, 3);
});

test("typed on where the answer has words of others: what was sent is the fork", () => {
  const clash = after({ entry: null, note: first }, ...sent, draft("one\nmine\n", "one\nmine and more\n", first),
    answer(200, { data: noteWith(3, "one\nmine of others\n") }));
  assert.equal(clash.entry?.fork, "one\nmine\n");
  assert.deepEqual(clash.entry?.parts?.at(-1), { base: "mine\n", theirs: "mine of others\n", yours: "mine and more\n" });
  // Typed on, and changed once more by others: still from there. With their change taken back there is no clash.
  const typed = after(clash, draft("one\nmine and more\n", "one\nmine and still more\n", first));
  assert.equal(typed.entry?.fork, "one\nmine\n");
  const back = after(typed, { type: "remote", note: noteWith(4, "zero\none\nmine\n") });
  assert.equal(back.entry?.parts, null);
  assert.equal(back.entry?.text.content, "zero\none\nmine and still more\n");
});

test("what was typed during a clash is in the result that a person has begun", () => {
  const clash = after({ entry: null, note: first }, ...sent, answer(409, {
    data: noteWith(2, "one\nmine of others\n"), merge: [{ text: "one\n" }, { base: "", theirs: "mine of others\n", yours: "mine\n" }],
  }), { type: "mend", result: "one\nmine as it should be\n" });
  const typed = after(clash, draft("one\nmine\n", "zero\none\nmine\n", first));
  assert.ok(typed.entry?.parts);
  assert.equal(typed.entry?.result, "zero\none\nmine as it should be\n");
  // The others take theirs back, which ends the clash. Where it was is not clear from the result: both are in the text.
  const { entry } = after(typed, { type: "remote", note: noteWith(3, "one\n") });
  assert.equal(entry?.parts, null);
  assert.equal(entry?.text.content, "zero\none\nmine\nmine as it should be\n");
});

test("a create that is answered with an older text of the note goes on from that", () => {
  const { entry, note } = after({ entry: null, note: null }, ...[draft("", "one\ntwo\n", null), { type: "send", key: "k" } as const],
    answer(200, { data: noteWith(1, "one\n") }));
  assert.equal(note?.revision, 1);
  assert.equal(entry?.base?.content, "one\n");
  assert.equal(entry?.text.content, "one\ntwo\n");
});

test("a result that a person has begun is in the note that takes over when the clashing one is gone", () => {
  const { moved } = after({ entry: null, note: first }, ...sent, answer(409, {
    data: noteWith(2, "one\nmine of others\n"), merge: [{ text: "one\n" }, { base: "", theirs: "mine of others\n", yours: "mine\n" }],
  }), { type: "mend", result: "one\nmine of others\nmine\nby hand\n" }, { type: "gone", newId: "new" });
  assert.equal(moved?.text.content, "one\nmine\nby hand\n");
});

test("what another user's session was refused is sent again under its key", () => {
  const { entry, signedOut } = after({ entry: null, note: first }, ...sent, answer(412, { code: "other_user" }));
  assert.ok(signedOut);
  assert.equal(entry?.sent?.key, "k");
  assert.equal(entry?.problem, null);
});

/** What a tab does to a note of its own copy: type at a line, send, hear. */
const doing = fc.array(fc.tuple(fc.constantFrom("type", "type", "send", "arrive", "hear"), fc.nat(9)), { maxLength: 8 });

test("an entry that is written late replaces nothing that another tab has kept", () => {
  fc.assert(
    fc.property(doing, doing, doing, fc.boolean(), (before, late, meanwhile, isNew) => {
      let last = 0;
      const server = new ModelServer();
      const ids = () => `id-${++last}`;
      if (!isNew) server.handle({ key: ids(), method: "POST", path: "/api/notes", body: JSON.stringify({ id: "n", ...noFields, title: "n", content: "one\n\ntwo\n" }) });
      const known = server.notes.get("n") ?? null;
      const texts: string[] = []; // of notes that took over
      const typed: string[] = [];
      const act = (kept: Kept, all: [string, number][]): Kept => {
        let status: { status: number; body: unknown } | null = null;
        for (const [kind, where] of all) {
          const sent = kept.entry?.sent;
          let event: Event | null = null;
          if (kind === "type") {
            const from = kept.entry?.text ?? kept.note ?? known ?? noFields;
            const lines = (from.content ?? "").split("\n");
            typed.push(`<${++last}>`);
            lines[where % lines.length] = `${lines[where % lines.length]}${typed.at(-1)}`;
            event = { type: "draft", id: "n", from: { ...noFields, title: "n", content: from.content }, text: { content: lines.join("\n") }, known: kept.entry?.base ?? kept.note, newId: ids() };
          } else if (kind === "send") event = { type: "send", key: ids() };
          else if (kind === "arrive" && sent) status = server.handle(sent);
          else if (kind === "hear" && sent && status) event = { type: "answer", key: sent.key, ...status, newId: ids() };
          if (!event) continue;
          const next = step(kept, event);
          if (event.type === "answer") status = null;
          if (next.moved) texts.push(next.moved.text.content ?? "");
          kept = { entry: next.entry, note: next.note };
        }
        return kept;
      };
      const common = act({ entry: null, note: known }, before);
      const [mine, theirs] = [act(common, late), act(common, meanwhile)];
      if (JSON.stringify(theirs.entry) === JSON.stringify(common.entry)) return; // nothing was replaced
      const { entry, moved } = rejoin(theirs, mine.entry, common.entry, ids());
      for (const one of [entry, moved]) texts.push(one?.text.content ?? "", ...(one?.parts ?? []).map((p) => ("text" in p ? p.text : p.theirs + p.yours)));
      texts.push(...[...server.notes.values()].map((note) => note.content));
      for (const token of typed) assert.ok(texts.join("\n").includes(token), `${token} is lost`);
    }),
    { numRuns: Number(RUNS ?? 2000), ...(SEED && { seed: Number(SEED) }) },
  );
});

for (const status of [404, 410]) {
  test(`what was typed on before a ${status} becomes a note of its own`, () => {
    const { entry, moved } = after({ entry: null, note: first }, ...sent, draft("one\nmine\n", "one\nmine and more\n", first), answer(status, {}));
    assert.equal(entry, null);
    assert.equal(moved?.text.content, "one\nmine and more\n");
  });
}
