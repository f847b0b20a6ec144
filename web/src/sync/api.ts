/** Requests to the server. An answer of any status is a Reply; Unreachable means that there was none. */
import type { Known, Sent } from "./outbox.ts";
import type { Account, Note } from "./types.ts";

export interface Reply<T = unknown> {
  status: number;
  /** The JSON of the answer, or undefined if it is none. */
  body: T;
  /** How long the server asks to wait, in ms. */
  retryAfter: number | null;
}

export class Unreachable extends Error {}

/** A request that the server refused. */
export class Failed extends Error {
  constructor(readonly status: number, message: string) {
    super(message || `The server answered ${status}`);
  }
}

const longest = 60_000;

async function request<T>(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Reply<T>> {
  try {
    const response = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body ?? null,
      signal: AbortSignal.timeout(longest),
    });
    const text = await response.text();
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    return { status: response.status, body: parsed(text) as T, retryAfter: Number.isFinite(seconds) ? seconds * 1000 : null };
  } catch (cause) {
    throw new Unreachable(`${method} ${path} got no answer`, { cause });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Who is signed in in this browser. All its tabs share the session. */
export function me(): Promise<Reply<{ data?: { user: Account; merges: boolean } } | undefined>> {
  return request("GET", "/api/auth/me");
}

/** A change as /api/changes tells of it; notes come without content if the page was asked for so. */
export type Change = { id: string; changeSeq: number; note: Omit<Known, "content"> & { content?: string } } | { id: string; changeSeq: number; deleted: true };

export interface ChangesPage {
  data: Change[];
  next: number;
  more: boolean;
}

/**
 * Requests of one user. The server refuses them (isOtherUser) when the session of this browser is another
 * user's by then: another tab may have signed in since.
 */
export class Client {
  constructor(readonly user: string) {}

  private request<T>(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Reply<T>> {
    return request(method, path, body, { "If-User-Match": this.user, ...headers });
  }

  send(sent: Sent): Promise<Reply> {
    return this.request(sent.method, sent.path, sent.body, { "Idempotency-Key": sent.key });
  }

  logOut(): Promise<Reply<{ success?: boolean } | undefined>> {
    return this.request("POST", "/api/auth/logout");
  }

  getNote(id: string): Promise<Reply<{ data?: Note } | undefined>> {
    return this.request("GET", `/api/notes/${encodeURIComponent(id)}`);
  }

  newest(limit: number): Promise<Reply<{ data?: Note[] } | undefined>> {
    return this.request("GET", `/api/notes?limit=${limit}`);
  }

  deleteNote(id: string): Promise<Reply<{ error?: string } | undefined>> {
    return this.request("DELETE", `/api/notes/${encodeURIComponent(id)}`);
  }

  changes(since: number, isMeta: boolean): Promise<Reply<ChangesPage | undefined>> {
    return this.request("GET", `/api/changes?since=${since}&limit=500${isMeta ? "&fields=meta" : ""}`);
  }
}
