// Begins the page: brings back what was kept, draws, listens, and asks the service.

import { imageChosen } from "./actions.js";
import { keepAsking } from "./asking.js";
import { startDialogs } from "./dialogs.js";
import { keepDrawing } from "./draw.js";
import { missing } from "./features.js";
import { runEverything, runFind } from "./finding.js";
import { greet, keepSessions, listFolder } from "./images.js";
import { startImporting } from "./importing.js";
import { startKeyboard } from "./keyboard.js";
import { startLabels } from "./labels.js";
import { startNotices, startStatus } from "./notices.js";
import { startObjects } from "./objects.js";
import { keepPointing } from "./pointer.js";
import { startSaving } from "./saving.js";
import { store } from "./store.js";
import { startStrip } from "./strip.js";
import { startTheme } from "./theme.js";
import { startToolbar } from "./toolbar.js";

const part = (id) => document.getElementById(id);

async function begin() {
  part("beginning").remove();
  const host = part("canvas");
  startTheme(store);
  keepPointing(store, host, keepDrawing(store, host));
  store.watch((state) => state.tool, (tool) => (host.dataset.tool = tool));
  const commands = {
    runEverything: () => runEverything(store),
    runFind: () => runFind(store),
    retry: () => greet(store),
  };
  // What was kept is of the folder that the service has, which must be known first.
  const keeping = greet(store).then(() => startSaving(store));
  const { open } = startImporting(store, part("stage"), keeping);
  startToolbar(store, part("toolbar"), { ...commands, open });
  startKeyboard(store);
  startLabels(store, part("labels"));
  startObjects(store, part("objects"));
  startStrip(store, part("strip"));
  startStatus(store, part("status"));
  startNotices(store, part("notices"), commands);
  startDialogs(store, part("dialogs"), keeping);
  keepAsking(store);
  keepSessions(store);
  await keeping;
  store.watch((state) => state.images.length, chooseFirst);
  addEventListener("focus", () => listFolder(store).catch(() => {}));
}

function chooseFirst() {
  const { current, images } = store.get();
  const first = images.find(({ done, problem }) => !done && !problem) ?? images[0];
  if (current === null && first) store.dispatch(imageChosen(first.key));
}

/** Says what the browser lacks; without it there is nothing to begin. */
function refuse(lacking) {
  part("beginning").textContent =
    `This page needs a newer browser: this one lacks ${lacking.join(", ")}.`;
}

const lacking = missing();
if (lacking.length) refuse(lacking);
else void begin();
