declare const __RENDERER__: string;
declare const __SEARCHER__: string;

/** The script that renders Markdown, beside the page. */
export const renderer = __RENDERER__;
/** The script that searches texts, beside the page. */
export const searcher = __SEARCHER__;

const scripts: readonly string[] = ["/sw.js", renderer, searcher];

interface Policy {
  createScriptURL(url: string): unknown;
}
const factory = (globalThis as { trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } }).trustedTypes;

/** The name is in the Content-Security-Policy. The policy knows the scripts above and no others. */
const policy = factory?.createPolicy("notesd", {
  createScriptURL(url: string) {
    if (!scripts.includes(url)) throw new TypeError(`no script of the app: ${url}`);
    return url;
  },
});

/** The address of a script, as Trusted Types want it. */
export function scriptURL(url: string): string {
  return (policy?.createScriptURL(url) ?? url) as string;
}
