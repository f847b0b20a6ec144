import assert from "node:assert/strict";
import { test } from "node:test";
import { fromHtml } from "hast-util-from-html";
import { markdownFrom, withStylesAside } from "./paste.ts";

const cases: { name: string; html: string; want: string }[] = [
  {
    name: "Google Docs: all is in a <b> that is not bold, and what is bold is a span",
    html:
      '<meta charset="utf-8"><b style="font-weight:normal;" id="docs-internal-guid-1"><h2 dir="ltr"><span style="font-weight:700">Tea</span></h2>' +
      '<p dir="ltr"><span style="font-weight:400">Buy </span><span style="font-weight:700;font-style:normal">green</span><span> tea</span></p><br />' +
      '<ul><li dir="ltr"><p dir="ltr"><span>one</span></p></li><ul><li dir="ltr"><p dir="ltr"><span>two</span></p></li></ul><li><p>three</p></li></ul></b>',
    want: "## Tea\n\nBuy **green** tea\n\n- one\n  - two\n- three",
  },
  {
    name: "Google Docs: a checklist",
    html:
      '<b style="font-weight:normal"><ul><li role="checkbox" aria-checked="true"><img src="data:image/png;base64,AA==" alt="checked"><p>done</p></li>' +
      '<li role="checkbox" aria-checked="false"><img src="data:image/png;base64,AA=="><p>open</p></li></ul></b>',
    want: "- [x] done\n- [ ] open",
  },
  {
    name: "Word: items are paragraphs with a level",
    html:
      '<p class=MsoNormal>List:</p><p class=MsoListParagraphCxSpFirst style="margin-left:1in;mso-list:l0 level1 lfo1"><span style="mso-list:Ignore">1.<span>&nbsp; </span></span>First</p>\n' +
      '<p style="mso-list:l0 level2 lfo1"><span><span style="mso-list:Ignore">·</span></span>Inner</p>\n<p style="mso-list:l0 level1 lfo1"><span style="mso-list:Ignore">2.</span><b>Second</b></p><p>end</p>',
    want: "List:\n\n1. First\n   - Inner\n2. **Second**\n\nend",
  },
  { name: "source code is left to the plain text", html: '<div style="white-space:pre"><div><span style="color:red">def</span> a():</div><div>    return</div></div>', want: "" },
  { name: "a line in a <pre> with colours", html: '<pre style="color:red"><span>x</span> = 1</pre>', want: "" },
  { name: "code within a page", html: "<p>Run:</p><pre><code>a\n  b</code></pre>", want: "Run:\n\n```\na\n  b\n```" },
  { name: "code with a fence in it", html: "<p>x</p><pre>a\n```\nb</pre>", want: "x\n\n````\na\n```\nb\n````" },
  { name: "text that looks like Markdown stays text", html: "<p># no heading</p><p>1. no item</p><p>a * b * c [x](y) &lt;b&gt; snake_case</p><p>+ plus</p>", want: "\\# no heading\n\n1\\. no item\n\na \\* b \\* c \\[x]\\(y) \\<b> snake_case\n\n\\+ plus" },
  { name: "emphasis keeps its blanks outside", html: "<p>a <b>b </b>c<i> d</i></p>", want: "a **b** c *d*" },
  { name: "a list that begins at five", html: "<ol start=5><li>a</li><li>b<p>more</p></li></ol>", want: "5. a\n\n6. b\n\n   more" },
  { name: "a table with a bar", html: "<table><tr><th>a</th><th>b</th></tr><tr><td>1|2</td><td>3</td></tr></table>", want: "| a | b |\n| - | - |\n| 1\\|2 | 3 |" },
  { name: "links and images", html: '<p><a href="https://example.org/a_(b)">x</a> <img alt="i" src="https://example.org/i.png"></p>', want: "[x](https://example.org/a_\\(b\\)) ![i](https://example.org/i.png)" },
  { name: "a page's tasks", html: '<ul class="contains-task-list"><li><input type="checkbox" checked disabled> done</li></ul>', want: "- [x] done" },
  { name: "line breaks", html: "<p>a<br>b</p>", want: "a\\\nb" },
  { name: "struck out by style", html: '<p>a <span style="text-decoration:line-through">b</span></p>', want: "a ~~b~~" },
  { name: "text about styles", html: '<p>a style="x" &lt;b style="y"> <i>c</i></p>', want: 'a style="x" \\<b style="y"> *c*' },
  { name: "nothing", html: "<p> </p>", want: "" },
];

for (const { name, html, want } of cases) {
  test(`HTML of the clipboard: ${name}`, () => {
    assert.equal(markdownFrom(fromHtml(withStylesAside(html), { fragment: true })), want);
  });
}
