// The web app is turned off. Its service worker goes, with the app's files that it kept. Text that
// was not sent stays in the browser until the app is back.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(Promise.all([
  self.registration.unregister(),
  caches.keys().then((names) => Promise.all(names.map((name) => caches.delete(name)))),
])));
