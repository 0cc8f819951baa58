import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./styles.css";
import { App } from "./app";
import { listenToKeys } from "./parts/help";

listenToKeys();
render(<App />, document.getElementById("app")!);
