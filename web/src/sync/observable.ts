import type { Observable } from "./types.ts";

/** A value that is set here and watched elsewhere. */
export class Value<T> implements Observable<T> {
  private listeners = new Set<(value: T) => void>();
  /** Called when the last listener has left. */
  onIdle: () => void = () => {};
  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(value: T) {
    if (value === this.current) return;
    this.current = value;
    for (const listener of [...this.listeners]) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    this.listeners.add(listener);
    listener(this.current);
    return () => {
      if (this.listeners.delete(listener) && !this.listeners.size) this.onIdle();
    };
  }

  get isWatched() {
    return this.listeners.size > 0;
  }
}
