/**
 * The service worker: it keeps the app's files, so that the app starts without a network. It answers for the page
 * and for these files alone; what goes to /api it does not see.
 *
 * Each build has a cache of its own. A new worker waits while tabs of the build before are open, so that they find
 * the files that they began with, also those that they load later. It takes over when the only one is loaded anew.
 */
declare const self: ServiceWorkerGlobalScope;
declare const __FILES__: string[];
declare const __VERSION__: string;

const prefix = "notesd ";
const cacheName = prefix + __VERSION__;
const page = "/";
const files = new Set(__FILES__.map((name) => (name === "index.html" ? page : `/${name}`)));

async function install(): Promise<void> {
  const cache = await caches.open(cacheName);
  const add = async (path: string) => {
    // A file with a hash in its name never changes, so the copy that the browser has will do.
    const isHashed = path.startsWith("/assets/");
    const request = new Request(path, { cache: isHashed ? "default" : "reload", headers: path === page ? { Accept: "text/html" } : {} });
    const response = await fetch(request);
    if (!response.ok) throw new Error(`${path}: status ${response.status}`);
    await cache.put(path, response);
  };
  await Promise.all([...files].map(add));
}

async function activate(): Promise<void> {
  for (const name of await caches.keys()) if (name.startsWith(prefix) && name !== cacheName) await caches.delete(name);
  await self.clients.claim();
}

/** The page. If a newer worker waits for this one tab alone, it is that one's. */
async function answerPage(request: Request): Promise<Response> {
  const { waiting } = self.registration;
  if (!waiting || (await self.clients.matchAll({ type: "window" })).length > 1) return answer(request, page);
  waiting.postMessage("takeOver");
  return fetch(request).catch(() => answer(request, page));
}

async function answer(request: Request, path: string): Promise<Response> {
  const cache = await caches.open(cacheName);
  return (await cache.match(path)) ?? (await caches.match(path)) ?? fetch(request);
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.mode === "navigate") {
    if (url.pathname === page || /^\/n\/[^/]+$/.test(url.pathname)) event.respondWith(answerPage(request));
  } else if (files.has(url.pathname)) {
    event.respondWith(answer(request, url.pathname));
  }
});
self.addEventListener("message", (event) => {
  if (event.data === "takeOver") void self.skipWaiting();
});

export {};
