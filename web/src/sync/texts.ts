/** The texts of notes as they are searched: folded, and numbered in the order in which they came. */
import { fold } from "./search.ts";

/** How many UTF-16 units are held in memory. */
const mostUnits = 60_000_000;

export class Texts {
  /** The texts that are not held, by their numbers. */
  readonly others = new Map<number, string>();
  private numbers = new Map<string, number>();
  private texts: string[] = [];
  private units = 0;
  private last: { words: readonly string[]; found: readonly number[] } | null = null;

  /** Sets or, with null, drops the text of a note. Returns its number. */
  set(id: string, text: string | null): number {
    const known = this.numbers.get(id);
    const number = known ?? this.texts.length;
    if (known === undefined) this.numbers.set(id, number);
    const room = mostUnits - this.units + (this.texts[number]?.length ?? 0);
    const isHeld = text === null || text.length <= room;
    if (isHeld) this.others.delete(number);
    else this.others.set(number, id);
    const next = text === null || !isHeld ? "" : fold(text);
    this.units += next.length - (this.texts[number]?.length ?? 0);
    this.texts[number] = next;
    this.last = null;
    return number;
  }

  /**
   * Finds the texts that have some of the folded words. Of each it returns the number, and a mask (see maskOf). A search for more of what was searched for last looks only at what that has found.
   */
  find(words: readonly string[]): { numbers: number[]; masks: number[] } {
    const { last } = this;
    const isNarrower = last !== null && words.length > 0 && words.every((word) => last.words.some((old) => word.includes(old)));
    const numbers: number[] = [];
    const masks: number[] = [];
    const look = (number: number) => {
      const mask = maskOf(this.texts[number]!, words);
      if (mask === 0) return;
      numbers.push(number);
      masks.push(mask);
    };
    if (isNarrower) for (const number of last.found) look(number);
    else for (let number = 0; number < this.texts.length; number++) look(number);
    this.last = { words, found: numbers };
    return { numbers: [...numbers], masks };
  }
}

/** Which of up to 32 words are in a folded text: bit i is set for word i. */
export function maskOf(text: string, words: readonly string[]): number {
  let mask = 0;
  for (let i = 0; i < words.length; i++) if (text.includes(words[i]!)) mask |= 1 << i;
  return mask;
}
