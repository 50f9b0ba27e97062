// How large the browser's images are, told by the browser before the service has seen them.

import { imageMeasured } from "./actions.js";

/** Measure the images that have not been shown yet; one that is damaged stays without a size. */
export async function measureAll(store) {
  for (const { key, blob, width, problem } of store.get().images) {
    if (width > 0 || problem || !blob) continue;
    const size = await measured(blob);
    if (size) store.dispatch(imageMeasured(key, size.width, size.height));
  }
}

function measured(blob) {
  const address = URL.createObjectURL(blob);
  const picture = new Image();
  return new Promise((resolve) => {
    picture.onload = () => resolve({ width: picture.naturalWidth, height: picture.naturalHeight });
    picture.onerror = () => resolve(null);
    picture.src = address;
  }).finally(() => URL.revokeObjectURL(address));
}
