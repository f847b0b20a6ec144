import { render } from "preact";

render(<h1>notesd</h1>, document.getElementById("app")!);
