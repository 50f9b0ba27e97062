// The page's dialogs: one at a time, as the state says; each is made when it is opened.

import { dialogClosed } from "./actions.js";
import { button, make } from "./elements.js";
import { exportBody } from "./exporting.js";
import { helpBody } from "./help.js";
import { ICONS } from "./icons.js";
import { importBody } from "./importing.js";
import { labelsBody } from "./label_editor.js";

/** Title and body of each; a body hears by `closing` that its dialog is closed. */
const DIALOGS = {
  help: { title: "All keys", body: helpBody },
  export: { title: "Export", body: exportBody },
  import: { title: "Import masks to correct", body: importBody },
  labels: { title: "Labels", body: labelsBody },
};

/**
 * Show the dialog that the state names, and give the focus back when it is closed.
 * @param {object} keeping what `saving.js` knows of images that are not open
 */
export function startDialogs(store, root, keeping) {
  let returnTo = null;
  store.watch(
    (state) => state.dialog,
    (name) => {
      for (const open of root.children) open.close();
      root.replaceChildren();
      if (name === null) {
        (returnTo?.isConnected ? returnTo : document.getElementById("canvas"))?.focus();
        return;
      }
      returnTo = document.activeElement;
      const dialog = makeDialog(store, name, keeping);
      root.append(dialog);
      dialog.showModal();
    },
  );
}

function makeDialog(store, name, keeping) {
  const { title, body } = DIALOGS[name];
  const closing = new AbortController();
  const close = () => store.dispatch(dialogClosed());
  const id = `${name}-title`;
  const ended = () => {
    closing.abort();
    // It is told later, when another may be open already.
    if (dialog.isConnected) close();
  };
  const dialog = make(
    "dialog",
    {
      "aria-labelledby": id,
      on: { close: ended, click: (event) => event.target === dialog && close() },
    },
    make(
      "header",
      {},
      make("h2", { id }, title),
      button("Close", close, { hint: "Close (Esc)", icon: ICONS.close }),
    ),
    make(
      "div",
      { class: "body", tabindex: "0", role: "region", "aria-labelledby": id },
      ...body(store, { close, keeping, closing: closing.signal }),
    ),
  );
  return dialog;
}
