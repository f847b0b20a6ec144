/** The answer to a request that failed. Status 0: there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "",
    readonly fields: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/**
 * The id of the user whose notes are shown. The server refuses a request in this name when the session of this
 * browser, which all tabs share, is another user's by then.
 */
const shown: { user: string | null } = { user: null };

export function requestAs(user: string | null): void {
  shown.user = user;
}

/** Sends a request of a user, if one is given or shown, to the API and returns the answer, which is JSON. */
export async function request<T = unknown>(method: string, path: string, body?: unknown, user = shown.user): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...(body !== undefined && { "Content-Type": "application/json" }), ...(user !== null && { "If-User-Match": user }) },
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "The server can't be reached");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(response.status, answer.error ?? `The server answered ${response.status}`, answer.code, answer.fields);
  }
  return answer as T;
}
