import { useRef, useState } from "preact/hooks";
import { go, sync, syncState } from "./app.ts";
import { ApiError, request } from "./api.ts";
import type { Account } from "./sync/types.ts";

const welcome = {
  title: "Welcome to your notes",
  content: `What you type is kept on this device at once, and on the server a second later. Without a network you can write on.

- [ ] Press **c** or tap **New** for a new note
- [ ] Press **/** to search: words, \`tag:home\`, \`is:pinned\`
- [ ] Press **?** for the other keys

The text is Markdown, kept as you write it: *emphasis*, **strong**, lists, \`code\`, [links](https://commonmark.org/help/).
Every version is kept: the clock above shows what a note was, and brings it back.
`,
  isMarkdown: true,
};

/** Asks who the user is: with an account or, at the first start, for one. */
export function SignIn() {
  const { account: known, session, storage, unsent, isLeaving } = syncState.value;
  const [mode, setMode] = useState<"login" | "register">("login");
  const [asksCode, setAsksCode] = useState(false);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const data = new FormData(form.current!);
    const body: Record<string, unknown> = {
      email: data.get("email"),
      password: data.get("password"),
      rememberMe: data.get("remember") !== null,
    };
    if (asksCode) body.totp = data.get("totp");
    setBusy(true);
    setError("");
    try {
      await sync.signingIn();
      const answer = await request<{ data: { user: Account } }>("POST", `/api/auth/${mode}`, body, null);
      if (mode === "register") await request("POST", "/api/notes", welcome, answer.data.user.id).catch(() => undefined);
      await sync.signedIn(answer.data.user);
      go({ page: "notes" }, "replace");
    } catch (err) {
      setBusy(false);
      if (err instanceof ApiError && err.code === "totp_required") {
        setAsksCode(true);
        requestAnimationFrame(() => document.getElementById("totp")?.focus());
        return;
      }
      setError(err instanceof Error ? err.message : String(err));
    }
  };
  const registers = mode === "register";
  return (
    <div class="signin">
      <form ref={form} onSubmit={(e) => void submit(e)}>
        <h1>
          <img src="/icon.svg" alt="" width={40} height={40} /> notesd
        </h1>
        <p>{registers ? "Make an account to write your first note." : "Sign in to write."}</p>
        {session === "ended" && (
          <p role="status">
            You are signed out. {unsent > 0 && `${unsent} ${unsent === 1 ? "note was" : "notes were"} not sent yet, and will be when ${known?.email} signs in. `}
            {unsent > 0 && storage !== "kept" && "They are not kept on this device: leave this tab open."}
          </p>
        )}
        {isLeaving && <p role="status">You are signed out here. The session ends when the server can be reached.</p>}
        <label>
          E-mail
          <input name="email" type="email" required autocomplete="username" defaultValue={known?.email ?? ""} autofocus />
        </label>
        <label>
          Password
          <input
            name="password"
            type="password"
            required
            minLength={registers ? 8 : undefined}
            autocomplete={registers ? "new-password" : "current-password"}
          />
        </label>
        {asksCode && (
          <label>
            Code from your authenticator app, or a recovery code
            <input id="totp" name="totp" required autocomplete="one-time-code" />
          </label>
        )}
        {!registers && (
          <label class="check">
            <input type="checkbox" name="remember" defaultChecked /> Stay signed in for 30 days
          </label>
        )}
        <p class="error" role="alert">
          {error}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {registers ? "Make the account" : "Sign in"}
        </button>
        <button
          type="button"
          class="link"
          onClick={() => {
            setMode(registers ? "login" : "register");
            setError("");
          }}
        >
          {registers ? "I have an account" : "Make an account"}
        </button>
      </form>
      <p>
        <a href="/licenses">Licences</a> · <a href="/api/docs">API</a>
      </p>
    </div>
  );
}
