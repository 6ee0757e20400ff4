// The table's tools, which are loaded with the first image: the toolbar, painting, the frame, and what is drawn of them.
import { byId } from "./dom.js";
import * as frame from "./frame.js";
import { drawOverlay } from "./overlay.js";
import * as painting from "./painting.js";
import * as scene from "./scene.js";
import { showTools } from "./tools.js";

export { fitBrush } from "./painting.js";

let tools = null;

/**
 * Once. may() answers whether the mask may be painted now; chosen() is called when a tool or a setting of one is chosen,
 * changed() when keys have painted.
 */
export function setUp({ may, chosen, changed }) {
  tools = showTools(byId("mask-tools"), { brush: painting.brush, largest: painting.largestBrush, changed: chosen, act: painting.change });
  painting.setUp({ may, changed });
  frame.setUp();
  scene.drawWith(drawOverlay);
}

/** Show the tools as they are; onTable says whether the image is seen. */
export function update({ canExtend, onTable }) {
  tools.update(canExtend);
  frame.show(onTable && canExtend && painting.brush.tool === "extend");
  painting.showRing();
}

/** Do what a key means; false for a key that means nothing. */
export const shortcut = (event) => tools.shortcut(event);
