/** Renders Markdown in a worker, so that a text that takes long does not stop the page. */
import { micromark } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = (event: MessageEvent<string>) => {
  self.postMessage(
    micromark(event.data, {
      allowDangerousHtml: true, // the page sanitises it
      extensions: [gfm()],
      htmlExtensions: [gfmHtml()],
    }),
  );
};
