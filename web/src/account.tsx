/** The account and the settings: everything that the server has for its owner. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, request } from "./api.ts";
import { go, notes, prefer, preferences, sync, syncState, tags, tell } from "./app.ts";
import { Dialog } from "./dialog.tsx";
import { IconButton } from "./icons.tsx";

export function AccountPage() {
  const account = syncState.value.account;
  return (
    <div class="account">
      <div class="bar">
        <IconButton icon="back" label="Back to the notes" onClick={() => go({ page: "notes" })} />
        <h1>Account and settings</h1>
      </div>
      {account && <p class="who">{account.email}</p>}
      <Settings />
      <Leaving />
      <Offline />
      <TagList />
      <Profile />
      <Password />
      <Codes />
      <Sessions />
      <Tokens />
      <Usage />
      <Log />
      <Deletion />
      <p class="footer">
        <a href="/licenses">Licences</a> · <a href="/api/docs">API</a>
      </p>
    </div>
  );
}

/** A part of the page. */
function Part({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="part" aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

/** What is fetched when a part is shown, and anew after `again`. */
function useFetched<T>(path: string): { data: T | null; error: string; again: () => void } {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState("");
  const [times, setTimes] = useState(0);
  useEffect(() => {
    request<{ data: T }>("GET", path).then(
      (answer) => {
        setData(answer.data);
        setError("");
      },
      (err: unknown) => setError(messageOf(err)),
    );
  }, [path, times]);
  return { data, error, again: () => setTimes(times + 1) };
}

function messageOf(err: unknown): string {
  if (err instanceof ApiError && Object.keys(err.fields).length > 0) {
    return `${err.message}: ${Object.entries(err.fields).map(([name, text]) => `${name} ${text}`).join("; ")}`;
  }
  return err instanceof Error ? err.message : String(err);
}

/** A form that sends something. `send` gets what was typed, by the names of the boxes. */
function Form(props: { label: string; danger?: boolean; send: (data: Record<string, string>) => Promise<unknown>; children: ComponentChildren }) {
  const [error, setError] = useState("");
  const form = useRef<HTMLFormElement>(null);
  return (
    <form
      ref={form}
      onSubmit={(e) => {
        e.preventDefault();
        const data = Object.fromEntries([...new FormData(form.current!)].map(([k, v]) => [k, String(v)]));
        props.send(data).then(
          () => {
            setError("");
            form.current?.reset();
          },
          (err: unknown) => setError(messageOf(err)),
        );
      }}
    >
      {props.children}
      <p class="error" role="alert">
        {error}
      </p>
      <button type="submit" class={props.danger ? "danger" : "primary"}>
        {props.label}
      </button>
    </form>
  );
}

function Settings() {
  const p = preferences.value;
  return (
    <Part title="Settings">
      <label>
        Theme
        <select value={p.theme} onChange={(e) => prefer({ theme: e.currentTarget.value as typeof p.theme })}>
          <option value="system">as the system has it</option>
          <option value="light">light</option>
          <option value="dark">dark</option>
        </select>
      </label>
      <label>
        Editor
        <select value={p.editor} onChange={(e) => prefer({ editor: e.currentTarget.value as typeof p.editor })}>
          <option value="rich">with decorated Markdown</option>
          <option value="plain">plain text</option>
        </select>
      </label>
      <label class="check">
        <input type="checkbox" checked={p.shortcuts} onChange={(e) => prefer({ shortcuts: e.currentTarget.checked })} />
        Single letters are shortcuts
      </label>
    </Part>
  );
}

function Leaving() {
  const { unsent, storage } = syncState.value;
  const place = storage === "kept" ? "wait here" : "are in this tab alone, which must stay open,";
  const leave = async (forget: boolean) => {
    if (forget && !confirm(unsent > 0 ? `Forget ${unsent} notes that were not sent yet? They are nowhere else.` : "Erase this account's notes from this device?")) return;
    await sync.signOut({ forget });
    go({ page: "notes", note: null, folder: "notes", query: "" }, "replace");
  };
  return (
    <Part title="Leave">
      <p>
        Signing out erases the notes on this device. {unsent > 0 && `${unsent} that were not sent yet ${place} unseen, until you sign in again.`}
      </p>
      <button type="button" onClick={() => void leave(false)}>
        Sign out
      </button>
      <button type="button" class="danger" onClick={() => void leave(true)}>
        Sign out and forget
      </button>
    </Part>
  );
}

/** Reading without a network, and taking the notes along. */
function Offline() {
  const [text, setText] = useState("");
  const here = notes.value.filter((n) => n.isHere).length;
  const fetchAll = async () => {
    try {
      await sync.fetchAll((done, all) => setText(`${done} of ${all}`));
      setText(syncState.value.storage === "kept" ? "All notes are on this device." : "The notes are in this tab, and not kept on this device.");
    } catch (err) {
      setText(messageOf(err));
    }
  };
  return (
    <Part title="Without a network">
      <p>
        {here} of {notes.value.length} notes can be read on this device without a network.
        {!("serviceWorker" in navigator) && " The app itself does not start without one, since browsers allow that over HTTPS or on localhost only."}
      </p>
      <button type="button" onClick={() => void fetchAll()}>
        Fetch all notes
      </button>
      <button type="button" onClick={() => void exportAll().catch((err: unknown) => setText(messageOf(err)))}>
        Download all notes
      </button>
      <p role="status">{text}</p>
    </Part>
  );
}

/** Saves all notes, those of the archive and the trash too, as a JSON file. */
async function exportAll(): Promise<void> {
  const all: unknown[] = [];
  for (const folder of ["", "&archived=true", "&trashed=true"]) {
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const page: { data: unknown[]; nextCursor?: string } = await request("GET", `/api/notes?limit=500${folder}${cursor && "&cursor=" + encodeURIComponent(cursor)}`);
      all.push(...page.data);
      cursor = page.nextCursor;
    }
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(all, null, 1)], { type: "application/json" }));
  link.download = `notes-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** All tags, to be renamed, or merged by giving one the name of another. */
function TagList() {
  const [all, setAll] = useState(false);
  const [tag, setTag] = useState<string | null>(null);
  const most = 20;
  const rename = async (to: string) => {
    const from = tag!;
    const { data } = await request<{ data: { changed: number; undo: string } }>("POST", "/api/tags/rename", { from: [from], to });
    setTag(null);
    tell(`#${from} is #${to} in ${data.changed} notes`, () => request("POST", "/api/tags/undo", { undo: data.undo }));
  };
  return (
    <Part title="Tags">
      {tags.value.length === 0 && <p>There are none yet.</p>}
      <ul class="rows">
        {(all ? tags.value : tags.value.slice(0, most)).map(([name, count]) => (
          <li>
            <span>
              #{name} <small>({count})</small>
            </span>
            <button type="button" aria-label={`Rename the tag ${name}`} onClick={() => setTag(name)}>
              Rename
            </button>
          </li>
        ))}
      </ul>
      {tags.value.length > most && (
        <button type="button" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${tags.value.length}`}
        </button>
      )}
      {tag !== null && (
        <Dialog title={`Rename #${tag}`} onClose={() => setTag(null)}>
          <Form label="Rename in all notes" send={({ to }) => rename(to!.trim().replace(/^#/, ""))}>
            <label>
              New name; that of another tag merges the two
              <input name="to" required maxLength={64} defaultValue={tag} autocomplete="off" autofocus />
            </label>
          </Form>
        </Dialog>
      )}
    </Part>
  );
}

function Profile() {
  const account = syncState.value.account;
  return (
    <Part title="Name and e-mail">
      <Form
        label="Change"
        send={async ({ name, email, current }) => {
          const body: Record<string, string> = { name: name! };
          if (email !== account?.email) Object.assign(body, { email, current });
          const { data } = await request<{ data: { user: typeof account } }>("PATCH", "/api/auth/me", body);
          if (data.user) await sync.signedIn(data.user);
          tell("Changed");
        }}
      >
        <label>
          Name
          <input name="name" defaultValue={account?.name} autocomplete="name" />
        </label>
        <label>
          E-mail
          <input name="email" type="email" required defaultValue={account?.email} autocomplete="username" />
        </label>
        <label>
          Password (for another e-mail)
          <input name="current" type="password" autocomplete="current-password" />
        </label>
      </Form>
    </Part>
  );
}

function Password() {
  return (
    <Part title="Password">
      <Form
        label="Change the password"
        send={async (data) => {
          await request("POST", "/api/auth/password", { current: data.current, new: data.new });
          tell("The password is changed, and all other sessions have ended");
        }}
      >
        <label>
          Present password
          <input name="current" type="password" required autocomplete="current-password" />
        </label>
        <label>
          New password
          <input name="new" type="password" required minLength={8} autocomplete="new-password" />
        </label>
      </Form>
    </Part>
  );
}

/** Codes of an authenticator app at each sign-in. */
function Codes() {
  const { data, error, again } = useFetched<{ on: boolean; recoveryCodes: number }>("/api/auth/totp");
  const [setup, setSetup] = useState<{ secret: string; qrCode: string } | null>(null);
  const [recovery, setRecovery] = useState<string[]>([]);
  const begin = () =>
    request<{ data: { secret: string; qrCode: string } }>("POST", "/api/auth/totp").then(
      (answer) => setSetup(answer.data),
      (err: unknown) => tell(messageOf(err)),
    );
  return (
    <Part title="One-time codes">
      {error !== "" && <p role="status">{error}</p>}
      {data && <p>{data.on ? `On. ${data.recoveryCodes} recovery codes are left.` : "Off: the password is enough to sign in."}</p>}
      {recovery.length > 0 && (
        <div role="status">
          <p>Codes are on. Keep these recovery codes in a safe place: each signs you in once, without the phone. They are not shown again.</p>
          <pre class="codes">{recovery.join("\n")}</pre>
        </div>
      )}
      {data && !data.on && !setup && (
        <button type="button" onClick={() => void begin()}>
          Set up
        </button>
      )}
      {setup && (
        <Form
          label="Turn codes on"
          send={async ({ code }) => {
            const answer = await request<{ data: { recoveryCodes: string[] } }>("POST", "/api/auth/totp/confirm", { code });
            setRecovery(answer.data.recoveryCodes);
            setSetup(null);
            again();
          }}
        >
          <img class="qr" alt="QR code for an authenticator app" src={"data:image/svg+xml," + encodeURIComponent(setup.qrCode)} />
          <p>
            Scan it with an authenticator app, or type in: <code>{setup.secret}</code>
          </p>
          <label>
            Code from the app
            <input name="code" required autocomplete="one-time-code" inputMode="numeric" />
          </label>
        </Form>
      )}
      {data?.on && (
        <>
          <Form
            label="Make new recovery codes"
            send={async (fields) => {
              const answer = await request<{ data: { recoveryCodes: string[] } }>("POST", "/api/auth/totp/recovery", fields);
              setRecovery(answer.data.recoveryCodes);
              again();
            }}
          >
            <PasswordAndCode />
          </Form>
          <Form
            label="Turn codes off"
            danger
            send={async (fields) => {
              await request("DELETE", "/api/auth/totp", fields);
              setRecovery([]);
              again();
            }}
          >
            <PasswordAndCode />
          </Form>
        </>
      )}
    </Part>
  );
}

function PasswordAndCode() {
  return (
    <>
      <label>
        Password
        <input name="password" type="password" required autocomplete="current-password" />
      </label>
      <label>
        Code, or a recovery code
        <input name="totp" required autocomplete="one-time-code" />
      </label>
    </>
  );
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const at = (iso: string | null | undefined) => (iso ? when.format(new Date(iso)) : "never");

interface Session {
  id: string;
  device: string;
  address: string;
  firstSeen: string;
  lastSeen: string;
  current: boolean;
}

function Sessions() {
  const { data, error, again } = useFetched<Session[]>("/api/auth/sessions");
  const end = (path: string) => request("DELETE", path).then(again, (err: unknown) => tell(messageOf(err)));
  return (
    <Part title="Where you are signed in">
      {error !== "" && <p role="status">{error}</p>}
      <ul class="rows">
        {data?.map((s) => (
          <li>
            <span>
              <b>{s.device || "Unknown device"}</b> {s.current && "(this one)"}
              <br />
              {s.address}, since {at(s.firstSeen)}, last seen {at(s.lastSeen)}
            </span>
            {!s.current && (
              <button type="button" aria-label={`End the session of ${s.device}`} onClick={() => void end("/api/auth/sessions/" + s.id)}>
                End
              </button>
            )}
          </li>
        ))}
      </ul>
      {data && data.length > 1 && (
        <button type="button" onClick={() => void end("/api/auth/sessions")}>
          End all others
        </button>
      )}
    </Part>
  );
}

interface Token {
  id: string;
  name: string;
  scope: "read" | "write";
  createdAt: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
}

/** Tokens for programs, in place of the password. */
function Tokens() {
  const { data, error, again } = useFetched<Token[]>("/api/auth/tokens");
  const [made, setMade] = useState("");
  return (
    <Part title="App tokens">
      <p>A program signs in with a token in place of your password. You can delete it without changing the password.</p>
      {error !== "" && <p role="status">{error}</p>}
      <ul class="rows">
        {data?.map((t) => (
          <li>
            <span>
              <b>{t.name}</b> ({t.scope === "read" ? "reads only" : "reads and writes"})
              <br />
              made {at(t.createdAt)}, {t.expiresAt ? `ends ${at(t.expiresAt)}` : "without an end"}, last used: {at(t.lastUsedAt)}
            </span>
            <button
              type="button"
              aria-label={`Delete the token ${t.name}`}
              onClick={() => void request("DELETE", "/api/auth/tokens/" + t.id).then(again, (err: unknown) => tell(messageOf(err)))}
            >
              Delete
            </button>
          </li>
        ))}
      </ul>
      {made !== "" && (
        <p role="status">
          The new token, which is not shown again: <code>{made}</code>
        </p>
      )}
      <Form
        label="Make a token"
        send={async ({ name, scope, days }) => {
          const expiresAt = days === "" ? null : new Date(Date.now() + Number(days) * 86_400_000).toISOString();
          const answer = await request<{ data: { token: string } }>("POST", "/api/auth/tokens", { name, scope, expiresAt });
          setMade(answer.data.token);
          again();
        }}
      >
        <label>
          For what
          <input name="name" required maxLength={100} autocomplete="off" />
        </label>
        <label>
          It may
          <select name="scope">
            <option value="read">read</option>
            <option value="write">read and write</option>
          </select>
        </label>
        <label>
          It ends after
          <select name="days">
            <option value="30">30 days</option>
            <option value="365">a year</option>
            <option value="">never</option>
          </select>
        </label>
      </Form>
    </Part>
  );
}

interface Amounts {
  notes: number;
  bytes: number;
  historyBytes: number;
}

function Usage() {
  const { data, error } = useFetched<Amounts & { quota: { [K in keyof Amounts]: number | null } }>("/api/auth/me/usage");
  const size = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const of = (limit: number | null, text: (n: number) => string) => (limit === null ? "" : ` of ${text(limit)}`);
  return (
    <Part title="What the notes take">
      {error !== "" && <p role="status">{error}</p>}
      {data && (
        <p>
          {data.notes}
          {of(data.quota.notes, String)} notes, {size(data.bytes)}
          {of(data.quota.bytes, size)}, and {size(data.historyBytes)}
          {of(data.quota.historyBytes, size)} of older versions.
        </p>
      )}
    </Part>
  );
}

function Deletion() {
  return (
    <Part title="Delete the account">
      <p>The account goes with all notes, older versions, sessions and tokens. Download the notes first: this can't be undone.</p>
      <Form
        label="Delete the account"
        danger
        send={async ({ password, totp }) => {
          if (!confirm("Delete the account and all its notes for good?")) return;
          await request("DELETE", "/api/auth/me", totp ? { password, totp } : { password });
          await sync.signOut({ forget: true });
          go({ page: "notes", note: null, folder: "notes", query: "" }, "replace");
          tell("The account is being deleted");
        }}
      >
        <label>
          Password
          <input name="password" type="password" required autocomplete="current-password" />
        </label>
        <label>
          One-time code, if they are on
          <input name="totp" autocomplete="one-time-code" />
        </label>
      </Form>
    </Part>
  );
}

function Log() {
  const { data, error } = useFetched<{ at: string; event: string; address: string; device: string }[]>("/api/auth/log");
  return (
    <Part title="What happened to the account">
      {error !== "" && <p role="status">{error}</p>}
      <details>
        <summary>The last {data?.length ?? 0} events</summary>
        <ul class="rows">
          {data?.map((e) => (
            <li>
              <span>
                <b>{e.event.replaceAll("_", " ")}</b>
                <br />
                {at(e.at)}, {e.address}, {e.device}
              </span>
            </li>
          ))}
        </ul>
      </details>
    </Part>
  );
}
