import { signal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Observable } from "./sync/types.ts";

/** A signal that follows an observable for ever. */
export function signalOf<T>(source: Observable<T>): ReadonlySignal<T> {
  const s = signal(source.value);
  source.subscribe((value) => (s.value = value));
  return s;
}

/** The value of the observable that `make` returns, made anew when one of `inputs` changes. */
export function useObservable<T>(make: () => Observable<T>, inputs: readonly unknown[]): T {
  const source = useMemo(make, inputs as unknown[]);
  const [seen, setSeen] = useState({ source, value: source.value });
  useEffect(() => source.subscribe((value) => setSeen({ source, value })), [source]);
  return seen.source === source ? seen.value : source.value;
}
