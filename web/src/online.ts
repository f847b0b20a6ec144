/** Notes straight from the API, with nothing kept here: for the time until the outbox is connected. */
import { ApiError, request } from "./api.ts";
import type { Account, Fields, Note, NoteMeta, NoteView, Observable, Sync, SyncState } from "./sync/types.ts";

class Value<T> implements Observable<T> {
  private listeners = new Set<(v: T) => void>();
  constructor(public value: T) {}
  set(v: T) { this.value = v; for (const l of this.listeners) l(v); }
  subscribe(l: (v: T) => void) { this.listeners.add(l); l(this.value); return () => void this.listeners.delete(l); }
}
const empty: Fields = { title: "", content: "", tags: [], color: null, isPinned: false, isFavorite: false, isArchived: false, isMarkdown: true, isTrashed: false };

export function openSync(): Sync {
  const state = new Value<SyncState>({ account: null, session: "unknown", connection: "polling", storage: "memory", unsent: 0, catchingUp: null });
  const list = new Value<readonly NoteMeta[]>([]);
  const all = new Map<string, Note>();
  const views = new Map<string, Value<NoteView | null | "missing" | "away">>();
  const timers = new Map<string, number>();
  const publish = () => list.set([...all.values()].sort((a, b) => Number(b.isFavorite) - Number(a.isFavorite) || Number(b.isPinned) - Number(a.isPinned) || (a.updatedAt < b.updatedAt ? 1 : -1)).map((n) => ({ ...n, excerpt: n.content.slice(0, 200), isHere: true, state: "saved" as const })));
  const viewOf = (n: Note, st: NoteView["state"] = "saved"): NoteView => ({ id: n.id, fields: n, createdAt: n.createdAt, updatedAt: n.updatedAt, revision: n.revision || null, state: st, clash: null, problem: null });
  const took = (n: Note) => { all.set(n.id, n); views.get(n.id)?.set(viewOf(n)); publish(); };
  const load = async () => {
    try {
      const me = await request<{ data: { user: Account } }>("GET", "/api/auth/me");
      for (const f of ["", "?archived=true", "?trashed=true"]) for (const n of (await request<{ data: Note[] }>("GET", "/api/notes" + f)).data) all.set(n.id, n);
      publish();
      state.set({ ...state.value, account: me.data.user, session: "active" });
    } catch (e) { state.set({ ...state.value, session: e instanceof ApiError && e.status === 401 ? "none" : "unknown" }); }
  };
  void load();
  const uuid = () => { const t = Date.now().toString(16).padStart(12, "0"); const r = crypto.getRandomValues(new Uint8Array(10)); const h = [...r].map((b) => b.toString(16).padStart(2, "0")).join(""); return `${t.slice(0, 8)}-${t.slice(8)}-7${h.slice(0, 3)}-a${h.slice(3, 6)}-${h.slice(6, 18)}`; };
  const self: Sync = {
    state, list,
    onNotice: () => () => undefined,
    open(id) {
      let v = views.get(id);
      if (!v) { v = new Value<NoteView | null | "missing" | "away">(all.has(id) ? viewOf(all.get(id)!) : null); views.set(id, v); if (!all.has(id)) request<{ data: Note }>("GET", "/api/notes/" + id).then((a) => took(a.data), () => v!.set("missing")); }
      return v;
    },
    create(fields) { const id = uuid(); const now = new Date().toISOString(); all.set(id, { ...empty, ...fields, id, trashedAt: null, createdAt: now, updatedAt: now, revision: 0 }); return id; },
    async draft(seen, fields) {
      const n = { ...all.get(seen.id)!, ...fields }; all.set(n.id, n); views.get(n.id)?.set(viewOf(n, "saving")); publish();
      clearTimeout(timers.get(n.id));
      timers.set(n.id, setTimeout(async () => {
        const cur = all.get(n.id)!; const body = { title: cur.title || cur.content.slice(0, 50) || "Untitled", content: cur.content };
        const a = cur.revision === 0 ? await request<{ data: Note }>("POST", "/api/notes", { ...body, id: n.id, tags: cur.tags, isMarkdown: true }) : await request<{ data: Note }>("PATCH", "/api/notes/" + n.id, body);
        if (all.get(n.id) === cur) took(a.data);
      }, 700) as unknown as number);
    },
    async change(ids, fields) { for (const id of ids) took((await request<{ data: Note }>("PATCH", "/api/notes/" + id, fields)).data); },
    async trash(ids) { await self.change(ids, { isTrashed: true }); return () => self.change(ids, { isTrashed: false }); },
    async remove(ids) { for (const id of ids) { await request("DELETE", "/api/notes/" + id); all.delete(id); } publish(); },
    async mend() {}, async resolve() { return true; }, retry() {},
    search(q, found) { found({ ids: list.value.filter((n) => q.words.every((w) => (n.title + all.get(n.id)!.content).toLowerCase().includes(w.toLowerCase())) && (q.tags ?? []).every((t) => n.tags.includes(t)) && n.isTrashed === (q.isTrashed ?? n.isTrashed)).map((n) => n.id), isComplete: true }); },
    async fetchAll() {},
    signedIn: load,
    async signOut() { await request("POST", "/api/auth/logout"); all.clear(); publish(); state.set({ ...state.value, account: null, session: "none" }); },
    async close() {},
  };
  return self;
}
