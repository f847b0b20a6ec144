import { scriptURL } from "../trusted.ts";

/** Whether the app can start without a network here; if not, say why. */
export const startsOffline = "serviceWorker" in navigator;

/**
 * Registers the service worker, and looks for a newer one when a tab is looked at again: it may be open for weeks.
 * Browsers have none on plain http at another address than localhost: the app works there, with a network.
 */
export async function registerWorker(): Promise<void> {
  if (!startsOffline) return;
  const registration = await navigator.serviceWorker.register(scriptURL("/sw.js"));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void registration.update().catch(() => {});
  });
}
