declare const self: ServiceWorkerGlobalScope;
declare const __FILES__: string[];
declare const __VERSION__: string;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(__VERSION__).then((cache) => cache.addAll(__FILES__.filter((f) => f !== "index.html").map((f) => "/" + f))));
});

export {};
