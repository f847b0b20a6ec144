/**
 * Registers the service worker. Browsers have none on plain http at another address than localhost: the app works
 * there, with a network.
 */
const path = "/sw.js";

/** The name is in the Content-Security-Policy; the policy knows this one script. */
function scriptURL(): string {
  const factory = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  const policy = factory?.createPolicy("notesd", {
    createScriptURL(url: string) {
      if (url !== path) throw new TypeError(`no script of the app: ${url}`);
      return url;
    },
  });
  return (policy?.createScriptURL(path) ?? path) as string;
}

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown };
}

/** Whether the app can start without a network here; if not, say why. */
export const startsOffline = "serviceWorker" in navigator;

/** Registers the worker, and looks for a newer one when a tab is looked at again: it may be open for weeks. */
export async function registerWorker(): Promise<void> {
  if (!startsOffline) return;
  const registration = await navigator.serviceWorker.register(scriptURL());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void registration.update().catch(() => {});
  });
}
