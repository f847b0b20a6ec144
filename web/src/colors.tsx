/** The colours that a note can have, besides those of other front ends. */
export const colors: readonly (readonly [string, string | null])[] = [
  ["None", null],
  ["Red", "#e5484d"],
  ["Orange", "#f08a24"],
  ["Yellow", "#e2b203"],
  ["Green", "#3d9a50"],
  ["Blue", "#2f7bd9"],
  ["Purple", "#8e5bd0"],
];
