/**
 * HTML of the clipboard to Markdown. What programs put there says with styles what HTML has elements
 * for, so the tree is put right before it is converted.
 */
import type { Element, ElementContent, Parents, Root } from "hast";
import { fromDom } from "hast-util-from-dom";
import { toMdast } from "hast-util-to-mdast";
import { gfmToMarkdown } from "mdast-util-gfm";
import { toMarkdown } from "mdast-util-to-markdown";

/** The Markdown for HTML, "" where the plain text that is copied beside it says the same. */
export function markdownOf(html: string, sanitize: (html: string) => DocumentFragment): string {
  return markdownFrom(fromDom(sanitize(withStylesAside(html))) as Root);
}

/** Renames the style attributes: the page's Content-Security-Policy reports each that is parsed. */
export function withStylesAside(html: string): string {
  return html.replace(/<[a-z][^<>]*>/gi, (tag) => tag.replace(/(\s)style\s*=/gi, "$1data-style="));
}

/** The Markdown for a tree whose styles are aside. */
export function markdownFrom(root: Root): string {
  if (isPlain(root)) return "";
  tidy(root, { strong: false, em: false });
  const tree = toMdast(root, { newlines: false });
  return toMarkdown(tree, { bullet: "-", emphasis: "*", rule: "-", listItemIndent: "one", extensions: [gfmToMarkdown({ tablePipeAlign: false })] }).trim();
}

/** What an editor of source copies has HTML for its colours alone. */
function isPlain(node: Parents): boolean {
  return node.children.every(
    (child) => child.type !== "element" || (/^(div|span|br|meta|pre)$/.test(child.tagName) && emphasis(child) === null && isPlain(child)),
  );
}

const styleOf = (node: Element, name: string): string => {
  const declared = new RegExp(`(?:^|;)\\s*${name}\\s*:\\s*([^;]+)`, "i").exec(String(node.properties.dataStyle ?? ""));
  return declared?.[1]?.trim().toLowerCase() ?? "";
};

const isBold = (weight: string): boolean => weight === "bold" || weight === "bolder" || Number(weight) >= 600;

/** The element that a span is for by its style. */
function emphasis(node: Element): "strong" | "em" | "del" | null {
  if (node.tagName !== "span") return null;
  if (isBold(styleOf(node, "font-weight"))) return "strong";
  if (styleOf(node, "font-style") === "italic") return "em";
  return /line-through/.test(styleOf(node, "text-decoration(?:-line)?")) ? "del" : null;
}

type Inside = { strong: boolean; em: boolean };

function tidy(parent: Parents, inside: Inside): void {
  const children: ElementContent[] = [];
  for (const child of parent.children as ElementContent[]) {
    if (child.type !== "element") {
      children.push(child);
      continue;
    }
    const found = correct(child, inside);
    for (const node of found) {
      if (node.type !== "element") continue;
      tidy(node, { strong: inside.strong || /^(b|strong|h[1-6]|th)$/.test(node.tagName), em: inside.em || /^(i|em)$/.test(node.tagName) });
    }
    children.push(...found);
  }
  parent.children = arrange(parent, children);
}

const isElement = (node: ElementContent | undefined, names: RegExp): node is Element => node?.type === "element" && names.test(node.tagName);
const block = /^(address|article|aside|blockquote|div|dl|figure|footer|h[1-6]|header|hr|main|nav|ol|p|pre|section|table|ul)$/;

/** Puts children where Markdown has them. */
function arrange(parent: Parents, children: ElementContent[]): ElementContent[] {
  const name = parent.type === "element" ? parent.tagName : "";
  if (/^[ou]l$/.test(name)) return nested(children);
  // A break between blocks is room that they have anyway.
  const made = lists(children.flatMap(outside)).filter((node, i, all) => !(isElement(node, /^br$/) && (isElement(all[i - 1], block) || isElement(all[i + 1], block))));
  if (name !== "li") return made;
  const [first, ...rest] = made.filter((node) => !(node.type === "text" && node.value.trim() === ""));
  return isElement(first, /^p$/) && rest.every((node) => isElement(node, /^[ou]l$/)) ? [...first.children, ...rest] : made;
}

/** A list in a list belongs to the item before it. */
function nested(children: ElementContent[]): ElementContent[] {
  const made: ElementContent[] = [];
  for (const node of children) {
    const item = made.findLast((other) => isElement(other, /^li$/));
    if (isElement(node, /^[ou]l$/) && item?.type === "element") item.children.push(node);
    else made.push(node);
  }
  return made;
}

/** Blanks at the ends of emphasis stand outside: Markdown has none there. */
function outside(node: ElementContent): ElementContent[] {
  if (!isElement(node, /^(b|strong|i|em|del|s)$/)) return [node];
  const [first, last] = [node.children[0], node.children.at(-1)];
  const made: ElementContent[] = [node];
  if (first?.type === "text" && /^\s/.test(first.value)) {
    first.value = first.value.trimStart();
    made.unshift({ type: "text", value: " " });
  }
  if (last?.type === "text" && /\s$/.test(last.value)) {
    last.value = last.value.trimEnd();
    made.push({ type: "text", value: " " });
  }
  return made;
}

/** What stands for an element: itself, its children, or an element of another name. */
function correct(node: Element, inside: Inside): ElementContent[] {
  const weight = styleOf(node, "font-weight");
  // Google Docs puts all that it copies into <b style="font-weight:normal">.
  const unmarked = /^(b|strong)$/.test(node.tagName) && weight !== "" && !isBold(weight);
  if (unmarked || (/^(i|em)$/.test(node.tagName) && styleOf(node, "font-style") === "normal")) {
    return node.children.flatMap((child) => (child.type === "element" ? correct(child, inside) : [child]));
  }
  const name = emphasis(node);
  if (name !== null && !(name !== "del" && inside[name]) && hasText(node)) return [{ ...node, tagName: name, properties: {} }];
  if (node.tagName === "li" && node.properties.role === "checkbox") box(node, node.properties.ariaChecked === "true");
  return [node];
}

function hasText(node: Element): boolean {
  return node.children.some((child) => (child.type === "text" ? child.value.trim() !== "" : child.type === "element" && hasText(child)));
}

/** Puts a box into an item in place of the picture of one. */
function box(item: Element, checked: boolean): void {
  const rest = item.children.flatMap((child) => {
    if (child.type !== "element") return [child];
    return child.tagName === "img" ? [] : child.tagName === "p" ? child.children : [child];
  });
  item.children = [{ type: "element", tagName: "input", properties: { type: "checkbox", checked }, children: [] }, { type: "text", value: " " }, ...rest];
}

/** Makes lists of the paragraphs that Word calls items. */
function lists(children: ElementContent[]): ElementContent[] {
  const made: ElementContent[] = [];
  let open: Element[] = []; // the lists of Word's items that are not closed, by level
  for (const node of children) {
    if (node.type === "text" && node.value.trim() === "" && open.length > 0) continue;
    const level = node.type === "element" && node.tagName === "p" ? /level(\d)/.exec(styleOf(node, "mso-list")) : null;
    if (node.type !== "element" || !level) {
      open = [];
      made.push(node);
      continue;
    }
    const sign = takeSign(node);
    const depth = Math.min(Number(level[1]), open.length + 1);
    open.length = Math.min(open.length, depth);
    if (open.length < depth) {
      const list: Element = { type: "element", tagName: /\w/.test(sign) && sign.length > 1 ? "ol" : "ul", properties: {}, children: [] };
      const outer = open.at(-1);
      const item = outer?.children.at(-1);
      if (item?.type === "element") item.children.push(list);
      else made.push(list);
      open.push(list);
    }
    open.at(-1)!.children.push({ type: "element", tagName: "li", properties: {}, children: node.children });
  }
  return made;
}

/** Takes the sign of an item of Word's out of its paragraph. */
function takeSign(node: Element): string {
  let sign = "";
  node.children = node.children.filter((child) => {
    if (child.type !== "element") return true;
    if (styleOf(child, "mso-list") === "ignore") {
      sign = textOf(child).trim();
      return false;
    }
    sign ||= takeSign(child);
    return true;
  });
  return sign;
}

function textOf(node: Parents): string {
  return node.children.map((child) => (child.type === "text" ? child.value : "children" in child ? textOf(child) : "")).join("");
}
