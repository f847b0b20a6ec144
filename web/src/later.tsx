import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A part of the app that is loaded when it is first shown. */
export function Later<P>({ load, props }: { load: () => Promise<ComponentType<P>>; props: P & object }) {
  const [state, setState] = useState<{ part?: ComponentType<P>; failed?: boolean }>({});
  useEffect(() => {
    load().then(
      (part) => setState({ part }),
      () => setState({ failed: true }),
    );
  }, []);
  const Part = state.part;
  if (Part) return <Part {...props} />;
  return (
    <p class="nothing" role="status">
      {state.failed ? "This part of the app can't be loaded. Is there a network? Or a new version: reload the page." : "Loading…"}
    </p>
  );
}
