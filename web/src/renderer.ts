/** Renders Markdown in a worker, so that a text that takes long does not stop the page. */
import { render } from "./pieces.ts";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = (event: MessageEvent<string>) => self.postMessage(render(event.data));
